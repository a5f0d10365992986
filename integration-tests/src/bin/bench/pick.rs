//! What a pick and its outcome cost, for every strategy: alone, on two threads, and when the set is built.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use integration_tests::bench::runs::per_call;
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{
    Balancer, BalancerOptions, EndpointSet, Outcome, Phase, Pick, Strategy, Tracking,
};
use zk_registry::{Instance, ServiceName, Snapshot};

pub(crate) const SUBJECT: Subject = Subject {
    name: "pick",
    title: "a pick and its outcome, time passed in",
    run: |world| run(world).boxed_local(),
};

/// Each strategy, with the promise at up to 100 instances in nanoseconds.
pub(crate) fn strategies() -> impl Iterator<Item = (&'static str, f64)> {
    let names = Named::NAMES.into_iter().chain(["zone:a/least-loaded"]);
    names.map(|name| match name {
        "least-loaded" | "random" | "round-robin" => (name, 50.0),
        _ => (name, 100.0),
    })
}

async fn run(world: &World) -> Vec<Row> {
    warm_up();
    let mut rows = Vec::new();
    for count in [3, 100, 10_000] {
        for (name, promise) in strategies() {
            let balancer = balancer(name, count, Tracking::default());
            let taken = world.runs.alone(async || calls(&balancer, 1)).await;
            let promise = if count > 100 { 150.0 } else { promise };
            rows.push(row(format!("{name}, {count} instances"), taken).bound(Bound::AtMost(promise)));
        }
    }
    for (name, _) in strategies() {
        let balancer = balancer(name, 100, Tracking::default());
        let taken = world.runs.alone(async || on_two_threads(&balancer)).await;
        rows.push(row(format!("{name}, 100 instances, two threads"), taken).bound(Bound::AtMost(100.0)));
    }
    for name in ["random", "least-loaded", "peak-ewma", "consistent-hash"] {
        for (what, (balancer, now)) in [("all joined later", joined(name)), ("one ejected", ejected(name))] {
            let taken = world.runs.alone(async || calls_at(&balancer, 1, now)).await;
            rows.push(row(format!("{name}, 100 instances, {what}"), taken));
        }
    }
    let balancer = balancer("random", 100, Tracking::NOTHING.with_in_flight());
    let taken = world.runs.alone(async || on_two_threads(&balancer)).await;
    rows.push(row("random with load tracking, 100 instances, two threads".to_owned(), taken));
    rows.push(row(
        "a cache line, from one thread to the other".to_owned(),
        world.runs.alone(async || a_line_passes()).await,
    ));
    rows.push(scaling(world).await);
    for (name, _) in strategies() {
        let snapshot = snapshot(name, 10_000);
        let set = EndpointSet::of(&snapshot).expect("it has instances");
        let strategy: Named = name.parse().expect("it stands in the table");
        let taken = world.runs.alone(async || per_call(1, || strategy.picker(&set))).await;
        rows.push(row(format!("building {name} for 10000 instances"), taken));
    }
    rows
}

/// A processor that was idle takes a while to reach its speed: the first second is a third slower.
fn warm_up() {
    let (balancer, began) = (balancer("random", 100, Tracking::default()), Instant::now());
    while began.elapsed() < Duration::from_secs(3) {
        black_box(calls(&balancer, 1));
    }
}

/// A balancer whose instances all came after ZooKeeper was first heard, and a time when they are past their slow start.
fn joined(name: &str) -> (Arc<Balancer>, Instant) {
    let balancer = balancer(name, 0, Tracking::default());
    balancer.update(&snapshot(name, 100));
    (balancer, Instant::now() + BalancerOptions::default().slow_start)
}

/// A balancer that has ejected one instance, and a time before that one may be probed.
fn ejected(name: &str) -> (Arc<Balancer>, Instant) {
    let balancer = balancer(name, 100, Tracking::default());
    let set = balancer.endpoints().expect("it has instances");
    let others: Vec<_> = set.iter().skip(1).map(|endpoint| endpoint.id().clone()).collect();
    let now = Instant::now();
    while set.iter().all(|endpoint| endpoint.phase() == Phase::Available) {
        let lease = balancer.pick_avoiding(&others).expect("one is left");
        lease.finish_at(Outcome::Failure, now);
    }
    (balancer, now)
}

