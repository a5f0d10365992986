//! How the costs grow with the fleet and with its readers, on one machine: every reader is a registry with a session of its own.

mod meter;
mod readers;
mod storm;

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::bench::runs::processor_time;
use integration_tests::bench::{Row, Subject, Unit, World};

use self::meter::{Cost, Meter};
use self::readers::Readers;
use crate::fleet::LargeFleet;
use crate::grouped::grouped;

pub(crate) const SUBJECT: Subject = Subject {
    name: "scale",
    title: "many instances and many readers on one machine, each reader with a session of its own",
    run: |world| run(world).boxed_local(),
};

/// How many instances, for how many readers. What is left out has more entries than the memory of a laptop.
const FLEETS: [(usize, usize); 7] = [
    (1_000, 10),
    (1_000, 1_000),
    (1_000, 10_000),
    (10_000, 10),
    (10_000, 1_000),
    (100_000, 10),
    (100_000, 100),
];
/// Long, because server and readers share the processors: 10,000 readers of 1,000 instances would lose shorter sessions faster
/// than they read.
const SESSION: Duration = Duration::from_secs(60);
/// So many instances come, one after the other.
const CHANGES: usize = 20;
/// So many times, at most, an instance is seen to go and come back in a rolling restart.
const MOST_SEEN: usize = 200_000;
/// The service that changes all the time, and how: so many changes a second, so many in all.
const BUSY: (usize, usize) = (100_000, 10);
const BUSY_RATE: f64 = 500.0;
const BUSY_CHANGES: usize = 5_000;

async fn run(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut found = Vec::new();
    for (instances, readers) in FLEETS {
        let figures = fleet(world, instances, readers).await;
        rows.extend(figures.rows());
        found.push(figures);
    }
    rows.extend(exponents(&found));
    rows.extend(busy(world).await);
    rows.extend(storm::rows().await);
    rows
}

/// What one fleet with its readers costs.
struct Figures {
    instances: usize,
    readers: usize,
    /// Until the last reader was live, in nanoseconds.
    live: f64,
    /// From the acknowledged change until the last reader has seen it, in nanoseconds; one value for each change.
    seen: Vec<f64>,
    alone: Cost,
    /// A tenth of the fleet, or less, goes and comes back, one after the other, as fast as the server takes it.
    restart: Cost,
}

impl Figures {
    fn rows(&self) -> Vec<Row> {
        let about = format!("{} instances, {} readers", grouped(self.instances), grouped(self.readers));
        let row = |what: &str, unit, value: f64| {
            Row::new(format!("{about}: {what}"), unit, [value].into_iter().collect())
        };
        let mut rows = vec![
            row("from the first connect until the last is live", Unit::Time, self.live),
            Row::new(
                format!("{about}: a change, acknowledged until the last has seen it"),
                Unit::Time,
                self.seen.iter().copied().collect(),
            ),
        ];
        for (when, cost) in [("a change", &self.alone), ("a change of a rolling restart", &self.restart)] {
            rows.push(row(&format!("{when}: requests of a reader"), Unit::Count, cost.requests));
            rows.push(row(&format!("{when}: bytes of a reader, both ways"), Unit::Bytes, cost.bytes));
            rows.push(row(&format!("{when}: processor time of a reader"), Unit::Time, cost.readers));
            rows.push(row(&format!("{when}: processor time of the server"), Unit::Time, cost.server));
        }
        rows
    }
}

