//! How soon an instance is listed again: after a restart of its process, and after its session was expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::bench::{Bound, Row, Runs, Unit, World};
use integration_tests::eventually::eventually;
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::raw_events::{Events, NodeChange};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use tokio::task::JoinHandle;
use zk_registry::{Instance, Options, Registering, Registration, Registry, Resolve};

use crate::fleet::{SOON, open, open_with, time};

/// A process dies without a word and starts again at once, while its session lives on.
pub(super) async fn restarted(world: &World) -> Vec<Row> {
    let zookeeper = world.zookeeper().await;
    let chroot = zookeeper.chroot("restart").await;
    let (mut proxy, mut registry, mut registration, _) = start(&chroot, zookeeper).await;
    let readers = Readers::start(&chroot).await;
    let cache = EventCache::start(&chroot).await;

    let restart = async || {
        // Silence is all that a dead process sends.
        proxy.black_hole();
        let (next_proxy, next_registry, next, took) = start(&chroot, zookeeper).await;
        let dead = std::mem::replace(&mut registry, next_registry);
        drop(std::mem::replace(&mut registration, next));
        dead.close(Duration::ZERO).await;
        proxy = next_proxy;
        // A reader that is slow sees this restart before the next one.
        let reads = readers.reads();
        eventually(SOON, "some reads", async || readers.reads() > reads + 200).await;
        took
    };
    let took = world.runs.alone(restart).await;
    eventually(SOON, "enough reads", async || readers.reads() >= READS).await;
    let (reads, absent, without) = readers.stop().await;
    let missed = cache.stop().await;
    registry.close(SOON).await;
    vec![
        Row::new(
            "restart within the session timeout: from `open` to listed again",
            Unit::Time,
            took.into_iter().collect(),
        )
        .bound(Bound::within(Duration::from_millis(50))),
        Row::new(format!("the same: of {reads} listings, those without it"), Unit::Count, one(absent))
            .bound(Bound::AtMost(0.0)),
        Row::new("the same: snapshots of a `ServiceWatch` without it", Unit::Count, one(without))
            .bound(Bound::AtMost(0.0)),
        Row::new(
            "the same: how long a cache that follows events lacks it",
            Unit::Time,
            missed.into_iter().collect(),
        ),
    ]
}

/// A process of its own, as far as ZooKeeper and this library can tell, and how long it took to be listed.
async fn start(chroot: &Chroot, zookeeper: &ZooKeeper) -> (Proxy, Registry, Registration, f64) {
    let proxy = Proxy::to(zookeeper.address(1)).await;
    let mut how = Registering::default();
    how.exclusive = true;
    let start = Instant::now();
    let to = chroot.through(proxy.address()).parse().expect("it is a connect string");
    let registry = Registry::open(to, Options::default());
    let mut registration = registry.register_with(&time(), Instance::new("10.0.0.1", 80), how);
    registration.registered().await.expect("its predecessor makes way");
    (proxy, registry, registration, start.elapsed().as_nanos() as f64)
}

fn one(count: usize) -> integration_tests::bench::Samples {
    std::iter::once(count as f64).collect()
}

/// Everybody who must not notice: clients that list, and a watch.
struct Readers {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    lists: Vec<JoinHandle<usize>>,
    watch: JoinHandle<usize>,
    registry: Registry,
}

