//! The first sight of a service over a long link: what counts are round trips.

use std::time::{Duration, Instant};

use integration_tests::bench::{Bound, Row, Unit, World};
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::zookeeper::Chroot;
use zk_registry::{Options, Registry, Resolve};

use crate::fleet::{LargeFleet, SOON, time};

/// From `Registry::open` to a live snapshot of a few instances, beside a bare connect and list.
pub(super) async fn first_sight(world: &World) -> Row {
    let zookeeper = world.zookeeper().await;
    let chroot = zookeeper.chroot("far").await;
    let fleet = LargeFleet::of(FEW, &chroot).await;
    let proxy = Proxy::to(zookeeper.address(1)).await;
    proxy.delay(ROUND_TRIP / 2);
    let (ours, bare) =
        world.runs.beside(async || ours(&chroot, &proxy).await, async || bare(&chroot, &proxy).await).await;
    fleet.disband(FEW).await;
    Row::new(
        format!(
            "from `Registry::open` to a snapshot of {FEW} instances, a round trip of {ROUND_TRIP:?} away"
        ),
        Unit::Time,
        ours.into_iter().collect(),
    )
    .beside("bare connect and list", bare.into_iter().collect())
    // One round trip more than the three and a half of the other, which has a ping, and the session that is written.
    .bound(Bound::RatioAtMost(1.3))
}

async fn ours(chroot: &Chroot, proxy: &Proxy) -> f64 {
    let start = Instant::now();
    let to = chroot.through(proxy.address()).parse().expect("it is a connect string");
    let registry = Registry::open(to, Options::default());
    let found = registry.watch(&time()).live().await.expect("the registry is open").len();
    let took = start.elapsed();
    assert_eq!(found, FEW, "live means complete");
    registry.close(SOON).await;
    took.as_nanos() as f64
}

async fn bare(chroot: &Chroot, proxy: &Proxy) -> f64 {
    let start = Instant::now();
    let raw = Raw::connect(&chroot.through(proxy.address())).await;
    let names = raw.list("/services/time").await.expect("the server is up").expect("it is there");
    let took = start.elapsed();
    assert_eq!(names.len(), FEW);
    raw.close().await;
    took.as_nanos() as f64
}

const FEW: usize = 3;
const ROUND_TRIP: Duration = Duration::from_millis(25);
