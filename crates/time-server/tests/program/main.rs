//! The built program: its signals, its streams, its words and its admin endpoint.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod admin;
mod configuration;
mod probe;
mod running;
mod signals;
mod streams;
