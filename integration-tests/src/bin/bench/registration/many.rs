//! Many instances of one process at once, such as a server with many listeners or a sidecar of a whole host.

use std::time::{Duration, Instant};

use integration_tests::bench::{Bound, Row, Unit, World};
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::zookeeper::Chroot;
use zk_registry::Instance;

use crate::fleet::{SOON, open, time};

pub(super) async fn rows(world: &World) -> Vec<Row> {
    let chroot = world.zookeeper().await.chroot("m").await;
    let setup = chroot.raw().await;
    setup.mkdir("/services/time").await.expect("the chroot is ours");
    setup.close().await;

    let what = "1,000 instances, from the first `register` to the last `registered`";
    let bound = Bound::within(Duration::from_millis(50));
    let mut rows = Vec::new();
    let (ours, multi) =
        world.runs.beside(async || ours(&chroot, 1_000).await, async || multi(&chroot, 1_000).await).await;
    rows.push(row(what, ours).beside("raw, transactions of 500", multi.into_iter().collect()).bound(bound));
    let (ours, single) = world
        .runs
        .beside(async || self::ours(&chroot, 1_000).await, async || single(&chroot, 1_000).await)
        .await;
    rows.push(row(what, ours).beside("raw, one after the other", single.into_iter().collect()).bound(bound));
    let (ours, multi) = world
        .runs
        .beside(async || self::ours(&chroot, 10_000).await, async || self::multi(&chroot, 10_000).await)
        .await;
    rows.push(
        row("10,000 instances, likewise", ours)
            .beside("raw, transactions of 500", multi.into_iter().collect())
            .bound(Bound::within(Duration::from_millis(600))),
    );
    rows
}

fn row(what: &str, ours: Vec<f64>) -> Row {
    Row::new(what, Unit::Time, ours.into_iter().collect())
}

pub(crate) async fn ours(chroot: &Chroot, count: usize) -> f64 {
    let registry = open(&chroot.connect_string()).await;
    let instances: Vec<_> = (0..count).map(|n| Instance::new("10.0.0.1", port(n))).collect();
    let start = Instant::now();
    let mut registrations: Vec<_> =
        instances.into_iter().map(|instance| registry.register(&time(), instance)).collect();
    for registration in &mut registrations {
        registration.registered().await.expect("nobody is in the way");
    }
    let took = start.elapsed();
    registry.close(SOON).await;
    took.as_nanos() as f64
}

/// The time that the server needs for as many nodes with as much data, written with all transactions on their way at once.
async fn multi(chroot: &Chroot, count: usize) -> f64 {
    let raw = chroot.raw().await;
    let nodes: Vec<_> = (0..count).map(|n| (path(n), vec![b'x'; RECORD])).collect();
    let start = Instant::now();
    let transactions = nodes.chunks(500).map(|chunk| raw.create_ephemerals(chunk.to_vec()));
    for done in futures_util::future::join_all(transactions).await {
        done.expect("the chroot is ours");
    }
    ended(raw, start).await
}

async fn single(chroot: &Chroot, count: usize) -> f64 {
    let raw = chroot.raw().await;
    let start = Instant::now();
    for n in 0..count {
        let created = raw.create(&path(n), &[b'x'; RECORD], CreateMode::Ephemeral).await;
        created.expect("the chroot is ours");
    }
    ended(raw, start).await
}

async fn ended(raw: Raw, start: Instant) -> f64 {
    let took = start.elapsed();
    raw.close().await;
    took.as_nanos() as f64
}

fn path(n: usize) -> String {
    format!("/services/time/10.0.0.1:{}", port(n))
}

fn port(n: usize) -> u16 {
    u16::try_from(10_000 + n).expect("there are not so many")
}

/// About what the record of such an instance needs.
const RECORD: usize = 350;
