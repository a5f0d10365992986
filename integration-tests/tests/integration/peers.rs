//! Beside real peers: what Curator and kazoo write we read, and what we write they read.

use std::sync::Arc;
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::peers;
use integration_tests::registries::{open, options, time};
use integration_tests::time_clients::{ends_with, summary, time_client};
use integration_tests::time_servers::{one_listener, registered};
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::format::{CuratorStrict, Format, Plain};
use zk_registry::{BasePath, Instance, Registry, Resolve, Status, Withdrawn};

const SOON: Duration = Duration::from_secs(60);

fn open_with(to: &str, format: Arc<dyn Format>) -> Registry {
    Registry::open(to.parse().unwrap(), options().with_format(format))
}

#[tokio::test]
async fn what_curator_registers_we_find() {
    let Some(curator) = peers::curator() else { return };
    let chroot = ZooKeeper::shared().chroot("from-curator").await;
    let to = chroot.connect_string();
    let registry = open(&to);
    let mut watch = registry.watch(&time());
    let peer = curator.args(["register", &to, "/services", "time", "theirs", "10.1.2.3", "8897"]).start();
    peer.says("registered", SOON).await;
    eventually(SOON, "we see it", async || watch.current().len() == 1).await;
    let found = watch.current().instances().next().unwrap().clone();
    assert_eq!((found.id().as_str(), found.host(), found.port()), ("theirs", "10.1.2.3", 8897));
    assert_eq!(found.status(), Status::Up);
    assert_eq!(registry.services().await.unwrap(), [time()]);
    drop(peer);
    eventually(SOON, "its end is seen", async || watch.current().is_empty()).await;
}

#[tokio::test]
async fn what_curator_registers_our_client_calls() {
    let Some(curator) = peers::curator() else { return };
    // It serves the time, and only Curator says where.
    let elsewhere = ZooKeeper::shared().chroot("served").await;
    let server = one_listener(&elsewhere).start();
    let address = registered(&server, 1).await;
    let chroot = ZooKeeper::shared().chroot("called").await;
    let to = chroot.connect_string();
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let peer = curator.args(["register", &to, "/services", "time", "theirs", &host, &port]).start();
    peer.says("registered", SOON).await;
    let client = time_client(&to).args(["--count", "5", "--interval", "0", "--output", "json"]).start();
    ends_with(&client, 0).await;
    let summary = summary(&client).await;
    assert_eq!((&summary["ok"], &summary["by_instance"]["theirs"]), (&5.into(), &5.into()), "{summary}");
}

#[tokio::test]
async fn what_we_register_curator_finds_and_sees_draining_as_disabled() {
    let Some(curator) = peers::curator() else { return };
    let chroot = ZooKeeper::shared().chroot("to-curator").await;
    let to = chroot.connect_string();
    let registry = open(&to);
    let instance = |port: u16| Instance::new("10.0.0.1", port).with_metadata("k", "v");
    let mut one = registry.register(&time(), instance(1).with_zone("a"));
    let mut two = registry.register(&time(), instance(2));
    one.registered().await.unwrap();
    two.registered().await.unwrap();
    // The key of our own is there, and must not trouble it.
    let raw = chroot.raw().await;
    let (record, _) = raw.get(one.path()).await.unwrap().unwrap();
    assert!(String::from_utf8(record).unwrap().contains("\"zone\":\"a\""));

    let peer = curator.args(["watch", &to, "/services", "time"]).start();
    let both = "[10.0.0.1:1=10.0.0.1:1 enabled, 10.0.0.1:2=10.0.0.1:2 enabled]";
    peer.says(&format!("cache {both}"), SOON).await;
    peer.says(&format!("query {both}"), SOON).await;
    peer.says("provider [10.0.0.1:1, 10.0.0.1:2]", SOON).await;
    peer.says("picks true", SOON).await;

    one.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    peer.says("cache [10.0.0.1:1=10.0.0.1:1 disabled, 10.0.0.1:2=10.0.0.1:2 enabled]", SOON).await;
    peer.says("provider [10.0.0.1:2]", SOON).await;
    two.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    peer.says("picks false", SOON).await;
    assert_eq!(registry.close(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    peer.says("cache []", SOON).await;
}

#[tokio::test]
async fn what_we_register_strictly_curator_finds() {
    let Some(curator) = peers::curator() else { return };
    let chroot = ZooKeeper::shared().chroot("strict").await;
    let to = chroot.connect_string();
    let registry = open_with(&to, Arc::new(CuratorStrict));
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 1).with_ssl_port(2));
    registration.registered().await.unwrap();
    let peer = curator.args(["watch", &to, "/services", "time"]).start();
    peer.says("cache [10.0.0.1:1=10.0.0.1:1 enabled]", SOON).await;
    peer.says("provider [10.0.0.1:1]", SOON).await;
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    peer.says("cache []", SOON).await;
}

#[tokio::test]
async fn kazoo_and_we_find_each_other_in_the_layout_of_2016() {
    let Some(kazoo) = peers::kazoo() else { return };
    let chroot = ZooKeeper::shared().chroot("kazoo").await;
    let to = chroot.connect_string();
    let base: BasePath = "/".parse().unwrap();
    let registry =
        Registry::open(to.parse().unwrap(), options().with_format(Arc::new(Plain)).with_base(base));
    let service = "go_servers".parse().unwrap();
    let mut ours = registry.register(&service, Instance::new("10.0.0.1", 1));
    ours.registered().await.unwrap();
    let reader = kazoo.clone().args(["watch", &to, "/go_servers"]).start();
    reader.says("children 10.0.0.1:1", SOON).await;
    let writer = kazoo.args(["register", &to, "/go_servers/10.0.0.2:2"]).start();
    writer.says("registered", SOON).await;
    reader.says("children 10.0.0.1:1,10.0.0.2:2", SOON).await;
    let mut watch = registry.watch(&service);
    eventually(SOON, "both", async || watch.current().len() == 2).await;
    let theirs = watch.current().instances().nth(1).unwrap().clone();
    assert_eq!((theirs.host(), theirs.port()), ("10.0.0.2", 2));
    assert_eq!(registry.close(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    reader.stdout().nth("kazoo", 1, "children 10.0.0.2:2", SOON).await;
}
