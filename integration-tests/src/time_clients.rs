//! time-client in a test: how it is started, and what it printed.

use std::net::SocketAddr;

use serde_json::Value;

use crate::process::{Program, RunningProgram};
use crate::time_servers::{SOON, registered, time_server};
use crate::zookeeper::Chroot;

/// Queries of the service `time`.
pub fn time_client(zookeeper: &str) -> Program {
    Program::time_client().args(["query", "--zookeeper", zookeeper, "--session-timeout", "4s"])
}

/// One server with three listeners.
pub async fn three_listeners(chroot: &Chroot) -> (RunningProgram, Vec<SocketAddr>) {
    let server = time_server(&chroot.connect_string()).args(["--listen", "127.0.0.1:0"].repeat(3)).start();
    let mut addresses = Vec::new();
    for n in 1..=3 {
        addresses.push(registered(&server, n).await);
    }
    (server, addresses)
}

/// Every line of standard output as the JSON that it is.
///
/// # Panics
///
/// When one is none.
pub fn json(client: &RunningProgram) -> Vec<Value> {
    let lines = client.stdout().all().into_iter();
    lines
        .map(|line| serde_json::from_str(&line.text).unwrap_or_else(|_| panic!("no JSON: {}", line.text)))
        .collect()
}

/// Waits for the end, and checks the exit code.
///
/// # Panics
///
/// When it does not end, or with another code.
pub async fn ends_with(client: &RunningProgram, code: i32) {
    let status = client.exit(SOON).await;
    assert_eq!(status.code(), Some(code), "{}{}", client.stdout().text(), client.stderr().text());
}

/// Waits until the summary, the last line, has been read.
///
/// # Panics
///
/// When there is none.
pub async fn summary(client: &RunningProgram) -> Value {
    let line = client.says("\"summary\"", SOON).await.text;
    serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("no JSON: {line}"))["summary"].clone()
}