impl Readers {
    async fn start(chroot: &Chroot) -> Self {
        let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut lists = Vec::new();
        for _ in 0..2 {
            let (raw, stop, reads) = (chroot.raw().await, stop.clone(), reads.clone());
            lists.push(tokio::spawn(async move {
                let mut absent = 0;
                while !stop.load(Ordering::Relaxed) {
                    let names = raw.list("/services/time").await.expect("the server is up");
                    absent += usize::from(names.is_none_or(|names| names.is_empty()));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                raw.close().await;
                absent
            }));
        }
        let registry = open(&chroot.connect_string()).await;
        let mut watch = registry.watch(&time());
        watch.live().await.expect("the registry is open");
        let watch = tokio::spawn(async move {
            let mut without = 0;
            while let Ok(snapshot) = watch.changed().await {
                without += usize::from(snapshot.is_empty());
            }
            without
        });
        Self { stop, reads, lists, watch, registry }
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    /// How many listings there were, and how many listings and snapshots lacked the instance.
    async fn stop(self) -> (usize, usize, usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut absent = 0;
        for list in self.lists {
            absent += list.await.expect("readers do not panic");
        }
        self.registry.close(SOON).await;
        (self.reads.load(Ordering::Relaxed), absent, self.watch.await.expect("watching does not panic"))
    }
}

/// The work of a cache that takes events for the truth, such as Curator's: it drops what was deleted, and has what was created
/// once it has read it.
struct EventCache {
    stop: Arc<AtomicBool>,
    lacks: JoinHandle<Vec<f64>>,
}

impl EventCache {
    async fn start(chroot: &Chroot) -> Self {
        use zookeeper_client::{AddWatchMode, EventType};

        let raw = chroot.raw().await;
        let watched = raw.client().watch("/services/time", AddWatchMode::PersistentRecursive).await;
        let mut watcher = watched.expect("the server is up");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let lacks = tokio::spawn(async move {
            let mut lacks = Vec::new();
            let mut deleted = None;
            while !stopped.load(Ordering::Relaxed) {
                let waited = tokio::time::timeout(Duration::from_millis(100), watcher.changed()).await;
                let Ok(event) = waited else { continue };
                match (event.event_type, deleted) {
                    (EventType::NodeDeleted, _) => deleted = Some(Instant::now()),
                    (EventType::NodeCreated, Some(since)) => {
                        raw.get(&event.path).await.expect("the server is up");
                        lacks.push(since.elapsed().as_nanos() as f64);
                        deleted = None;
                    }
                    _ => {}
                }
            }
            lacks
        });
        Self { stop, lacks }
    }

    async fn stop(self) -> Vec<f64> {
        self.stop.store(true, Ordering::Relaxed);
        self.lacks.await.expect("it does not panic")
    }
}

/// A process is frozen until the server has expired its session, with its instance: from its thaw to listed again.
pub(super) async fn thawed(world: &World) -> Row {
    let chroot = world.zookeeper().await.chroot("thaw").await;
    let options = Options::default().with_session_timeout(Duration::from_secs(4));
    let freezer = Freezer::start();
    let registry = open_with(&chroot.connect_string(), options.with_runtime(freezer.handle.clone())).await;
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.expect("nobody is in the way");
    let (raw, path) = (chroot.raw().await, registration.path());

    let runs = Runs(world.runs.0.min(3));
    let expired = async || Expired::new(&raw, path, || freezer.freeze()).await.back().await;
    let took = runs.alone(expired).await;
    registry.close(SOON).await;
    let took = took.into_iter().collect();
    Row::new("expired by the server while frozen: from the thaw to listed again", Unit::Time, took)
        .bound(Bound::within(Duration::from_millis(100)))
}

/// A node that is gone because whoever keeps it was frozen until the server had expired its session.
pub(crate) struct Expired<'a, F> {
    path: &'a str,
    events: Events,
    frozen: F,
}

impl<'a, F> Expired<'a, F> {
    /// `freeze` returns what thaws when it is dropped.
    pub(crate) async fn new(raw: &Raw, path: &'a str, freeze: impl FnOnce() -> F) -> Self {
        let events: Events = raw.events("/services/time").await.expect("the server is up");
        let frozen = freeze();
        events.first(NodeChange::Deleted, path, SOON).await;
        Self { path, events, frozen }
    }

    /// From the thaw to the node's return, in nanoseconds.
    pub(crate) async fn back(self) -> f64 {
        let thaw = Instant::now();
        drop(self.frozen);
        let back = self.events.first(NodeChange::Created, self.path, SOON).await;
        (back.at - thaw).as_nanos() as f64
    }
}

/// A runtime whose only thread can be stopped as a frozen process is.
struct Freezer {
    handle: tokio::runtime::Handle,
}

impl Freezer {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        // It ends with the benchmark.
        thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        Self { handle }
    }

    /// Nothing runs on it until the returned guard is dropped.
    fn freeze(&self) -> mpsc::Sender<()> {
        let (guard, dropped) = mpsc::channel::<()>();
        self.handle.spawn(async move {
            // An error is the drop of the guard, which is what is waited for.
            let _ = dropped.recv();
        });
        guard
    }
}

/// As many listings at least.
const READS: usize = 2_000;
