//! The promises while something breaks: each test is a script of steps, and each step has its bound.
//!
//! The bounds are what docs/SERVICE-LEVEL.md promises plus what two busy cores need. A script that leaves the servers alone
//! is a function of them: it runs on one server, in a test of its own, and with all others on three.

mod crowd;
mod disk;
mod network;
mod programs;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::registries::{T, open, time};
use integration_tests::replay::init_tracing;
use integration_tests::servers::{Launch, Servers};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{
    Freshness, Instance, Registration, RegistrationState, Registry, Resolve, ServiceWatch, Snapshot,
    Withdrawn,
};

/// The connection timeout that goes with `T`.
const C: Duration = Duration::from_secs(1);
/// The time that two busy cores may add to any bound.
const SLACK: Duration = Duration::from_secs(2);
/// A server process starts, loads its data, finds its peers.
const STARTUP: Duration = Duration::from_secs(30);
const MEMBERS: usize = 5;

/// One process that registers five instances and another one that watches them.
struct ScenarioFleet {
    registry: Registry,
    registrations: Vec<Registration>,
    reader: Registry,
    watch: ServiceWatch,
    fewest: Option<Fewest>,
}

impl ScenarioFleet {
    /// Registered and seen.
    async fn at(to: &str) -> Self {
        Self::over(to, to).await
    }

    async fn over(registrant: &str, reader: &str) -> Self {
        let (registry, reader) = (open(registrant), open(reader));
        let registrations = (1..=MEMBERS)
            .map(|n| registry.register(&time(), Instance::new("10.0.0.1", n.try_into().unwrap())))
            .collect();
        let watch = reader.watch(&time());
        let mut fleet = Self { registry, registrations, reader, watch, fewest: None };
        fleet.serves(STARTUP).await;
        fleet.fewest = Some(Fewest::of(&fleet.watch));
        fleet
    }

    /// Every instance is registered, and the reader has a live snapshot of all of them; how long that took.
    async fn serves(&mut self, within: Duration) -> Duration {
        let start = Stopwatch::start();
        let (registrations, watch) = (&self.registrations, &mut self.watch);
        eventually(within, "everybody is registered and seen", async || {
            let registered = registrations.iter().filter(|one| is_registered(one)).count();
            let snapshot = watch.current();
            let (seen, freshness) = (snapshot.len(), snapshot.freshness());
            if (registered, seen, freshness) == (MEMBERS, MEMBERS, Freshness::Live) {
                Ok(())
            } else {
                Err(format!("{registered} registered, {seen} seen, {freshness:?}"))
            }
        })
        .await;
        start.elapsed()
    }

    /// The reader says that it cannot know, within what is promised; how long that took.
    async fn is_stale(&mut self) -> Duration {
        let start = Stopwatch::start();
        let watch = &mut self.watch;
        eventually(C.mul_f64(1.125) + SLACK, "the reader says that it is stale", async || {
            matches!(watch.freshness(tokio::time::Instant::now()), Freshness::Stale { .. })
        })
        .await;
        start.elapsed()
    }

    /// No snapshot has ever missed an instance.
    fn never_missed_one(&self) {
        assert_eq!(self.fewest.as_ref().map(Fewest::so_far), Some(MEMBERS));
    }

    /// Everything is withdrawn, acknowledged, within its bound.
    async fn goes(self) {
        assert_eq!(self.registry.close(T).await, Withdrawn::Confirmed);
        self.reader.close(T).await;
    }
}

/// The fewest instances that any snapshot of a watch has shown.
struct Fewest {
    instances: Arc<AtomicUsize>,
    _observer: AbortOnDropHandle<()>,
}

impl Fewest {
    fn of(watch: &ServiceWatch) -> Self {
        let mut watch = watch.clone();
        let instances = Arc::new(AtomicUsize::new(watch.current().len()));
        let fewest = Arc::clone(&instances);
        let observer = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok(snapshot) = watch.changed().await {
                fewest.fetch_min(snapshot.len(), Ordering::Relaxed);
            }
        }));
        Self { instances, _observer: observer }
    }

    fn so_far(&self) -> usize {
        self.instances.load(Ordering::Relaxed)
    }
}

fn is_registered(registration: &Registration) -> bool {
    matches!(*registration.states().borrow(), RegistrationState::Registered { .. })
}

fn report(what: &str, took: Duration) {
    println!("measured: {what}: {took:?}");
}

async fn started(launch: Launch, name: &str) -> (Servers, Chroot) {
    init_tracing();
    let zk = launch.start().await;
    let chroot = zk.chroot(name).await;
    (zk, chroot)
}

#[tokio::test]
async fn what_is_registered_is_seen_and_what_is_withdrawn_is_gone_at_once() {
    init_tracing();
    let chroot = ZooKeeper::shared().chroot("at-once").await;
    let (registry, reader) = (open(&chroot.connect_string()), open(&chroot.connect_string()));
    let mut watch = reader.watch(&time());
    watch.live().await.unwrap();
    let (mut seen, mut gone, mut acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    for port in 1..=200 {
        let mut registration = registry.register(&time(), Instance::new("10.0.0.1", port));
        let id = registration.id().clone();
        registration.registered().await.unwrap();
        seen.push(until(&mut watch, |snapshot| snapshot.get(&id).is_some()).await);
        let start = Stopwatch::start();
        assert_eq!(registration.withdraw(T).await, Withdrawn::Confirmed);
        acknowledged.push(start.fair());
        gone.push(until(&mut watch, |snapshot| snapshot.get(&id).is_none()).await);
    }
    for (what, mut took) in [("seen", seen), ("withdrawal acknowledged", acknowledged), ("gone", gone)] {
        took.sort_unstable();
        let (half, most, worst) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
        println!("measured: {what}: p50 {half:?}, p99 {most:?}, worst {worst:?}");
        assert!(half < Duration::from_millis(100) && worst < SLACK, "{what}: p50 {half:?}, worst {worst:?}");
    }
}

async fn until(watch: &mut ServiceWatch, holds: impl Fn(&Snapshot) -> bool) -> Duration {
    let start = Stopwatch::start();
    while !holds(watch.current()) {
        watch.changed().await.unwrap();
    }
    start.fair()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_holds_on_one_server_holds_on_three() {
    let (zk, _) = started(Launch::ensemble(), "three").await;
    let zk: &ZooKeeper = &zk;
    tokio::join!(
        script("a full disk", disk::full(zk)),
        script("a dead and a silent server", network::dead_and_silent_servers(zk)),
        script("a long cut", network::long_cut(zk)),
        script("one dead direction", network::one_dead_direction(zk)),
        script("a short cut", network::short_cut(zk)),
        script("a slow link", network::slow_link(zk)),
        script("a frozen program", programs::frozen(zk)),
        script("a killed program", programs::killed(zk)),
        script("a program restarted after its session", programs::restarted_late(zk)),
        script("a program restarted within its session", programs::restarted_soon(zk)),
        script("a stopped program", programs::stopped(zk)),
    );
}

fn script<'a>(name: &'a str, run: impl Future<Output = ()> + 'a) -> LocalBoxFuture<'a, ()> {
    Box::pin(async move {
        let start = Stopwatch::start();
        run.await;
        println!("done: {name}: {:?}", start.elapsed());
    })
}
