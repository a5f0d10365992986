//! One instance comes or goes.

use std::time::{Duration, Instant};

use integration_tests::bench::{Bound, Row, Samples, Unit, World};
use integration_tests::proxy::{Direction, Proxy};
use integration_tests::raw::Raw;
use tokio::time::sleep;
use zk_registry::{InstanceId, Resolve, ServiceWatch, Snapshot};
use zookeeper_client::{AddWatchMode, EventType, PersistentWatcher};

use super::reader::ReaderProcess;
use crate::fleet::{LargeFleet, SOON, id, open, time};
use crate::grouped::grouped;

/// A client that watches a fleet.
pub(crate) trait FleetWatcher {
    /// When it first had instance `n`, one more than the `n` before.
    async fn sees(&mut self, n: usize) -> Instant;

    /// Returns once it has the `n` instances alone again.
    async fn misses(&mut self, n: usize);
}

impl FleetWatcher for ServiceWatch {
    async fn sees(&mut self, n: usize) -> Instant {
        let id: InstanceId = id(n).parse().expect("it is an id");
        seen(self, |snapshot| snapshot.get(&id).is_some()).await
    }

    async fn misses(&mut self, n: usize) {
        let id: InstanceId = id(n).parse().expect("it is an id");
        seen(self, |snapshot| snapshot.get(&id).is_none()).await;
    }
}

/// The same by the client crate alone: it reads the node of each event that it is asked for.
struct RawWatcher {
    raw: Raw,
    events: PersistentWatcher,
}

impl RawWatcher {
    async fn of(fleet: &LargeFleet) -> Self {
        let raw = Raw::connect(&fleet.to).await;
        let events = raw.client().watch("/services/time", AddWatchMode::PersistentRecursive).await;
        Self { events: events.expect("the server is up"), raw }
    }

    async fn next(&mut self, wanted: EventType, n: usize) -> String {
        let name = id(n);
        loop {
            let event = self.events.changed().await;
            if event.event_type == wanted && event.path.ends_with(&name) {
                return event.path;
            }
        }
    }
}

impl FleetWatcher for RawWatcher {
    async fn sees(&mut self, n: usize) -> Instant {
        let path = self.next(EventType::NodeCreated, n).await;
        self.raw.get(&path).await.expect("the server is up");
        Instant::now()
    }

    async fn misses(&mut self, n: usize) {
        self.next(EventType::NodeDeleted, n).await;
    }
}

async fn seen(watch: &mut ServiceWatch, enough: impl Fn(&Snapshot) -> bool) -> Instant {
    while !enough(watch.current()) {
        watch.changed().await.expect("the registry is open");
    }
    Instant::now()
}

/// The mean of a create and a delete, each of which is seen before the next.
pub(super) async fn bytes(world: &World, fleet: &LargeFleet, size: usize) -> Row {
    let server = world.zookeeper().await.address(1);
    let (proxy, raw_proxy) = (Proxy::to(server).await, Proxy::to(server).await);
    let registry = open(&fleet.through(&proxy)).await;
    let mut watch = registry.watch(&time());
    watch.live().await.expect("the registry is open");
    let raw = Raw::connect(&fleet.through(&raw_proxy)).await;

    let listing = async || {
        let before = raw_proxy.carried(Direction::ToClient);
        raw.list("/services/time").await.expect("the server is up");
        (raw_proxy.carried(Direction::ToClient) - before) as f64
    };
    let ours = async || received(fleet, size, &mut watch, &proxy, Pace::Alone).await;
    let (ours, listing) = world.runs.beside(ours, listing).await;
    registry.close(SOON).await;
    raw.close().await;
    Row::new(bytes_words(fleet, size, Pace::Alone), Unit::Bytes, ours.into_iter().collect())
        .beside("listing the names", listing.into_iter().collect())
        .bound(Bound::AtMost(250.0 + fleet.record(size).len() as f64 / 2.0))
}

/// How often an instance comes or goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So seldom that no change has to do with another.
    Alone,
    /// A hundred times a second.
    Often,
}

/// The name of the row that [`received`] measures.
pub(crate) fn bytes_words(fleet: &LargeFleet, size: usize, pace: Pace) -> String {
    let record = fleet.record(size).len();
    let pace = match pace {
        Pace::Alone => "alone",
        Pace::Often => "a hundred a second",
    };
    format!("bytes received per change, {pace}, of {} instances, records of {record} bytes", grouped(size))
}

/// How many bytes per change come through `proxy` to the watcher.
pub(crate) async fn received(
    fleet: &LargeFleet,
    size: usize,
    watcher: &mut impl FleetWatcher,
    proxy: &Proxy,
    pace: Pace,
) -> f64 {
    let (changes, apart) = match pace {
        Pace::Alone => (CHANGES / 5, Duration::from_millis(150)),
        Pace::Often => (CHANGES, APART),
    };
    let before = proxy.carried(Direction::ToClient);
    for _ in 0..changes / 2 {
        sleep(apart).await;
        come(fleet, size, watcher).await;
        sleep(apart).await;
        go(fleet, size, watcher).await;
    }
    (proxy.carried(Direction::ToClient) - before) as f64 / changes as f64
}

