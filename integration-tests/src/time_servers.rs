//! time-server in a test: how it is started, and how it is asked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fair_time::fair_timeout;
use crate::process::{Program, RunningProgram};
use crate::zookeeper::Chroot;

/// How long a test waits for what happens at once on a machine that has nothing else to do.
pub const SOON: Duration = Duration::from_secs(20);
/// The service's path below the chroot.
pub const SERVICE: &str = "/services/time";

/// A server of the service `time` whose session ends 4 seconds after it.
pub fn time_server(zookeeper: &str) -> Program {
    Program::time_server().args(["--zookeeper", zookeeper, "--session-timeout", "4s"])
}

/// The same with one listener, on a port of its own.
pub fn one_listener(chroot: &Chroot) -> Program {
    time_server(&chroot.connect_string()).args(["--listen", "127.0.0.1:0"])
}

/// The address in the `n`th line of registration, counted from 1.
///
/// # Panics
///
/// When the line does not come, or is not what users are promised.
pub async fn registered(server: &RunningProgram, n: usize) -> SocketAddr {
    let line = server.stdout().nth("time-server", n, "registered ", SOON).await.text;
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!((words.len(), words[0], words[2]), (4, "registered", "at"), "{line}");
    assert!(words[3].ends_with(words[1]), "{line}");
    words[1].parse().unwrap_or_else(|_| panic!("no address: {line}"))
}

/// The reply to `timestamp`, from one connection and one attempt.
///
/// # Errors
///
/// Connecting, writing or reading failed, or took longer than [`SOON`].
pub async fn ask(address: SocketAddr) -> io::Result<String> {
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"timestamp").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok(reply)
    };
    fair_timeout(SOON, attempt).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

/// Checks that `reply` is what a listener answers to `timestamp`.
///
/// # Panics
///
/// When it is not.
pub fn assert_is_reply(reply: &str, listener: SocketAddr) {
    let time =
        reply.strip_prefix(&format!("{listener}: ")).unwrap_or_else(|| panic!("{reply:?} of {listener}"));
    let time: Timestamp = time.parse().unwrap_or_else(|error| panic!("{reply:?}: {error}"));
    let age = Timestamp::now().duration_since(time).abs().as_secs();
    assert!(age < 20, "{reply:?} is {age} seconds off");
}
