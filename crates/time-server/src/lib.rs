//! An asynchronous TCP time service whose every listener is a registered instance.
//!
//! [`daemon::Daemon`] is the whole program, [`server::Server`] the part that knows nothing of ZooKeeper, and [`protocol`]
//! what both programs of this project speak.

pub mod advertise;
pub mod args;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod limits;
pub mod metrics;
#[cfg(unix)]
pub mod open_files;
pub mod protocol;
pub mod registry_args;
pub mod server;

mod admin;
mod announce;
mod answer;
mod backoff;
mod board;
mod connection;
mod rfc3339;
mod tasks;
