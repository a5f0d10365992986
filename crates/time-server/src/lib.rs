//! An asynchronous TCP time service whose every listener is a registered instance.
//!
//! [`daemon::Daemon`] is the whole program, [`server::Server`] the part that knows nothing of ZooKeeper, and [`protocol`]
//! what both programs of this project speak. Without the default feature `daemon` the crate is the protocol alone.

#[cfg(feature = "daemon")]
pub mod advertise;
#[cfg(feature = "daemon")]
pub mod args;
#[cfg(feature = "daemon")]
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod limits;
#[cfg(feature = "daemon")]
pub mod metrics;
#[cfg(all(feature = "daemon", unix))]
pub mod open_files;
pub mod protocol;
#[cfg(feature = "daemon")]
pub mod server;

#[cfg(feature = "daemon")]
mod acceptor;
#[cfg(feature = "daemon")]
mod admin;
#[cfg(feature = "daemon")]
mod admin_connections;
#[cfg(feature = "daemon")]
mod admission;
#[cfg(feature = "daemon")]
mod announce;
#[cfg(feature = "daemon")]
mod answer;
#[cfg(feature = "daemon")]
mod backoff;
#[cfg(feature = "daemon")]
mod board;
#[cfg(feature = "daemon")]
mod connection;
#[cfg(feature = "daemon")]
mod farewell;
#[cfg(feature = "daemon")]
mod listener;
#[cfg(feature = "daemon")]
mod listener_context;
#[cfg(feature = "daemon")]
mod permit;
mod rfc3339;
#[cfg(feature = "daemon")]
mod socket;
#[cfg(feature = "daemon")]
mod tasks;
