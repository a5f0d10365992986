//! Reads over a link with 25 milliseconds in each direction take about as long as the same requests by a client that sends
//! without waiting whatever it can.

use std::time::Duration;

use futures_util::future::{join, join_all};
use integration_tests::fair_time::Stopwatch;
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::registries::{open, time};
use integration_tests::truth::TestRecord;
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::{Registry, Resolve};

const ONE_WAY: Duration = Duration::from_millis(25);
const SOON: Duration = Duration::from_secs(20);
/// How often each is measured; the fastest of both counts, which the machine disturbed least.
const RUNS: usize = 3;
/// How much longer a read may take: in a test's build decoding and sorting cost more than the link. A request that waits where it
/// need not costs more than that (32 lists at once: 7.5).
const OF_A_READ: f64 = 3.0;
/// How much longer the first snapshot may take: it costs as many round trips, and one more would cost a third.
const OF_A_START: f64 = 1.25;

struct FarAway {
    link: Proxy,
    near: Raw,
    far: Raw,
    registry: Registry,
}

impl FarAway {
    async fn new() -> Self {
        let zk = ZooKeeper::shared();
        let chroot = zk.chroot("far").await;
        let link = Proxy::to(zk.address(1)).await;
        let near = chroot.raw().await;
        near.mkdir("/services").await.unwrap();
        let far = Raw::connect(&chroot.through(link.address())).await;
        let registry = open(&chroot.through(link.address()));
        registry.connected().await.unwrap();
        link.delay(ONE_WAY);
        Self { link, near, far, registry }
    }

    async fn close(self) {
        self.link.delay(Duration::ZERO);
        self.registry.close(SOON).await;
        self.far.close().await;
        self.near.close().await;
    }
}

/// Measures both in turn, and compares the fastest.
async fn compare(what: &str, bound: Duration, ratio: f64, ours: impl AsyncFn(), raw: impl AsyncFn()) {
    let (mut fastest_ours, mut fastest_raw) = (Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let watch = Stopwatch::start();
        ours().await;
        fastest_ours = fastest_ours.min(watch.fair());
        let watch = Stopwatch::start();
        raw().await;
        fastest_raw = fastest_raw.min(watch.fair());
    }
    println!("{what}: {fastest_ours:?}, raw {fastest_raw:?}");
    assert!(fastest_ours <= bound, "{what} took {fastest_ours:?}");
    assert!(fastest_ours <= fastest_raw.mul_f64(ratio), "{what} took {fastest_ours:?}, raw {fastest_raw:?}");
}

#[tokio::test]
async fn a_thousand_services_are_listed_in_little_more_than_four_round_trips() {
    const SERVICES: usize = 1_000;
    let world = FarAway::new().await;
    let service = |n: usize| format!("/services/{n:04}");
    world.near.create_many((0..SERVICES).map(|n| (service(n), Vec::new()))).await.unwrap();
    let record = || TestRecord::Instance(1).bytes();
    world.near.create_many((0..SERVICES).map(|n| (format!("{}/i", service(n)), record()))).await.unwrap();
    let ours = async || assert_eq!(world.registry.services().await.unwrap().len(), SERVICES);
    let raw = async || {
        let names = world.far.list("/services").await.unwrap().unwrap();
        let services: Vec<_> = names.iter().map(|name| format!("/services/{name}")).collect();
        assert_eq!(read(&world.far, &services).await, 0, "services have no record");
        let listings = join_all(services.iter().map(|service| world.far.list(service))).await;
        let children: Vec<_> = services
            .iter()
            .zip(listings)
            .flat_map(|(service, names)| {
                names.unwrap().unwrap().into_iter().map(move |name| format!("{service}/{name}"))
            })
            .collect();
        assert_eq!(read(&world.far, &children).await, SERVICES);
    };
    compare("1,000 services", Duration::from_secs(2), OF_A_READ, ours, raw).await;
    world.close().await;
}

#[tokio::test]
async fn ten_thousand_instances_are_looked_up_in_little_more_than_two_round_trips() {
    const INSTANCES: usize = 10_000;
    let world = FarAway::new().await;
    world.near.mkdir("/services/time").await.unwrap();
    let record = || TestRecord::Instance(1).bytes();
    let nodes = (0..INSTANCES).map(|n| (format!("/services/time/{n:05}"), record()));
    world.near.create_many(nodes).await.unwrap();
    let ours = async || assert_eq!(world.registry.lookup(&time()).await.unwrap().len(), INSTANCES);
    let raw = async || {
        let (synced, names) = join(world.far.sync("/services/time"), world.far.list("/services/time")).await;
        synced.unwrap();
        let names = names.unwrap().unwrap();
        let paths: Vec<_> = names.iter().map(|name| format!("/services/time/{name}")).collect();
        assert_eq!(read(&world.far, &paths).await, INSTANCES);
    };
    compare("10,000 instances", Duration::from_secs(1), OF_A_READ, ours, raw).await;
    world.close().await;
}

#[tokio::test]
async fn the_first_snapshot_costs_as_many_round_trips_as_a_bare_connect_list_and_read() {
    const INSTANCES: usize = 3;
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("far").await;
    let near = chroot.raw().await;
    near.mkdir("/services/time").await.unwrap();
    let record = || TestRecord::Instance(1).bytes();
    near.create_many((0..INSTANCES).map(|n| (format!("/services/time/{n}"), record()))).await.unwrap();
    let link = Proxy::to(zk.address(1)).await;
    link.delay(ONE_WAY);
    let to = chroot.through(link.address());
    let ours = async || {
        let registry = open(&to);
        assert_eq!(registry.watch(&time()).live().await.unwrap().len(), INSTANCES);
    };
    let raw = async || {
        let far = Raw::connect(&to).await;
        let names = far.list("/services/time").await.unwrap().unwrap();
        let paths: Vec<_> = names.iter().map(|name| format!("/services/time/{name}")).collect();
        assert_eq!(read(&far, &paths).await, INSTANCES);
    };
    compare("the first snapshot", Duration::from_secs(1), OF_A_START, ours, raw).await;
    near.close().await;
}

/// Reads all of them, 500 a request, and returns how many were there with a record.
async fn read(raw: &Raw, paths: &[String]) -> usize {
    let nodes = join_all(paths.chunks(500).map(|paths| raw.get_many(paths))).await;
    let nodes = nodes.into_iter().flat_map(Result::unwrap).flatten();
    nodes.filter(|(data, _)| serde_json::from_slice::<serde_json::Value>(data).is_ok()).count()
}
