//! The facts that a registry finds out about a server with its first requests.

use std::time::Duration;

use integration_tests::eventually::always;
use integration_tests::fair_time::within;
use integration_tests::proxy::{Proxy, Request};
use integration_tests::registries::{options, time};
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::{Chroot, ConnectionState, ErrorKind, Instance, Registry};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_server_that_lacks_an_operation_is_too_old_and_not_tried_over_and_over() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("too-old").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    link.lacks(Request::Ephemerals);
    let registry = Registry::open(chroot.through(link.address()).parse().unwrap(), options());
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));

    let error = within(SOON, "an answer", registry.connected()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerTooOld, "{error}");
    assert!(error.to_string().contains("3.6"), "{error}");
    let error = within(SOON, "an answer", registration.registered()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ServerTooOld, "{error}");
    let tried = link.accepted();
    always(SOON / 10, "no further try", async || link.accepted() == tried).await;
}

#[tokio::test]
async fn a_chroot_that_does_not_exist_is_created_on_request_only() {
    let chroot = ZooKeeper::shared().chroot("on-request").await;
    let below = format!("{}/not/yet", chroot.connect_string());
    let open = |chroot| Registry::open(below.parse().unwrap(), options().with_chroot(chroot));

    let expecting = open(Chroot::Expect);
    let _waiting = expecting.register(&time(), Instance::new("10.0.0.1", 80));
    let raw = chroot.raw().await;
    always(SOON / 10, "nothing is created", async || raw.list("/not").await.unwrap().is_none()).await;

    let creating = open(Chroot::Create);
    let mut created = creating.register(&time(), Instance::new("10.0.0.2", 80));
    within(SOON, "registered in time", created.registered()).await.unwrap();
    assert!(raw.get("/not/yet/services/time/10.0.0.2:80").await.unwrap().is_some());
}

#[tokio::test]
async fn the_session_timeout_that_the_server_granted_is_shown() {
    let chroot = ZooKeeper::shared().chroot("granted").await;
    let asked = Duration::from_secs(3_600);
    let options = options().with_session_timeout(asked);
    let registry = Registry::open(chroot.connect_string().parse().unwrap(), options);
    within(SOON, "connected in time", registry.connected()).await.unwrap();
    let ConnectionState::Connected { session_timeout, .. } = *registry.connection().borrow() else {
        panic!()
    };
    // The largest that a server grants is 20 of its ticks.
    assert!(session_timeout < asked, "{session_timeout:?}");
}
