//! What the tests of time-server share: how it is started, and how it is asked.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use integration_tests::process::{Process, Program};
use integration_tests::zookeeper::Chroot;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const SERVICE: &str = "/services/time";

/// A server of the service `time` whose session ends 4 seconds after it.
pub(crate) fn time_server(zookeeper: &str) -> Program {
    Program::time_server().args(["--zookeeper", zookeeper, "--session-timeout", "4s"])
}

/// The same with one listener, on a port of its own.
pub(crate) fn one_listener(chroot: &Chroot) -> Program {
    time_server(&chroot.connect_string()).args(["--listen", "127.0.0.1:0"])
}

/// The address in the `n`th line of registration, counted from 1.
pub(crate) async fn registered(server: &Process, n: usize) -> SocketAddr {
    let line = server.stdout().nth("time-server", n, "registered ", SOON).await.text;
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!((words.len(), words[0], words[2]), (4, "registered", "at"), "{line}");
    assert!(words[3].ends_with(words[1]), "{line}");
    words[1].parse().unwrap()
}

/// The reply to `timestamp`, from one connection and one attempt.
pub(crate) async fn ask(address: SocketAddr) -> io::Result<String> {
    let attempt = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"timestamp").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok(reply)
    };
    timeout(SOON, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Checks that `reply` is what a listener answers to `timestamp`.
pub(crate) fn assert_is_reply(reply: &str, listener: SocketAddr) {
    let time =
        reply.strip_prefix(&format!("{listener}: ")).unwrap_or_else(|| panic!("{reply:?} of {listener}"));
    let time: Timestamp = time.parse().unwrap_or_else(|error| panic!("{reply:?}: {error}"));
    let age = Timestamp::now().duration_since(time).abs().as_secs();
    assert!(age < 20, "{reply:?} is {age} seconds off");
}