async fn fleet(world: &World, instances: usize, readers: usize) -> Figures {
    let zookeeper = world.zookeeper().await;
    let chroot = zookeeper.chroot("scale").await;
    let fleet = LargeFleet::of(instances, &chroot).await;
    let began = Instant::now();
    let mut all = Readers::open(&fleet.to, readers, SESSION).await;
    let live = began.elapsed().as_nanos() as f64;
    let about = format!("{} instances, {} readers", grouped(instances), grouped(readers));
    println!("{about}: live after {:?}", began.elapsed());

    let meter = Meter::new(zookeeper.address(1));
    let rest = meter.rest().await;
    let mut seen = Vec::new();
    let start = meter.now().await;
    for n in 0..CHANGES {
        let zxid = fleet.come(instances + n).await;
        seen.push(all.have_seen(zxid).await.as_nanos() as f64);
    }
    let alone = meter.since(&start, &rest).await.per(CHANGES, readers);

    let tenth = (instances / 10).min(MOST_SEEN / readers);
    let start = meter.now().await;
    for n in 0..tenth {
        fleet.go(n).await;
        fleet.come(n).await;
    }
    all.have_seen(fleet.come(instances + CHANGES).await).await;
    let restart = meter.since(&start, &rest).await.per(2 * tenth + 1, readers);
    println!("{about}: a change was seen after {:?}, a restart cost a reader {:?}", seen, restart);
    all.close().await;
    fleet.disband(instances).await;
    Figures { instances, readers, live, seen, alone, restart }
}

/// How each cost grows: 1 is in proportion, 0 not at all. Between fleets that differ in one number alone.
fn exponents(found: &[Figures]) -> Vec<Row> {
    let at = |instances, readers| {
        found
            .iter()
            .find(|figures| (figures.instances, figures.readers) == (instances, readers))
            .expect("it is one of the fleets")
    };
    // Of what could not be told from the cost of the time alone there is none.
    let row = |what: &str, from: f64, to: f64, times: f64| {
        let exponent = (to / from).ln() / times.ln();
        let samples = exponent.is_finite().then(|| [exponent].into_iter().collect());
        samples.map(|samples| Row::new(format!("growth of {what}, exponent"), Unit::Count, samples))
    };
    let (few, many) = (at(1_000, 10), at(1_000, 10_000));
    let (small, large) = (at(1_000, 10), at(100_000, 10));
    let rows = [
        row(
            "the server's processor time per change, with the readers",
            few.restart.server,
            many.restart.server,
            1_000.0,
        ),
        row(
            "a reader's processor time per change, with the readers",
            few.restart.readers,
            many.restart.readers,
            1_000.0,
        ),
        row(
            "a reader's processor time per change, with the instances",
            small.restart.readers,
            large.restart.readers,
            100.0,
        ),
        row(
            "a reader's bytes per change, with the instances",
            small.restart.bytes,
            large.restart.bytes,
            100.0,
        ),
    ];
    rows.into_iter().flatten().collect()
}

/// A large service that changes all the time.
async fn busy(world: &World) -> Vec<Row> {
    let ((instances, readers), zookeeper) = (BUSY, world.zookeeper().await);
    let chroot = zookeeper.chroot("busy").await;
    let fleet = LargeFleet::of(instances, &chroot).await;
    let mut all = Readers::open(&fleet.to, readers, SESSION).await;
    let meter = Meter::new(zookeeper.address(1));
    let rest = meter.rest().await;
    let (start, began, used) = (meter.now().await, Instant::now(), processor_time());
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / BUSY_RATE));
    let mut last = 0;
    for n in 0..BUSY_CHANGES {
        ticks.tick().await;
        last = fleet.touch(n * 7_919 % instances).await;
    }
    let rate = BUSY_CHANGES as f64 / began.elapsed().as_secs_f64();
    let behind = all.have_seen(last).await;
    let share = (processor_time() - used).as_secs_f64() / began.elapsed().as_secs_f64() / readers as f64;
    let cost = meter.since(&start, &rest).await.per(BUSY_CHANGES, readers);
    all.close().await;
    fleet.disband(instances).await;
    let about =
        format!("{} instances, {} readers, 500 changes a second", grouped(instances), grouped(readers));
    let row = |what: &str, unit, value: f64| {
        Row::new(format!("{about}: {what}"), unit, [value].into_iter().collect())
    };
    vec![
        row("changes that were made in a second", Unit::Rate, rate),
        row(
            "the last change, acknowledged until the last reader has seen it",
            Unit::Time,
            behind.as_nanos() as f64,
        ),
        row("percent of a processor for each reader", Unit::Count, share * 100.0),
        row("bytes of a reader per change, both ways", Unit::Bytes, cost.bytes),
        row("requests of a reader per change", Unit::Count, cost.requests),
    ]
}
