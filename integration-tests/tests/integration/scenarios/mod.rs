//! What is promised while ZooKeeper itself breaks: each test is a script of steps, and each step has its bound.
//!
//! The bounds are what docs/SERVICE-LEVEL.md promises plus what two busy cores need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::eventually::eventually;
use integration_tests::proxy::{Direction, Proxy, hosts};
use integration_tests::servers::{Launch, Servers};
use integration_tests::steps::init_tracing;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{
    Freshness, Instance, Options, Registration, RegistrationState, Registry, Resolve, ServiceWatch, Snapshot,
    Withdrawn,
};

use crate::registration::{T, open, options, time};

/// The connection timeout that goes with `T`.
const C: Duration = Duration::from_secs(1);
/// What two busy cores may add to any bound.
const SLACK: Duration = Duration::from_secs(2);
/// A server process starts, loads its data, finds its peers.
const STARTUP: Duration = Duration::from_secs(30);
const MEMBERS: usize = 5;

/// One process that registers five instances and another one that watches them.
struct Fleet {
    registry: Registry,
    registrations: Vec<Registration>,
    reader: Registry,
    watch: ServiceWatch,
    /// The fewest instances that any snapshot has shown since all of them were there.
    fewest: Arc<AtomicUsize>,
    observer: Option<AbortOnDropHandle<()>>,
}

impl Fleet {
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
        let fewest = Arc::new(AtomicUsize::new(MEMBERS));
        let mut fleet = Self { registry, registrations, reader, watch, fewest, observer: None };
        fleet.serves(STARTUP).await;
        let (mut watch, fewest) = (fleet.watch.clone(), fleet.fewest.clone());
        fleet.observer = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok(snapshot) = watch.changed().await {
                fewest.fetch_min(snapshot.len(), Ordering::Relaxed);
            }
        })));
        fleet
    }

    /// Every instance is registered, and the reader has a live snapshot of all of them; how long that took.
    async fn serves(&mut self, within: Duration) -> Duration {
        let start = Instant::now();
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
        let start = Instant::now();
        let watch = &mut self.watch;
        eventually(C.mul_f64(1.125) + SLACK, "the reader says that it is stale", async || {
            matches!(watch.freshness(tokio::time::Instant::now()), Freshness::Stale { .. })
        })
        .await;
        start.elapsed()
    }

    /// No snapshot has ever missed an instance.
    fn never_missed_one(&self) {
        assert_eq!(self.fewest.load(Ordering::Relaxed), MEMBERS);
    }

    /// Everything is withdrawn, acknowledged, within its bound.
    async fn goes(self) {
        assert_eq!(self.registry.close(T).await, Withdrawn::Confirmed);
        self.reader.close(T).await;
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
        let start = Instant::now();
        assert_eq!(registration.withdraw(T).await, Withdrawn::Confirmed);
        acknowledged.push(start.elapsed());
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
    let start = Instant::now();
    while !holds(watch.current()) {
        watch.changed().await.unwrap();
    }
    start.elapsed()
}

