//! A registered program is killed, stopped, frozen or restarted; what a reader sees of it, and within which bound.

use std::net::SocketAddr;
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::registries::{T, open, time};
use integration_tests::replay::init_tracing;
use integration_tests::time_servers::{SOON, ask, assert_is_reply, registered, time_server};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::{Incarnation, Registry, Resolve, ServiceWatch};

use super::{C, Fewest, SLACK, STARTUP, report};

#[tokio::test]
async fn a_killed_program_is_gone_when_its_session_is_over() {
    killed(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_stopped_program_is_gone_at_once() {
    stopped(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_frozen_program_is_gone_when_its_session_is_over_and_comes_back() {
    frozen(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_program_restarted_within_its_session_is_never_missed() {
    restarted_soon(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_program_restarted_after_its_session_is_listed_again() {
    restarted_late(&ZooKeeper::shared()).await;
}

/// The time until a dead session is noticed: a server looks for expired ones once a tick.
const EXPIRY: Duration = T.saturating_add(C);
/// For how long a program says that it is draining before it is gone.
const NOTICE: Duration = Duration::from_millis(300);
const ANYWHERE: &str = "127.0.0.1:0";

/// A reader of a service that only the test's program offers.
struct ServiceReader {
    chroot: Chroot,
    /// Keeps the session.
    _registry: Registry,
    watch: ServiceWatch,
}

impl ServiceReader {
    async fn of(zk: &ZooKeeper, name: &str) -> Self {
        init_tracing();
        let chroot = zk.chroot(name).await;
        let registry = open(&chroot.connect_string());
        let watch = registry.watch(&time());
        Self { chroot, _registry: registry, watch }
    }

    /// A program that listens there, is registered and seen.
    async fn sees_start(&mut self, listen: &str) -> (RunningProgram, SocketAddr) {
        let server = time_server(&self.chroot.connect_string()).args(["--listen", listen]).start();
        let address = registered(&server, 1).await;
        self.sees(1, C + SLACK).await;
        (server, address)
    }

    /// Sees so many instances; how long that took.
    async fn sees(&mut self, instances: usize, within: Duration) -> Duration {
        let start = Stopwatch::start();
        eventually(within, &format!("the reader sees {instances}"), async || {
            let seen = self.watch.current().len();
            if seen == instances { Ok(()) } else { Err(format!("{seen}")) }
        })
        .await;
        start.elapsed()
    }

    fn incarnation(&mut self) -> Option<Incarnation> {
        self.watch.current().instances().next().map(|member| member.incarnation())
    }
}

pub(super) async fn killed(zk: &ZooKeeper) {
    let mut reader = ServiceReader::of(zk, "killed").await;
    let (server, _) = reader.sees_start(ANYWHERE).await;
    server.signal(Signal::SIGKILL);
    report("gone after kill -9", reader.sees(0, EXPIRY + SLACK).await);
}

pub(super) async fn stopped(zk: &ZooKeeper) {
    let mut reader = ServiceReader::of(zk, "stopped").await;
    let (server, _) = reader.sees_start(ANYWHERE).await;
    server.signal(Signal::SIGTERM);
    report("gone after SIGTERM", reader.sees(0, NOTICE + SLACK).await);
    assert_eq!(server.exit(SOON).await.code(), Some(0));
}

pub(super) async fn frozen(zk: &ZooKeeper) {
    let mut reader = ServiceReader::of(zk, "frozen").await;
    let (server, address) = reader.sees_start(ANYWHERE).await;
    server.signal(Signal::SIGSTOP);
    report("gone after SIGSTOP", reader.sees(0, EXPIRY + SLACK).await);
    server.signal(Signal::SIGCONT);
    report("listed again after SIGCONT", reader.sees(1, C + SLACK).await);
    assert_is_reply(&ask(address).await.unwrap(), address);
}

pub(super) async fn restarted_soon(zk: &ZooKeeper) {
    let mut reader = ServiceReader::of(zk, "restarted-soon").await;
    let patient = |chroot: &Chroot, listen: &str| {
        let zookeeper = chroot.connect_string();
        Program::time_server()
            .args(["--zookeeper", &zookeeper, "--session-timeout", "10s", "--listen", listen])
            .start()
    };
    let first = patient(&reader.chroot, ANYWHERE);
    let address = registered(&first, 1).await;
    reader.sees(1, C + SLACK).await;
    let (fewest, before) = (Fewest::of(&reader.watch), reader.incarnation());
    first.signal(Signal::SIGKILL);
    first.exit(SOON).await;
    let killed = Stopwatch::start();
    let second = patient(&reader.chroot, &address.to_string());
    assert_eq!(registered(&second, 1).await, address);
    // The dead one's session has 10 seconds, of which its last ping may have been up to 4 ago.
    assert!(killed.fair() < Duration::from_secs(5), "registered after {:?}", killed.elapsed());
    eventually(C + SLACK, "the reader sees the new one", async || reader.incarnation() != before).await;
    report("a successor seen after kill -9", killed.elapsed());
    assert_eq!(fewest.so_far(), 1);
    assert_is_reply(&ask(address).await.unwrap(), address);
}

pub(super) async fn restarted_late(zk: &ZooKeeper) {
    let mut reader = ServiceReader::of(zk, "restarted-late").await;
    let (server, address) = reader.sees_start(ANYWHERE).await;
    server.signal(Signal::SIGKILL);
    reader.sees(0, EXPIRY + SLACK).await;
    let start = Stopwatch::start();
    let (_server, again) = reader.sees_start(&address.to_string()).await;
    assert_eq!(again, address);
    report("seen after a start on a free place", start.elapsed());
    assert!(start.fair() < STARTUP, "{:?}", start.elapsed());
}
