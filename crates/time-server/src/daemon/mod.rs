//! The time service itself: everything but the protocol. [`Daemon`] is the whole program, [`server`] the part that knows
//! nothing of ZooKeeper.

// What an embedding program uses.
pub mod advertise;
pub mod args;
pub mod check;
pub mod clock;
pub mod command;
pub mod config;
pub mod limits;
pub mod load;
pub mod logging;
pub mod metrics;
#[cfg(unix)]
pub mod open_files;
pub mod privileges;
pub mod probe;
mod registry_metrics;
pub mod reload;
pub mod server;
pub mod service_manager;

// A connection, from the accept queue to its end.
mod acceptor;
mod admission;
mod answer;
mod connection;
mod farewell;
mod listener;
mod listener_context;
mod permit;
mod socket;
mod tasks;

// Beside the service: registrations, probes, the order in which it all ends.
mod admin;
mod admin_connections;
mod announce;
mod backoff;
mod board;
mod config_file;
mod expiry;
mod run;
mod secrets_in_use;

pub use self::run::{Daemon, DaemonError};
