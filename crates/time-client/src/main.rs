//! Finds the instances of a time service in ZooKeeper, picks one, asks for the time, survives failures.

use std::process::ExitCode;

fn main() -> ExitCode {
    time_client::program::run()
}
