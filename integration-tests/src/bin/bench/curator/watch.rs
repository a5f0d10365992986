//! To see a service, and to keep seeing it: a `ServiceCache` beside our watch.

use integration_tests::bench::{Bound, Row, Samples, Unit, World};
use integration_tests::proxy::Proxy;
use zk_registry::{Registry, Resolve, ServiceWatch};

use super::driver::Curator;
use super::rows::{SESSION, few, row, samples};
use crate::fleet::{LargeFleet, SOON, open, time};
use crate::grouped::grouped;
use crate::view::change::{Pace, bytes_words, received, until_visible};
use crate::view::cold;

/// From the start of a watch, in a session that is there, to every instance with its data.
pub(super) async fn cold(world: &World, fleet: &LargeFleet, size: usize, curator: &mut Curator) -> Row {
    let ours = async || cold::ours(fleet, size).await.0;
    let theirs = async || {
        let took = watching(curator, &fleet.to, size).await;
        curator.close().await;
        took
    };
    let found = samples(world.runs.beside(ours, theirs).await);
    row(format!("cold start, {} instances", grouped(size)), Unit::Time, found, curator)
}

pub(super) async fn bytes(
    world: &World,
    fleet: &LargeFleet,
    size: usize,
    pace: Pace,
    curator: &mut Curator,
) -> Row {
    let server = world.zookeeper().await.address(1);
    let (proxy, their_proxy) = (Proxy::to(server).await, Proxy::to(server).await);
    let ours = async || {
        let (registry, mut watch) = live(&fleet.through(&proxy)).await;
        let bytes = received(fleet, size, &mut watch, &proxy, pace).await;
        registry.close(SOON).await;
        bytes
    };
    let theirs = async || {
        watching(curator, &fleet.through(&their_proxy), size).await;
        let bytes = received(fleet, size, curator, &their_proxy, pace).await;
        curator.close().await;
        bytes
    };
    let found = samples(few(world).beside(ours, theirs).await);
    let most = match pace {
        Pace::Alone => 1.3,
        Pace::Often => 1.05,
    };
    row(bytes_words(fleet, size, pace), Unit::Bytes, found, curator).bound(Bound::RatioAtMost(most))
}

pub(super) async fn latency(
    world: &World,
    fleet: &LargeFleet,
    size: usize,
    curator: &mut Curator,
) -> [Row; 2] {
    // Only one of them watches at a time: the other would take its share of the processor.
    let ours = async || {
        let (registry, mut watch) = live(&fleet.to).await;
        let taken = until_visible(fleet, size, &mut watch).await;
        registry.close(SOON).await;
        taken
    };
    let theirs = async || {
        watching(curator, &fleet.to, size).await;
        let taken = until_visible(fleet, size, curator).await;
        curator.close().await;
        taken
    };
    let (ours, theirs) = world.runs.beside(ours, theirs).await;
    let row = |words: &str, part| {
        let at = |runs: &[Samples]| runs.iter().map(|run| run.percentile(part)).collect();
        let what = format!("create acknowledged until visible, of {} instances, {words}", grouped(size));
        row(what, Unit::Time, (at(&ours), at(&theirs)), curator)
    };
    [row("median", 0.5), row("99th percentile", 0.99)]
}

async fn live(to: &str) -> (Registry, ServiceWatch) {
    let registry = open(to).await;
    let mut watch = registry.watch(&time());
    watch.live().await.expect("the registry is open");
    (registry, watch)
}

/// It watches all of them; how long that took, in nanoseconds.
async fn watching(curator: &mut Curator, to: &str, size: usize) -> f64 {
    curator.open(to, SESSION).await;
    let (took, found) = curator.watch().await;
    assert_eq!(found, size, "started means populated");
    took
}