/// The processor time of a process that watches, and wakes for every snapshot, beside one that only reads what changed.
pub(super) async fn processor_time(world: &World, fleet: &LargeFleet, size: usize) -> Row {
    let mut reader = ReaderProcess::start(&fleet.to).await;
    reader.live().await;
    let mut raw = ReaderProcess::start_raw(&fleet.to).await;
    raw.live().await;
    // Both watch all the time, so that both see every change.
    let both = async || {
        let before = (reader.processor_time(), raw.processor_time());
        for _ in 0..CHANGES / 2 {
            fleet.come(size).await;
            sleep(APART).await;
            fleet.go(size).await;
            sleep(APART).await;
        }
        let each = |used: Duration| used.as_nanos() as f64 / CHANGES as f64;
        (each(reader.processor_time() - before.0), each(raw.processor_time() - before.1))
    };
    let (ours, theirs): (Vec<_>, Vec<_>) = world.runs.alone(both).await.into_iter().unzip();
    Row::new(
        "reader's processor time per change, of 10,000 instances",
        Unit::Time,
        ours.into_iter().collect(),
    )
    .beside("raw watch that reads the node", theirs.into_iter().collect())
    .bound(Bound::within(Duration::from_micros(500)))
}

/// From the writer's acknowledgement to the reader's snapshot; nothing, when the snapshot was first.
pub(super) async fn latency(world: &World, fleet: &LargeFleet, size: usize) -> Vec<Row> {
    let registry = open(&fleet.to).await;
    let mut watch = registry.watch(&time());
    watch.live().await.expect("the registry is open");
    let ours = async || until_visible(fleet, size, &mut watch).await;
    let reads = async || {
        let path = fleet.path(0);
        integration_tests::bench::runs::latencies(CHANGES, async || {
            fleet.raw.get(&path).await.expect("the server is up");
        })
        .await
    };
    let (ours, reads) = world.runs.beside(ours, reads).await;
    let (again, watched) = world
        .runs
        .beside(
            async || until_visible(fleet, size, &mut watch).await,
            // A new one for each run: the events of the others' changes would wait in its queue.
            async || until_visible(fleet, size, &mut RawWatcher::of(fleet).await).await,
        )
        .await;
    registry.close(SOON).await;
    let at = |runs: &[Samples], part| runs.iter().map(|run| run.percentile(part)).collect();
    let row = |what: &str, part, bound| {
        Row::new(what, Unit::Time, at(&ours, part))
            .beside("raw get, a round trip", at(&reads, part))
            .bound(Bound::within(Duration::from_millis(bound)))
    };
    let floor = |what: &str, part| {
        Row::new(what, Unit::Time, at(&again, part))
            .beside("raw watch that reads the node", at(&watched, part))
    };
    vec![
        floor("create acknowledged until visible, of 10,000 instances, median", 0.5)
            .bound(Bound::RatioAtMost(1.2)),
        floor("create acknowledged until visible, of 10,000 instances, 99th percentile", 0.99),
        row("create acknowledged until visible, of 10,000 instances, median", 0.5, 1),
        row("create acknowledged until visible, of 10,000 instances, 99th percentile", 0.99, 10),
    ]
}

/// From each of many creates' acknowledgement to its sight.
pub(crate) async fn until_visible(
    fleet: &LargeFleet,
    size: usize,
    watcher: &mut impl FleetWatcher,
) -> Samples {
    let mut taken = Vec::new();
    for _ in 0..CHANGES {
        taken.push(come(fleet, size, watcher).await);
        sleep(APART).await;
        go(fleet, size, watcher).await;
        sleep(APART).await;
    }
    taken.into_iter().collect()
}

/// Instance `n` comes and is seen; how long after the acknowledgement, in nanoseconds.
async fn come(fleet: &LargeFleet, n: usize, watcher: &mut impl FleetWatcher) -> f64 {
    let acknowledged = async {
        fleet.come(n).await;
        Instant::now()
    };
    let (acknowledged, seen) = tokio::join!(acknowledged, watcher.sees(n));
    seen.saturating_duration_since(acknowledged).as_nanos() as f64
}

async fn go(fleet: &LargeFleet, n: usize, watcher: &mut impl FleetWatcher) {
    tokio::join!(fleet.go(n), watcher.misses(n));
}

/// Changes per run.
const CHANGES: usize = 100;
/// Longer than the view waits between two publications.
const APART: Duration = Duration::from_millis(10);
