//! The JVM that runs Curator: `peers/CuratorBench.java` has the words.

use std::time::{Duration, Instant};

use integration_tests::line_process::{Frozen, LineProcess};
use integration_tests::peers;
use nix::time::{ClockId, clock_gettime};

use crate::view::change::FleetWatcher;

/// A running JVM with at most one session.
pub(super) struct Curator {
    process: LineProcess,
    name: String,
    clock: Clock,
}

impl Curator {
    /// `None` where it is not installed.
    pub(super) async fn start() -> Option<Self> {
        let mut process = LineProcess::start(&peers::curator_bench()?);
        let name = process.says().await;
        let clock = Clock::common_with(&mut process).await;
        Some(Self { process, name, clock })
    }

    /// The name of the peer, with its version.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A session that is connected.
    pub(super) async fn open(&mut self, to: &str, session: Duration) {
        self.tell(&format!("open {to} {}", session.as_millis()), "open").await;
    }

    /// How long it took to register so many instances, in nanoseconds.
    pub(super) async fn register(&mut self, count: u16) -> f64 {
        self.figure(&format!("register {count}")).await
    }

    /// Waits until the session has found its server again so often.
    pub(super) async fn reconnected(&mut self, times: usize) {
        self.tell(&format!("reconnected {times}"), "reconnected").await;
    }

    /// How long it took until a cache was populated, in nanoseconds, and with how many instances.
    pub(super) async fn watch(&mut self) -> (f64, usize) {
        let answer = self.process.ask("watch").await;
        let (took, found) = answer.split_once(' ').expect("two figures");
        (took.parse().expect("a figure"), found.parse().expect("a figure"))
    }

    /// Lets it pick by this strategy until it does so at full speed.
    pub(super) async fn provide(&mut self, strategy: &str) {
        self.tell(&format!("provide {strategy}"), "provided").await;
    }

    /// How long a pick took, in nanoseconds.
    pub(super) async fn pick(&mut self) -> f64 {
        self.figure("pick").await
    }

    pub(super) async fn close(&mut self) {
        self.tell("close", "closed").await;
    }

    pub(super) fn freeze(&self) -> Frozen<'_> {
        self.process.freeze()
    }

    async fn shows(&mut self, count: usize) -> Instant {
        let answer = self.process.ask(&format!("shows {count}")).await;
        self.clock.at(answer.parse().expect("a time"))
    }

    async fn tell(&mut self, line: &str, done: &str) {
        assert_eq!(self.process.ask(line).await, done, "{line}");
    }

    async fn figure(&mut self, line: &str) -> f64 {
        self.process.ask(line).await.parse().expect("a figure")
    }
}

impl FleetWatcher for Curator {
    async fn sees(&mut self, n: usize) -> Instant {
        self.shows(n + 1).await
    }

    async fn misses(&mut self, n: usize) {
        self.shows(n).await;
    }
}

/// One moment on the two clocks, both of which are the kernel's monotonic one.
#[derive(Clone, Copy)]
struct Clock {
    here: Instant,
    there: Duration,
}

impl Clock {
    async fn common_with(process: &mut LineProcess) -> Self {
        let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has it"));
        let clock = Self { here: Instant::now(), there: now() };
        let there: u64 = process.ask("clock").await.parse().expect("a time");
        let asked = clock.there..now();
        assert!(
            asked.contains(&Duration::from_nanos(there)),
            "the JVM has another clock: {there} not in {asked:?}"
        );
        clock
    }

    fn at(self, nanos: u64) -> Instant {
        self.here + Duration::from_nanos(nanos).saturating_sub(self.there)
    }
}