#[tokio::test]
async fn a_server_restarted_inside_the_timeout_costs_nobody() {
    let (zk, chroot) = started(ZooKeeper::single(), "restarted").await;
    let mut fleet = Fleet::at(&chroot.connect_string()).await;
    zk.restart(1).await;
    report("one server restarted", fleet.serves(T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_server_away_for_longer_than_the_session_is_survived() {
    let (zk, chroot) = started(ZooKeeper::single(), "away").await;
    let mut fleet = Fleet::at(&chroot.connect_string()).await;
    zk.kill(1).await;
    report("stale after the only server died", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    zk.start(1).await;
    zk.wait().await;
    // The longest pause between two attempts is 5 seconds.
    report("one server away for two sessions", fleet.serves(Duration::from_secs(5) + T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_server_frozen_for_longer_than_the_session_is_survived() {
    let (zk, chroot) = started(ZooKeeper::single(), "frozen-server").await;
    let mut fleet = Fleet::at(&chroot.connect_string()).await;
    zk.pause(1).await;
    report("stale after the only server froze", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    zk.resume(1).await;
    report("one server frozen for two sessions", fleet.serves(Duration::from_secs(5) + T + SLACK).await);
    fleet.goes().await;
}

#[tokio::test]
async fn an_ensemble_that_loses_its_leader_or_a_follower_costs_nobody() {
    let (zk, chroot) = started(ZooKeeper::ensemble(), "minority").await;
    let mut fleet = Fleet::at(&chroot.connect_string()).await;

    let leader = zk.leader().await.unwrap();
    zk.kill(leader).await;
    elected(&zk, leader).await;
    report("leader killed", fleet.serves(T + SLACK).await);
    zk.start(leader).await;
    zk.wait().await;

    let leader = zk.leader().await.unwrap();
    let follower = leader % 3 + 1;
    zk.kill(follower).await;
    report("follower killed", fleet.serves(T + SLACK).await);
    zk.start(follower).await;
    zk.wait().await;

    let leader = zk.leader().await.unwrap();
    zk.pause(leader).await;
    elected(&zk, leader).await;
    report("leader paused", fleet.serves(T + SLACK).await);
    zk.resume(leader).await;
    zk.wait().await;
    report("leader resumed", fleet.serves(T + SLACK).await);

    fleet.never_missed_one();
    fleet.goes().await;
}

async fn elected(zk: &Servers, old: usize) {
    eventually(STARTUP, "a new leader", async || {
        for node in (1..=3).filter(|node| *node != old) {
            if zk.mode(node).await.as_deref() == Some("leader") {
                return true;
            }
        }
        false
    })
    .await;
}

#[tokio::test]
async fn an_ensemble_without_its_majority_is_stale_and_comes_back() {
    let (zk, chroot) = started(ZooKeeper::ensemble(), "majority").await;
    let mut fleet = Fleet::at(&chroot.connect_string()).await;
    zk.kill(1).await;
    zk.kill(2).await;
    // The survivor hangs up on its clients once it misses its peers.
    report("stale after the majority was lost", fleet.is_stale().await);
    tokio::time::sleep(T).await;
    fleet.never_missed_one();
    zk.start(1).await;
    zk.start(2).await;
    zk.wait().await;
    report("majority lost", fleet.serves(Duration::from_secs(5) + T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn two_hundred_registrants_and_fifty_readers_survive_a_change_of_leader() {
    let (zk, chroot) = started(ZooKeeper::ensemble(), "crowd").await;
    let links = zk.proxies().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let open = |to: String| {
        let mut options: Options = options().with_runtime(runtime.handle().clone());
        options.session_timeout = T * 2;
        options.audit_interval = T * 20;
        Registry::open(to.parse().unwrap(), options)
    };
    let registrants: Vec<_> = (0..200).map(|_| open(chroot.connect_string())).collect();
    let mut registrations: Vec<_> = registrants
        .iter()
        .zip(1..)
        .map(|(registry, port)| registry.register(&time(), Instance::new("10.0.0.1", port)))
        .collect();
    for registration in &mut registrations {
        tokio::time::timeout(STARTUP, registration.registered()).await.expect("registered").unwrap();
    }
    let readers: Vec<_> = (0..50).map(|_| open(chroot.through(hosts(&links)))).collect();
    let mut watches: Vec<_> = readers.iter().map(|registry| registry.watch(&time())).collect();
    everybody_sees(&mut watches, STARTUP).await;
    let carried = || links.iter().map(|link| link.carried(Direction::ToClient)).sum::<u64>();
    let before = carried();

    let leader = zk.leader().await.unwrap();
    zk.kill(leader).await;
    elected(&zk, leader).await;
    let start = Instant::now();
    everybody_sees(&mut watches, T * 2 + SLACK * 3).await;
    report("50 readers live again after a change of leader", start.elapsed());
    eventually(T * 2 + SLACK * 3, "everybody is registered", async || {
        registrations.iter().all(is_registered)
    })
    .await;
    // Everything once, for each reader, and as much again: no storm.
    let (read, once) = (carried() - before, 50 * 200 * 500);
    println!("measured: {read} bytes read by 50 readers");
    assert!(read < 2 * once, "{read} bytes");
    drop((watches, registrations));
    runtime.shutdown_background();
}

async fn everybody_sees(watches: &mut [ServiceWatch], within: Duration) {
    eventually(within, "every reader is live and sees everybody", async || {
        let mut complete = 0;
        for watch in watches.iter_mut() {
            let snapshot = watch.current();
            complete += usize::from(snapshot.freshness() == Freshness::Live && snapshot.len() == 200);
        }
        if complete == watches.len() { Ok(()) } else { Err(format!("{complete} of {}", watches.len())) }
    })
    .await;
}

#[tokio::test]
async fn a_dead_and_a_silent_server_in_the_connect_string_are_passed_over() {
    init_tracing();
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("passed-over").await;
    let (dead, silent) = (Proxy::zookeeper(zk.address(1)).await, Proxy::zookeeper(zk.address(1)).await);
    dead.refuse().await;
    silent.black_hole();
    let to = chroot.through(format!("{},{},{}", dead.address(), silent.address(), zk.address(1)));
    let start = Instant::now();
    let fleet = Fleet::at(&to).await;
    report("connected past a dead and a silent server", start.elapsed());
    assert!(start.elapsed() < T + SLACK, "{:?}", start.elapsed());
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_link_that_is_dead_in_one_direction_is_noticed_and_healed() {
    init_tracing();
    for direction in Direction::BOTH {
        let zk = ZooKeeper::shared();
        let chroot = zk.chroot("one-way").await;
        let link = Proxy::zookeeper(zk.address(1)).await;
        let mut fleet = Fleet::over(&chroot.connect_string(), &chroot.through(link.address())).await;
        link.freeze(direction);
        report("stale after a direction froze", fleet.is_stale().await);
        link.thaw();
        report("live after a direction thawed", fleet.serves(T + SLACK).await);
        fleet.never_missed_one();
        fleet.goes().await;
    }
}

#[tokio::test]
async fn a_slow_link_is_slow_and_nothing_else() {
    init_tracing();
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("slow").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let one_way = Duration::from_millis(100);
    link.delay(one_way);
    let to = chroot.through(link.address());
    let mut fleet = Fleet::at(&to).await;
    let start = Instant::now();
    let mut late = fleet.registry.register(&time(), Instance::new("10.0.0.1", 99));
    let zxid = late.registered().await.unwrap();
    // Two round trips at most to register, one and a half more to be seen by event and read.
    fleet.watch.wait_for(zxid).await.unwrap();
    report("registered and seen over a link of 200 ms", start.elapsed());
    assert!(start.elapsed() < one_way * 2 * 5 + SLACK, "{:?}", start.elapsed());
    assert_eq!(late.withdraw(T).await, Withdrawn::Confirmed);
    fleet.serves(T).await;
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_link_cut_for_longer_than_the_session_unlists_and_lists_again() {
    init_tracing();
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("long-cut").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let mut fleet = Fleet::over(&chroot.through(link.address()), &chroot.connect_string()).await;
    link.black_hole();
    let start = Instant::now();
    let watch = &mut fleet.watch;
    // A server looks for expired sessions once a tick.
    eventually(T + C + SLACK, "the silent ones are gone", async || watch.current().is_empty()).await;
    report("gone after silence", start.elapsed());
    link.thaw();
    report("listed again after a long cut", fleet.serves(T + SLACK).await);
    fleet.goes().await;
}
