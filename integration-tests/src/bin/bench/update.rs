//! What a publication costs the balancer that adopts it, for every strategy: one change of a large set, beside a copy of the list.

use std::collections::HashSet;
use std::hint::black_box;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::bench::runs::{per_call, processor_time};
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::balance::strategy::{Named, Random};
use zk_registry::balance::{Balancer, Outcome};
use zk_registry::{Incarnation, Instance, Member, Resolve, Snapshot, testing};

use crate::fleet::{host, time};
use crate::grouped::grouped;
use crate::pick::{snapshot, strategies};

pub(crate) const SUBJECT: Subject = Subject {
    name: "update",
    title: "one change of a large set, adopted by a balancer",
    run: |world| run(world).boxed_local(),
};

/// The sizes of the sets; the larger one is ten times the smaller.
const SIZES: [u32; 2] = [10_000, 100_000];

async fn run(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, _) in strategies() {
        let mut small = None;
        for size in SIZES {
            let snapshots = restarts(name, size);
            let (ours, copies) = beside_a_copy(world, name, snapshots, size).await;
            let what = format!("one of {} restarted, {name}", grouped(size as usize));
            let row = Row::new(what, Unit::Time, ours.clone());
            rows.push(match small.take() {
                None => {
                    small = Some(ours);
                    row.beside("copy of the list", copies).bound(Bound::RatioAtMost(promise(name)))
                }
                Some(small) => row
                    .beside(format!("one of {}", grouped(SIZES[0] as usize)), small)
                    .bound(Bound::RatioAtMost(10.0)),
            });
        }
    }
    for size in SIZES {
        let next = testing::internal::publications(size as usize);
        let snapshots = std::iter::repeat_with(next).take(CALLS as usize).collect();
        let (ours, copies) = beside_a_copy(world, "random", snapshots, size).await;
        let what = format!("one of {} goes or comes, random", grouped(size as usize));
        rows.push(
            Row::new(what, Unit::Time, ours)
                .beside("copy of the list", copies)
                .bound(Bound::RatioAtMost(0.7)),
        );
    }
    rows.push(failing(world).await);
    rows.extend(restless(world).await);
    rows
}

/// One of many instances changes its weight all the time: what a process uses that follows it, beside one whose strategy has
/// no table.
async fn restless(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, size) in ["consistent-hash", "weighted-round-robin"]
        .into_iter()
        .flat_map(|name| RESTLESS.map(|size| (name, size)))
    {
        let ours = async || weights_change(Some(name), size).await - weights_change(None, size).await;
        let random = async || weights_change(Some("random"), size).await - weights_change(None, size).await;
        let (ours, random) = world.runs.beside(ours, random).await;
        let what = format!(
            "one weight of {} changed {WEIGHTS_A_SECOND} times a second, {name}: percent of a processor for who follows",
            grouped(size as usize)
        );
        let row = Row::new(what, Unit::Count, ours.into_iter().collect());
        let row = row.beside("random", random.into_iter().collect());
        rows.push(if size == RESTLESS[0] { row.bound(Bound::AtMost(10.0)) } else { row });
    }
    rows
}

/// The sizes of the sets; the promise is about the first.
const RESTLESS: [u32; 2] = [1_000, 10_000];
/// How often one instance's weight changes, and for how long.
const WEIGHTS_A_SECOND: u32 = 140;
const WEIGHTS: [NonZeroU16; 2] = [NonZeroU16::MIN, NonZeroU16::MIN.saturating_add(1)];
const WEIGHTS_CHANGE_FOR: Duration = Duration::from_secs(3);

