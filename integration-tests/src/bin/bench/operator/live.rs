//! A program that shows a fleet which changes a hundred times a second.

use std::time::{Duration, Instant};

use integration_tests::bench::usage::{peak_memory_of, processor_time_of};
use integration_tests::bench::{Bound, Row, Samples, Unit, World};
use integration_tests::lookout::Lookout;
use tokio::time::interval;

use crate::fleet::{LargeFleet, SOON, id};

/// A fleet of which instances come and go, each a new one.
pub(super) struct Fleet<'a> {
    fleet: &'a LargeFleet,
    /// How many there are that stay.
    size: usize,
    /// The instance that comes next, and the one that goes next.
    next: usize,
    oldest: usize,
}

/// One run.
struct Seen {
    /// From each creation's acknowledgement until it was drawn, in nanoseconds.
    latencies: Samples,
    /// The processor time that the program used in a second, in nanoseconds.
    used: f64,
}

impl<'a> Fleet<'a> {
    /// The instances of `fleet`, of which there are `size`, and others that come and go.
    pub(super) fn of(fleet: &'a LargeFleet, size: usize) -> Self {
        Self { fleet, size, next: size, oldest: size }
    }

    /// What the program with this process id costs that draws each change where `lookout` sees it, and how soon it does.
    pub(super) async fn rows(
        &mut self,
        world: &World,
        what: &str,
        process: u32,
        lookout: &Lookout,
    ) -> Vec<Row> {
        let all = lookout.wait_for(&format!("{} instances", self.next - self.oldest + self.size));
        all.seen(SOON).await;
        let runs = world.runs.alone(async || self.run(process, lookout).await).await;
        let memory = peak_memory_of(process) as f64;
        while self.oldest < self.next {
            self.go().await;
        }
        let of = |figure: &dyn Fn(&Seen) -> f64| runs.iter().map(figure).collect::<Samples>();
        vec![
            Row::new(
                format!("{what}: processor time in a second of 100 changes"),
                Unit::Time,
                of(&|run| run.used),
            )
            .bound(Bound::within(Duration::from_millis(150))),
            Row::new(format!("{what}: most memory"), Unit::Bytes, [memory].into_iter().collect())
                .bound(Bound::AtMost(100.0 * 1024.0 * 1024.0)),
            Row::new(
                format!("{what}: create acknowledged until it is drawn, median"),
                Unit::Time,
                of(&|run| run.latencies.median()),
            ),
            Row::new(
                format!("{what}: create acknowledged until it is drawn, 99th percentile"),
                Unit::Time,
                of(&|run| run.latencies.percentile(0.99)),
            )
            .bound(Bound::within(Duration::from_millis(100))),
        ]
    }

    async fn run(&mut self, process: u32, lookout: &Lookout) -> Seen {
        // What comes stays for a while: what came and went between two drawings would not be drawn.
        while self.next - self.oldest < STAY {
            self.come(lookout).await.1.seen(SOON).await;
        }
        let (began, before) = (Instant::now(), processor_time_of(process));
        let mut turns = interval(APART);
        let mut sights = Vec::new();
        for _ in 0..CHANGES / 2 {
            turns.tick().await;
            sights.push(self.come(lookout).await);
            turns.tick().await;
            self.go().await;
        }
        let used = (processor_time_of(process) - before).as_nanos() as f64 / began.elapsed().as_secs_f64();
        let mut latencies = Vec::new();
        for (acknowledged, sight) in sights {
            let drawn = sight.seen(SOON).await;
            latencies.push(drawn.saturating_duration_since(acknowledged).as_nanos() as f64);
        }
        Seen { latencies: latencies.into_iter().collect(), used }
    }

    /// One instance more: when that was acknowledged, and its sight.
    async fn come(&mut self, lookout: &Lookout) -> (Instant, integration_tests::lookout::Sight) {
        let sight = lookout.wait_for(&id(self.next));
        self.fleet.come(self.next).await;
        self.next += 1;
        (Instant::now(), sight)
    }

    /// The oldest of those that came is gone.
    async fn go(&mut self) {
        self.fleet.go(self.oldest).await;
        self.oldest += 1;
    }
}

/// Changes per run.
const CHANGES: usize = 500;
/// Between two changes.
const APART: Duration = Duration::from_millis(10);
/// How many of those that came are there at any time.
const STAY: usize = 50;
