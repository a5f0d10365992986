//! Finds the instances of a time service in ZooKeeper, picks one, asks for the time, survives failures.
//!
//! [`TimeClient`](client::TimeClient) is the resolver: ready -> pick -> connect -> ask -> record. [`load`] generates
//! load on anything. The rest is the program `time-client`, one file per subcommand.

mod args;
pub mod client;
mod connect;
#[cfg(test)]
mod documented;
mod exit;
pub mod fault;
mod legacy;
mod list;
pub mod load;
mod offset;
mod output;
mod pool;
pub mod program;
mod query;
mod signals;
mod start;
mod summary;
mod watch;
mod words;
