//! The work without any packet: publishing a snapshot, and looking at it.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration_tests::bench::runs::per_call;
use integration_tests::bench::{Bound, Row, Unit, World};
use zk_registry::{Member, Resolve, ServiceWatch, Snapshot, testing};

use crate::fleet::{LargeFleet, SOON, open, time};
use crate::grouped::grouped;

/// One change is decoded, put into the view, and published to a watch that holds the snapshot before it.
pub(super) async fn publications(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for (size, bound) in [(10_000, Duration::from_micros(100)), (100_000, Duration::from_millis(2))] {
        let mut next = testing::internal::publications(size);
        let first = next();
        let (sender, mut watch) = ServiceWatch::channel(first.clone());
        let ours = async || {
            let start = Instant::now();
            for _ in 0..PUBLICATIONS {
                sender.send(next());
                black_box(watch.current());
            }
            start.elapsed().as_nanos() as f64 / f64::from(PUBLICATIONS)
        };
        let (ours, copies) = world.runs.beside(ours, async || per_call(100, || copy(&first))).await;
        let what = format!("one publication, of {} instances", grouped(size));
        rows.push(
            Row::new(what, Unit::Time, ours.into_iter().collect())
                .beside("copy of the list", copies.into_iter().collect())
                .bound(Bound::within(bound)),
        );
    }
    rows
}

/// `current` with nothing new.
pub(super) async fn current(world: &World, fleet: &LargeFleet, size: usize) -> Vec<Row> {
    let registry = open(&fleet.to).await;
    let mut watch = registry.watch(&time());
    let snapshot = watch.live().await.expect("the registry is open").clone();
    assert_eq!(snapshot.len(), size);
    let (ours, copies) = world
        .runs
        .beside(
            async || per_call(1_000_000, || black_box(&mut watch).current().len()),
            async || per_call(100, || copy(&snapshot)),
        )
        .await;
    let counted = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            black_box(black_box(&mut watch).current());
        }
    });
    registry.close(SOON).await;
    vec![
        Row::new("`current` with nothing new, of 10,000 instances", Unit::Time, ours.into_iter().collect())
            .beside("copy of the list", copies.into_iter().collect())
            .bound(Bound::within(Duration::from_nanos(20))),
        Row::new(
            "allocations by 1,000 calls of `current` with nothing new",
            Unit::Count,
            std::iter::once(counted.count_total as f64).collect(),
        )
        .bound(Bound::AtMost(0.0)),
    ]
}

/// A list such as other libraries hand out.
fn copy(snapshot: &Snapshot) -> Vec<Arc<Member>> {
    snapshot.instances().cloned().collect()
}

/// Publications per run.
const PUBLICATIONS: u32 = 1_000;
