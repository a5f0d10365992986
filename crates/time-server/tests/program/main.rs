//! The built program: its signals, its streams, its words and its admin endpoint.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod admin;
mod configuration;
#[cfg(target_os = "linux")] // all of 127.0.0.0/8 is this machine
mod places;
mod privileges;
mod probe;
mod reload;
mod running;
mod service_manager;
mod signals;
mod streams;
