//! One process that watches thousands of services: a short cut costs it nothing.

use std::time::{Duration, Instant};

use integration_tests::eventually::eventually;
use integration_tests::proxy::Proxy;
use integration_tests::zookeeper::ZooKeeper;
use tokio::time::sleep;
use zk_registry::{ConnectionState, Freshness, Instance, Resolve, ServiceName};

use integration_tests::registries::{T, open};

const SOON: Duration = Duration::from_secs(30);
const SERVICES: usize = 2_000;

#[tokio::test]
async fn a_process_that_watches_2000_services_survives_a_cut_without_a_write() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("many-services").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let registry = open(&chroot.through(link.address()));
    let own: ServiceName = "own".parse().unwrap();
    let mut registration = registry.register(&own, Instance::new("10.0.0.1", 80));
    let written = registration.registered().await.unwrap();
    // More than 128 KiB of paths.
    let name = |n: usize| format!("{}-{n:04}", "s".repeat(60)).parse::<ServiceName>().unwrap();
    let mut watches: Vec<_> = (0..SERVICES).map(|n| registry.watch(&name(n))).collect();
    assert!(registry.sessions() > 1, "{} sessions", registry.sessions());
    for watch in &mut watches {
        tokio::time::timeout(SOON, watch.live()).await.expect("live in time").unwrap();
    }

    link.refuse().await;
    link.cut_rst().await;
    eventually(SOON, "the cut is seen", async || {
        let state = registry.connection().borrow().clone();
        if matches!(state, ConnectionState::Connected { .. }) { Err(format!("{state:?}")) } else { Ok(()) }
    })
    .await;
    sleep(Duration::from_millis(300)).await;
    link.accept().await;
    let healed = Instant::now();
    eventually(SOON, "all are live again", async || {
        let now = tokio::time::Instant::now();
        let stale = watches.iter_mut().filter_map(|watch| match watch.freshness(now) {
            Freshness::Live => None,
            _ => Some(()),
        });
        match stale.count() {
            0 => Ok(()),
            stale => Err(format!("{stale} are not live")),
        }
    })
    .await;
    println!("all live {:?} after the cut, over {} sessions", healed.elapsed(), registry.sessions());
    assert!(healed.elapsed() < T * 2, "{:?}", healed.elapsed());
    assert_eq!(registration.registered().await.unwrap(), written, "the cut writes nothing");
    let snapshot = registry.lookup(&own).await.unwrap();
    assert_eq!(snapshot.instances().map(|member| member.modified()).collect::<Vec<_>>(), [written]);
    registry.close(SOON).await;
}
