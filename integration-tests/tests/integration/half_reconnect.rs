//! Connections of which only the handshake is answered, and goodbyes late in an outage, while every further attempt to connect
//! fails inside one poll: the client crate's own deadline, 1.4 session timeouts after the loss, is never reached with its task
//! alive, because past it the task would spin on the registry's only thread.

use std::time::Duration;

use integration_tests::bench::usage::processor_time_of;
use integration_tests::eventually::eventually;
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::line_process::LineProcess;
use integration_tests::process::{Program, Resource};
use integration_tests::proxy::{Direction, Proxy, Rules};
use integration_tests::raw::Raw;
use integration_tests::zookeeper::ZooKeeper;
use tokio::time::sleep;

const T: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(20);

/// A registrant behind a link that can break.
struct Registrant {
    process: LineProcess,
    link: Proxy,
    raw: Raw,
}

impl Registrant {
    async fn start() -> Self {
        let zk = ZooKeeper::shared();
        let chroot = zk.chroot("half").await;
        let link = Proxy::zookeeper(zk.address(1)).await;
        let program = Program::at(env!("CARGO_BIN_EXE_registrant"))
            .args([&chroot.through(link.address()), &T.as_millis().to_string()]);
        let mut process = LineProcess::start(&program);
        assert_eq!(within(SOON, "it is registered", process.says()).await, "registered");
        Self { process, link, raw: chroot.raw().await }
    }

    async fn ask(&mut self, line: &str) -> String {
        within(SOON, line, self.process.ask(line)).await
    }

    /// Every connection ends, and every attempt to open another one fails at once, inside one poll.
    async fn cut_off(&self) {
        self.process.limit(Resource::Descriptors, Some(3));
        self.link.refuse().await;
        self.link.cut_rst().await;
    }

    /// The processor time that the next while takes, as a share of it.
    async fn load(&self) -> f64 {
        let (watch, before) = (Stopwatch::start(), processor_time_of(self.process.id()));
        sleep(T / 2).await;
        (processor_time_of(self.process.id()) - before).as_secs_f64() / watch.elapsed().as_secs_f64()
    }
}

#[tokio::test]
async fn half_a_reconnect_does_not_keep_a_session_beyond_the_client_crates_deadline() {
    let mut registrant = Registrant::start().await;
    let (accepted, lost) = (registrant.link.accepted(), Stopwatch::start());
    registrant.link.impose(Rules::answer_handshakes_only);
    registrant.link.cut_rst().await;
    let before = registrant.link.carried(Direction::ToClient);
    eventually(SOON, "a handshake is answered", async || {
        registrant.link.accepted() > accepted && registrant.link.carried(Direction::ToClient) > before
    })
    .await;
    sleep(T / 10).await;
    assert_eq!(registrant.ask("state").await, "suspended", "half a reconnect is none");
    registrant.cut_off().await;

    eventually(T * 2, "the session is given up", async || registrant.ask("state").await == "connecting")
        .await;
    println!("given up {:?} after the loss", lost.fair());
    assert!(lost.fair() < T.mul_f64(1.4), "{lost:?}");
    sleep(T.mul_f64(1.5).saturating_sub(lost.elapsed())).await;
    let load = registrant.load().await;
    println!("{load:.3} of a core past the client crate's deadline");
    assert!(load < 0.2, "{load} of a core");

    registrant.process.limit(Resource::Descriptors, Some(1_024));
    registrant.link.thaw();
    registrant.link.accept().await;
    let back = Stopwatch::start();
    eventually(T, "it is connected again", async || registrant.ask("state").await == "connected").await;
    eventually(T, "it is listed", async || {
        registrant.raw.list("/services/time").await.map(|names| names.map_or(0, |names| names.len())) == Ok(1)
    })
    .await;
    println!("listed {:?} after the network was back", back.elapsed());
    assert_eq!(registrant.raw.list("/services/time").await.unwrap().map(|names| names.len()), Some(1));
}

#[tokio::test]
async fn a_close_late_in_an_outage_ends_before_the_client_crates_deadline() {
    let mut registrant = Registrant::start().await;
    let lost = Stopwatch::start();
    registrant.cut_off().await;
    sleep(T.mul_f64(0.8)).await;
    assert_eq!(registrant.ask("state").await, "suspended");
    // Two sessions longer than that deadline is away.
    let close = format!("close {}", (T * 3).as_millis());
    assert_eq!(registrant.ask(&close).await, "unconfirmed");
    println!("closed {:?} after the loss", lost.fair());
    assert!(lost.fair() < T.mul_f64(1.4), "{lost:?}");
    sleep(T.mul_f64(1.5).saturating_sub(lost.elapsed())).await;
    let load = registrant.load().await;
    println!("{load:.3} of a core past the client crate's deadline");
    assert!(load < 0.2, "{load} of a core");
}
