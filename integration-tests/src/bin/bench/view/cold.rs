//! From nothing to every instance with its data.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use integration_tests::bench::{Bound, Row, Unit, World};
use integration_tests::raw::Raw;
use zk_registry::Resolve;

use crate::fleet::{LargeFleet, SOON, open, time};
use crate::grouped::grouped;

pub(super) async fn rows(world: &World, fleet: &LargeFleet, size: usize, bound: u64) -> Vec<Row> {
    let (ours, reference) =
        world.runs.beside(async || ours(fleet, size).await, async || reference(fleet, size).await).await;
    let (watched, opened): (Vec<_>, Vec<_>) = ours.into_iter().unzip();
    let row = |what: String, values: Vec<f64>| Row::new(what, Unit::Time, values.into_iter().collect());
    let size = grouped(size);
    vec![
        row(format!("cold start, {size} instances, from `watch`"), watched)
            .beside("raw list and multi-reads, not decoded", reference.into_iter().collect())
            .bound(Bound::within(Duration::from_millis(bound))),
        row(format!("cold start, {size} instances, from `Registry::open`"), opened),
    ]
}

/// From `watch`, and from `open`, to a live snapshot.
pub(crate) async fn ours(fleet: &LargeFleet, size: usize) -> (f64, f64) {
    let open_at = Instant::now();
    let registry = open(&fleet.to).await;
    let watch_at = Instant::now();
    let mut watch = registry.watch(&time());
    let found = watch.live().await.expect("the registry is open").len();
    let now = Instant::now();
    assert_eq!(found, size, "live means complete");
    registry.close(SOON).await;
    ((now - watch_at).as_nanos() as f64, (now - open_at).as_nanos() as f64)
}

/// The same bytes by the client crate alone, which neither watches nor decodes nor sorts.
pub(crate) async fn reference(fleet: &LargeFleet, size: usize) -> f64 {
    raw_reads(&fleet.raw, "/services/time", size).await
}

/// The list of a directory and the reads of all in it.
pub(crate) async fn raw_reads(raw: &Raw, directory: &str, size: usize) -> f64 {
    let start = Instant::now();
    let names = raw.list(directory).await.expect("the server is up").expect("it is there");
    let paths: Vec<_> = names.iter().map(|name| format!("{directory}/{name}")).collect();
    let read: usize = stream::iter(paths.chunks(500).map(|chunk| raw.get_many(chunk)))
        .buffered(8)
        .map(|nodes| nodes.expect("the server is up").len())
        .fold(0, async |sum, nodes| sum + nodes)
        .await;
    let took = start.elapsed();
    assert_eq!(read, size);
    took.as_nanos() as f64
}