/// The percentage of a processor that this process uses, in which there are the server, who changes the weight, and one who follows with
/// this strategy; `None`: nobody does.
async fn weights_change(name: Option<&str>, size: u32) -> f64 {
    let registry = testing::registry();
    for n in 0..size {
        let host = host(n as usize);
        let record = format!(r#"{{"address":"{host}","port":80}}"#);
        registry.put(&format!("/services/time/{host}"), record.as_bytes());
    }
    let writer = registry.sibling();
    let mut registration = writer.register(&time(), Instance::new("10.255.0.1", 80));
    registration.registered().await.expect("nobody is in the way");
    let mut following = None;
    if let Some(name) = name {
        let strategy: Named = name.parse().expect("it stands in the table");
        let balancer = Balancer::new(strategy);
        let mut watch = registry.watch(&time());
        assert_eq!(watch.live().await.expect("the registry is open").len(), size as usize + 1);
        balancer.update(watch.current());
        following =
            Some(AbortOnDropHandle::new(tokio::spawn(async move { balancer.follow(&mut watch).await })));
    }
    let mut due = tokio::time::interval(Duration::from_secs(1) / WEIGHTS_A_SECOND);
    let (began, used) = (Instant::now(), processor_time());
    for n in 1.. {
        due.tick().await;
        if began.elapsed() > WEIGHTS_CHANGE_FOR {
            break;
        }
        let weight = WEIGHTS[n % 2];
        registration.update(|attributes| attributes.weight = weight).await.expect("it is registered");
    }
    let used = processor_time() - used;
    drop(following);
    used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0
}

/// Under load 30,000 of 100,000 instances cannot be dialled: until all of them are ejected, the picks and the calls included.
async fn failing(world: &World) -> Row {
    let snapshot = snapshot("random", SIZES[1]);
    let failing: HashSet<_> = snapshot.instances().take(30_000).map(|member| member.id().clone()).collect();
    let until = async || {
        let balancer = Balancer::new(Random);
        balancer.update(&snapshot);
        let (began, mut ejected) = (Instant::now(), 0);
        while ejected < failing.len() {
            let lease = balancer.pick().expect("there are instances");
            let is_failing = failing.contains(lease.endpoint().id());
            ejected += usize::from(is_failing && !lease.is_probe());
            lease.finish(if is_failing { Outcome::Unreachable } else { Outcome::Success });
        }
        began.elapsed().as_nanos() as f64
    };
    let what = "30,000 of 100,000 cannot be dialled: until all of them are ejected, random";
    Row::new(what, Unit::Time, world.runs.alone(until).await.into_iter().collect())
        .bound(Bound::within(Duration::from_secs(10)))
}

/// The most that an update may cost, as a multiple of a copy of the list.
fn promise(name: &str) -> f64 {
    match name {
        "random" | "round-robin" | "least-loaded" | "peak-ewma" => 0.7,
        _ => 13.0,
    }
}

/// Snapshots of which each has one instance in another incarnation than the one before.
fn restarts(name: &str, size: u32) -> Vec<Snapshot> {
    let mut now = snapshot(name, size);
    let ids: Vec<_> = now.instances().map(|member| member.id().clone()).collect();
    (0..CALLS as usize)
        .map(|n| {
            now = now.clone().with_incarnation(&ids[n * 7_919 % ids.len()], Incarnation::from(n as u128 + 1));
            now.clone()
        })
        .collect()
}

/// Nanoseconds per adopted snapshot, and per copy of the list.
async fn beside_a_copy(world: &World, name: &str, snapshots: Vec<Snapshot>, size: u32) -> (Samples, Samples) {
    let strategy: Named = name.parse().expect("it stands in the table");
    let balancer = Balancer::new(strategy);
    balancer.update(&snapshots[0]);
    let mut turns = snapshots.iter().chain(snapshots.iter().rev()).cycle(); // one change from each to the next
    let mut update = || balancer.update(turns.next().expect("it goes round"));
    let updates = async || per_call(CALLS, &mut update);
    let copies = async || per_call(1_000_000 / size, || black_box(copy(&snapshots[0])));
    let (ours, copies) = world.runs.beside(updates, copies).await;
    (ours.into_iter().collect(), copies.into_iter().collect())
}

/// A list such as other libraries hand out.
fn copy(snapshot: &Snapshot) -> Vec<Arc<Member>> {
    snapshot.instances().cloned().collect()
}

/// Per run.
const CALLS: u32 = 200;
