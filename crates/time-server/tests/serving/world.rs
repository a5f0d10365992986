//! A server on a port of its own, and what its peers do.

use std::net::SocketAddr;
use std::time::Duration;

use time_server::clock::{Clock, SystemClock};
use time_server::limits::Limits;
use time_server::metrics::Metrics;
use time_server::server::{Finished, Server, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A server on a port of its own.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) run: JoinHandle<std::io::Result<Finished>>,
}

impl Running {
    pub(crate) fn start(limits: impl FnOnce(&mut Limits)) -> Self {
        Self::start_with(limits, SystemClock, "127.0.0.1:0")
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Limits), clock: impl Clock, address: &str) -> Self {
        Self::of(change, clock, listen(address.parse().unwrap()).unwrap())
    }

    pub(crate) fn serve(limits: impl FnOnce(&mut Limits), listener: TcpListener) -> Self {
        Self::of(limits, SystemClock, listener)
    }

    fn of(change: impl FnOnce(&mut Limits), clock: impl Clock, listener: TcpListener) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let server = Server::new(limits).with_clock(clock);
        let address = listener.local_addr().unwrap();
        let metrics = server.metrics().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { stopped.await.unwrap_or_default() };
        let run = tokio::spawn(server.run(vec![listener], stopped, Duration::from_millis(500)));
        Self { address, metrics, stop: Some(stop), run }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends everything, then reads to the end.
    pub(crate) async fn ask(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        rest(&mut stream).await
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn finish(mut self) -> Finished {
        self.stop();
        self.run.await.unwrap().unwrap()
    }
}

/// What the peer still sends; a reset fails the test.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await.unwrap();
    text
}

pub(crate) async fn line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let poll = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), poll).await.unwrap_or_else(|_| panic!("never: {what}"));
}
