//! What a publication costs the balancer that adopts it, for every strategy: one change of a large set, beside a copy of the list.

use std::collections::HashSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::bench::runs::per_call;
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use zk_registry::balance::strategy::{Named, Random};
use zk_registry::balance::{Balancer, Outcome};
use zk_registry::{Incarnation, Member, Snapshot, testing};

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
    rows
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
