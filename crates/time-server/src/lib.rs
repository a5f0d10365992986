//! An asynchronous TCP time service whose every listener is a registered instance.

mod answer;
mod backoff;
pub mod clock;
mod connection;
pub mod limits;
pub mod metrics;
pub mod protocol;
pub mod registry_args;
pub mod server;
