//! One process that watches thousands of services: a short cut costs it nothing.

use std::time::Duration;

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::proxy::Proxy;
use integration_tests::servers::Launch;
use integration_tests::zookeeper::ZooKeeper;
use tokio::time::sleep;
use zk_registry::{ConnectionState, Freshness, Instance, Resolve, ServiceName, ServiceWatch};

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
    let mut watches: Vec<_> = (0..SERVICES).map(|n| registry.watch(&service(n))).collect();
    assert!(registry.sessions() > 1, "{} sessions", registry.sessions());
    for watch in &mut watches {
        within(SOON, "a live watch", watch.live()).await.unwrap();
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
    let healed = Stopwatch::start();
    eventually(SOON, "all are live again", async || all_live(&mut watches)).await;
    println!("all live {:?} after the cut, over {} sessions", healed.elapsed(), registry.sessions());
    assert!(healed.fair() < T * 2, "{healed:?}");
    assert_eq!(registration.registered().await.unwrap(), written, "the cut writes nothing");
    let snapshot = registry.lookup(&own).await.unwrap();
    assert_eq!(snapshot.instances().map(|member| member.modified()).collect::<Vec<_>>(), [written]);
    registry.close(SOON).await;
}

#[tokio::test]
async fn a_session_that_the_server_refuses_is_named_and_its_views_come_when_there_is_room() {
    let zk = Launch::single().config("maxClientCnxns", "60").start().await;
    let chroot = zk.chroot("refused").await;
    let raw = chroot.raw().await;
    let ids: Vec<_> = (0..SERVICES).map(|n| format!("/services/{}/there", service(n))).collect();
    raw.mkdir("/services").await.unwrap();
    raw.create_many((0..SERVICES).map(|n| (format!("/services/{}", service(n)), Vec::new()))).await.unwrap();
    raw.create_many(ids.into_iter().map(|id| (id, br#"{"address":"10.0.0.1","port":80}"#.to_vec())))
        .await
        .unwrap();
    raw.close().await;
    // With `registry`'s first session that makes as many as the server takes.
    let mut others = Vec::new();
    for _ in 0..59 {
        others.push(zk.raw().await);
    }
    let registry = open(&chroot.connect_string());
    let mut watches: Vec<_> = (0..SERVICES).map(|n| registry.watch(&service(n))).collect();
    assert!(registry.sessions() > 1, "{} sessions", registry.sessions());

    // A look at a busy server may end before the server closed the connection, and then says less; the next one says it.
    eventually(SOON, "the refused session is named", async || match registry.connection().borrow().clone() {
        ConnectionState::Connecting { last: Some(error) } => {
            let cause = error.to_string();
            if cause.contains("session 2 ") && cause.contains("maxClientCnxns") { Ok(()) } else { Err(cause) }
        }
        state => Err(format!("{state:?}")),
    })
    .await;
    // As `Registry::sessions` says: 96 KiB, and each path counts 4 bytes more than it has.
    let path = chroot.path().len() + "/services/".len() + service(0).as_str().len();
    let on_first = 96 * 1024 / (path + 4);
    let split = (on_first, SERVICES - on_first);
    let refused = async || {
        let now = counts(&mut watches);
        if now == split { Ok(()) } else { Err(format!("{now:?} are live and pending")) }
    };
    eventually(SOON, "the first session's views are live, the others pending", refused).await;
    always(T, "they stay so", async || counts(&mut watches) == split).await;

    drop(others);
    eventually(SOON, "all are live", async || all_live(&mut watches)).await;
    let empty = watches.iter_mut().filter_map(|watch| watch.current().is_empty().then_some(()));
    assert_eq!(empty.count(), 0, "services that are live and lack their instance");
    assert!(matches!(*registry.connection().borrow(), ConnectionState::Connected { .. }));
    registry.close(SOON).await;
}

/// More than 128 KiB of paths, of all together.
fn service(n: usize) -> ServiceName {
    format!("{}-{n:04}", "s".repeat(60)).parse().unwrap()
}

fn all_live(watches: &mut [ServiceWatch]) -> Result<(), String> {
    let (live, pending) = counts(watches);
    if live == watches.len() { Ok(()) } else { Err(format!("{live} are live, {pending} pending")) }
}

/// How many watches are live, and how many pending.
fn counts(watches: &mut [ServiceWatch]) -> (usize, usize) {
    let now = tokio::time::Instant::now();
    let freshness: Vec<_> = watches.iter_mut().map(|watch| watch.freshness(now)).collect();
    let count = |wanted| freshness.iter().filter(|one| **one == wanted).count();
    (count(Freshness::Live), count(Freshness::Pending))
}
