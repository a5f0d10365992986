//! An asynchronous TCP time service whose every listener is a registered instance.
//!
//! [`daemon`] is the service, and [`protocol`] what both programs of this project speak. Without the default feature
//! `daemon` the crate is the protocol alone.

#[cfg(feature = "daemon")]
pub mod daemon;
pub mod protocol;
mod rfc3339;

#[cfg(all(feature = "daemon", unix))]
pub use daemon::open_files;
#[cfg(feature = "daemon")]
pub use daemon::{
    advertise, args, check, clock, command, config, limits, load, logging, metrics, privileges, probe,
    reload, server, service_manager,
};
