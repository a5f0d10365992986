//! The server for tests beside Apache ZooKeeper: what a test suite that has one per test waits for.

use std::time::Instant;

use futures_util::{FutureExt, StreamExt, stream};
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use integration_tests::raw::{CreateMode, Raw};
use zk_registry::testing::Server;

pub(crate) const SUBJECT: Subject = Subject {
    name: "for-tests",
    title: "the server for tests, in memory, beside Apache ZooKeeper",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let starts = world.runs.alone(async || start().await).await.into_iter().collect();
    let real = world.zookeeper().await.chroot("bench").await.raw().await;
    let server = Server::start().await.expect("a port is free");
    let embedded = Raw::connect(&server.address().to_string()).await;
    for raw in [&real, &embedded] {
        raw.create(NODE, b"", CreateMode::Persistent).await.expect("the subtree is empty");
    }
    let (ours, reference) =
        world.runs.beside(async || writes(&embedded).await, async || writes(&real).await).await;
    let ours: Samples = ours.into_iter().collect();
    real.close().await;
    embedded.close().await;
    vec![
        Row::new("start to the first reply", Unit::Time, starts).bound(Bound::AtMost(20_000_000.0)),
        Row::new("writes a second, 64 in flight", Unit::Rate, ours)
            .beside("Apache ZooKeeper", reference.into_iter().collect())
            .bound(Bound::RatioAtLeast(5.0)),
    ]
}

/// The nanoseconds from nothing to the answer of a request.
async fn start() -> f64 {
    let began = Instant::now();
    let server = Server::start().await.expect("a port is free");
    let raw = Raw::connect(&server.address().to_string()).await;
    raw.list("/").await.expect("the root can be read");
    let lasted = began.elapsed();
    raw.close().await;
    lasted.as_nanos() as f64
}

/// Writes a second.
async fn writes(raw: &Raw) -> f64 {
    let began = Instant::now();
    let writes = stream::iter(0..WRITES).map(|_| raw.set(NODE, &[b'x'; 200]));
    let done = writes.buffer_unordered(64).filter(|set| std::future::ready(set.is_ok())).count().await;
    assert_eq!(done, WRITES, "a write failed");
    WRITES as f64 / began.elapsed().as_secs_f64()
}

const NODE: &str = "/node";
const WRITES: usize = 20_000;
