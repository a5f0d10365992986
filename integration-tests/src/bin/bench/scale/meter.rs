//! What the readers and the server have used, between two moments.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use integration_tests::bench::runs::processor_time;
use integration_tests::bench::usage::{process_that_listens_on, processor_time_of};
use integration_tests::four_letter;

/// The processors, the server's requests and the loopback interface.
pub(super) struct Meter {
    server: SocketAddr,
    process: Option<u32>,
}

/// What was used up to a moment.
pub(super) struct Reading {
    at: Instant,
    requests: f64,
    bytes: f64,
    readers: Duration,
    server: Duration,
}

/// What was used: in all, or per change and reader. Times in nanoseconds.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) requests: f64,
    pub(super) bytes: f64,
    /// Processor time of all readers; this process makes the changes too.
    pub(super) readers: f64,
    pub(super) server: f64,
}

impl Cost {
    /// Per change and reader; the server's time per change alone.
    pub(super) fn per(self, changes: usize, readers: usize) -> Self {
        let each = (changes * readers) as f64;
        Self {
            requests: self.requests / each,
            bytes: self.bytes / each,
            readers: self.readers / each,
            server: self.server / changes as f64,
        }
    }
}

impl Meter {
    pub(super) fn new(server: SocketAddr) -> Self {
        Self { server, process: process_that_listens_on(server.port()) }
    }

    pub(super) async fn now(&self) -> Reading {
        let figures = four_letter::figures(self.server).await.expect("the server is up");
        let requests = figures["zk_packets_received"].parse().expect("a number");
        Reading {
            at: Instant::now(),
            requests,
            bytes: bytes_on_loopback(),
            readers: processor_time(),
            server: self.process.map(processor_time_of).unwrap_or_default(),
        }
    }

    /// What a second costs in which nothing changes: heartbeats. Of processor time they take next to nothing.
    pub(super) async fn rest(&self) -> Rest {
        const LONG: Duration = Duration::from_secs(3);
        // What began with the readers ends first.
        tokio::time::sleep(LONG).await;
        let start = self.now().await;
        tokio::time::sleep(LONG).await;
        let end = self.now().await;
        let second = |used: f64| used / LONG.as_secs_f64();
        Rest { requests: second(end.requests - start.requests), bytes: second(end.bytes - start.bytes) }
    }

    /// What was used since `start`, less the requests and bytes that the time alone costs.
    pub(super) async fn since(&self, start: &Reading, rest: &Rest) -> Cost {
        let end = self.now().await;
        let seconds = (end.at - start.at).as_secs_f64();
        let beyond = |used: f64, rest: f64| (used - rest * seconds).max(0.0);
        Cost {
            requests: beyond(end.requests - start.requests, rest.requests),
            bytes: beyond(end.bytes - start.bytes, rest.bytes),
            readers: (end.readers - start.readers).as_nanos() as f64,
            server: (end.server - start.server).as_nanos() as f64,
        }
    }
}

/// What a second costs in which nothing changes.
pub(super) struct Rest {
    requests: f64,
    bytes: f64,
}

/// What was sent over the loopback interface so far, headers included; each byte once.
fn bytes_on_loopback() -> f64 {
    let text = fs::read_to_string("/proc/net/dev").expect("a system that counts");
    let line =
        text.lines().find_map(|line| line.trim_start().strip_prefix("lo:")).expect("it has a loopback");
    line.split_whitespace().next().and_then(|received| received.parse().ok()).expect("a number")
}
