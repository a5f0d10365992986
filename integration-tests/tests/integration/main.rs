//! The end-to-end tests: one binary, one module per subject.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod balance;
mod behaviours;
mod client;
mod client_faults;
mod complaints;
mod conformance;
mod dialects;
mod diff;
mod examples;
mod far_away;
mod first_contact;
mod frozen;
mod half_reconnect;
mod harness_network;
mod harness_process;
mod harness_zookeeper;
mod hostile_znodes;
mod many_services;
mod migration;
mod neighbours;
mod observability;
mod peers;
mod python_peers;
mod registration;
mod scenarios;
mod secure;
mod secure_programs;
mod server_faults;
mod server_leave;
mod server_rolling;
mod server_start;
mod shards;
mod soak;
mod streams;
mod view;
mod zkr;
