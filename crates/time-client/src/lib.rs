//! Finds the instances of a time service in ZooKeeper, picks one, asks for the time, survives failures.
//!
//! [`TimeClient`](client::TimeClient) is the resolver; the modules beside it are the subcommands of the program.

pub mod client;
mod connect;
pub mod fault;
mod legacy;
pub mod load;
mod pool;
