//! Finds the instances of a time service in ZooKeeper, picks one, asks for the time, survives failures.
//!
//! [`TimeClient`](client::TimeClient) is the resolver: ready -> pick -> dial -> ask -> record. [`load`] generates
//! load on anything. The rest is the program `time-client`, one file or folder per subcommand.

// The library: one query, from the pick to the answer.
pub mod client;
mod connection;
pub mod fault;
mod legacy;
pub mod load;
mod pool;

// The program.
mod command;
mod common_args;
#[cfg(test)]
mod documented;
mod exit;
mod freshness;
mod job;
mod list;
pub mod program;
mod query;
mod target;
mod wall_clock;
mod watch;