/// How long a cache line takes from one thread to another: what strategies that count calls in flight wait for once or twice
/// per pick.
fn a_line_passes() -> f64 {
    const PASSES: u32 = 50_000;
    let (line, start) = (AtomicU32::new(0), Barrier::new(2));
    let pass = |mine: u32| {
        start.wait();
        let mut turn = mine;
        per_call(PASSES, || {
            while line.load(Acquire) != turn {
                spin_loop();
            }
            line.store(turn + 1, Release);
            turn += 2;
        })
    };
    // A round is two passes.
    thread::scope(|scope| {
        let other = scope.spawn(|| pass(1));
        f64::midpoint(pass(0), other.join().expect("it measures only")) / 2.0
    })
}

/// Picks per second of two threads beside those of one, without load tracking.
async fn scaling(world: &World) -> Row {
    let balancer = balancer("random", 100, Tracking::NOTHING);
    let one = async || 1e9 / calls(&balancer, 1);
    let two = async || 2e9 / on_two_threads(&balancer);
    let (two, one) = world.runs.beside(two, one).await;
    Row::new("random without load tracking, two threads", Unit::Rate, two.into_iter().collect())
        .beside("one thread", one.into_iter().collect())
        .bound(Bound::RatioAtLeast(1.7))
}

fn row(what: String, taken: Vec<f64>) -> Row {
    Row::new(what, Unit::Time, taken.into_iter().collect::<Samples>())
}

fn service() -> ServiceName {
    "bench".parse().expect("it is a name")
}

/// A set that suits the strategy.
pub(crate) fn snapshot(name: &str, count: u32) -> Snapshot {
    Snapshot::fixed(&service(), instances(name, count))
}

fn instances(name: &str, count: u32) -> impl Iterator<Item = Instance> {
    let is_weighted = name.starts_with("weighted");
    (0..count).map(move |n| {
        let [_, a, b, c] = n.to_be_bytes();
        let weight = if is_weighted { 1 + n % 5 } else { 1 };
        Instance::new(format!("10.{a}.{b}.{c}"), 8897)
            .with_weight(u16::try_from(weight).ok().and_then(|it| it.try_into().ok()).expect("it is small"))
            .with_zone(if n.is_multiple_of(2) { "a" } else { "b" })
    })
}

fn balancer(name: &str, count: u32, tracking: Tracking) -> Arc<Balancer> {
    let strategy: Named = name.parse().expect("it stands in the table");
    let mut options = BalancerOptions::default();
    options.tracking = tracking;
    let balancer = Balancer::with_options(strategy, options);
    balancer.update(&snapshot(name, count));
    Arc::new(balancer)
}

/// Nanoseconds per call.
fn calls(balancer: &Balancer, seed: u64) -> f64 {
    calls_at(balancer, seed, Instant::now())
}

fn calls_at(balancer: &Balancer, seed: u64, now: Instant) -> f64 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut key = seed;
    per_call(CALLS, || {
        key += 1;
        let mut words = || rng.next_u64();
        let mut pick = Pick::new(now, &mut words).with_key(key);
        let lease = balancer.pick_with(&mut pick).expect("there are instances");
        black_box(lease.instance());
        lease.finish_at(Outcome::Success, now);
    })
}

/// Nanoseconds per call while another thread does the same, at the same time by either's clock.
fn on_two_threads(balancer: &Arc<Balancer>) -> f64 {
    let (start, now) = (Barrier::new(2), Instant::now());
    let run = |seed| {
        start.wait();
        calls_at(balancer, seed, now)
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| run(1 << 32));
        f64::midpoint(run(1), other.join().expect("it measures only"))
    })
}

/// Per run.
const CALLS: u32 = 500_000;
