//! One service that is read from several sources, over ZooKeeper in memory.

use std::time::Duration;

use super::dialects::until;
use crate::format::named;
use crate::instance::{Instance, ServiceName, Status};
use crate::options::{Options, Source};
use crate::resolve::Resolve as _;
use crate::snapshot::{Freshness, Snapshot};
use crate::testing::Registry;

fn service() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

fn source(base: &str, format: &str) -> Source {
    Source::new(base.parse().unwrap(), named(format).unwrap())
}

fn only(base: &str, format: &str) -> Options {
    Options::default().with_base(base.parse().unwrap()).with_format(named(format).unwrap())
}

fn both() -> Options {
    only("/services", "curator").with_source(source("/dubbo", "dubbo"))
}

fn instance() -> Instance {
    Instance::new("10.0.0.1", 80)
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_two_sources_is_one_and_stays_while_it_moves_from_one_to_the_other() {
    let old = Registry::with(only("/services", "curator"), 1);
    let (new, client) = (old.sibling_with(only("/dubbo", "dubbo")), old.sibling_with(both()));
    let mut watch = client.watch(&service());
    assert!(watch.live().await.unwrap().is_empty());
    let mut first = old.register(&service(), instance());
    let zxid = first.registered().await.unwrap();
    let seen = watch.wait_for(zxid).await.unwrap().clone();
    let member = seen.instances().next().unwrap();
    assert_eq!((member.format(), member.weight().get()), (Some("curator"), 100));
    let mut second = new.register(&service(), instance());
    let zxid = second.registered().await.unwrap();
    assert_eq!(watch.wait_for(zxid).await.unwrap().len(), 1);
    let zxid = second.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    let seen = watch.wait_for(zxid).await.unwrap().clone();
    assert_eq!(seen.instances().next().unwrap().status(), Status::Draining, "one of them says so");
    second.update(|attributes| attributes.status = Status::Up).await.unwrap();
    assert_eq!(client.lookup(&service()).await.unwrap().len(), 1);
    assert_eq!(client.services().await.unwrap(), [service()]);
    first.withdraw(Duration::from_secs(5)).await;
    let seen = until(&mut watch, |snapshot| {
        assert_eq!(snapshot.len(), 1, "there was a gap");
        snapshot.instances().all(|member| member.format() == Some("dubbo"))
    })
    .await;
    assert_eq!((seen.suspects().len(), seen.shadows(), seen.freshness()), (0, 0, Freshness::Live));
    second.withdraw(Duration::from_secs(5)).await;
    until(&mut watch, Snapshot::is_empty).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_moves_in_one_step_is_never_missed() {
    let world = Registry::with(only("/services", "curator"), 1);
    let client = world.sibling_with(only("/new", "plain").with_source(source("/old", "plain")));
    let node = |base: &str, n: usize| format!("{base}/com.foo.Bar/10.0.0.{n}:80");
    for n in 1..=3 {
        world.put(&node("/old", n), b"");
    }
    let mut watch = client.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 3);
    for n in 1..=3 {
        world.put(&node("/new", n), b"");
        assert!(world.delete(&node("/old", n)));
        let moved = |snapshot: &Snapshot| {
            assert_eq!(snapshot.len(), 3, "there was a gap");
            client_read(snapshot, n)
        };
        until(&mut watch, moved).await;
    }
}

/// Whether the n-th instance comes from the node that was made last.
fn client_read(snapshot: &Snapshot, n: usize) -> bool {
    let youngest = snapshot.instances().map(|member| member.created()).max();
    let id = format!("10.0.0.{n}:80").parse().unwrap();
    snapshot.get(&id).map(|member| member.created()) == youngest
}

#[tokio::test(start_paused = true)]
async fn it_is_as_fresh_as_the_least_fresh_source_and_names_the_cause() {
    let client = Registry::with(both(), 1);
    let mut watch = client.watch(&service());
    watch.live().await.unwrap();
    client.disconnect();
    until(&mut watch, |snapshot| matches!(snapshot.freshness(), Freshness::Stale { .. })).await;
    client.reconnect();
    watch.live().await.unwrap();
    let nested: ServiceName = "a/b".parse().unwrap();
    let error = client.watch(&nested).live().await.unwrap_err();
    assert!(error.to_string().contains("one segment"), "{error}");
    assert!(client.lookup(&nested).await.unwrap_err().to_string().contains("one segment"));
}

#[tokio::test(start_paused = true)]
async fn the_services_of_all_sources_are_one_list() {
    let old = Registry::with(only("/services", "curator"), 1);
    let (new, client) = (old.sibling_with(only("/dubbo", "dubbo")), old.sibling_with(both()));
    let (a, b): (ServiceName, ServiceName) = ("a".parse().unwrap(), "b".parse().unwrap());
    let mut watch = client.watch_services();
    let mut first = old.register(&b, instance());
    let mut second = new.register(&a, instance());
    let mut third = new.register(&b, instance());
    for registration in [&mut first, &mut second, &mut third] {
        registration.registered().await.unwrap();
    }
    while watch.current().names() != [a.clone(), b.clone()] {
        watch.changed().await.unwrap();
    }
    watch.live().await.unwrap();
    first.withdraw(Duration::from_secs(5)).await;
    second.withdraw(Duration::from_secs(5)).await;
    while watch.current().names() != [b.clone()] {
        watch.changed().await.unwrap();
    }
    assert_eq!(client.services().await.unwrap(), [b]);
}

#[tokio::test(start_paused = true)]
async fn each_source_has_a_snapshot_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let world = Registry::with(only("/services", "curator"), 1);
    let mut registration = world.register(&service(), instance());
    registration.registered().await.unwrap();
    world.put("/services/com.foo.Bar/10.0.0.2:80", b"");
    let options = || {
        let options = only("/services", "curator").with_source(source("/services", "plain"));
        options.with_snapshot_dir(directory.path())
    };
    let client = world.sibling_with(options());
    let mut watch = client.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 2);
    let live = watch.current().clone();
    drop(watch);
    (*client).clone().close(Duration::from_secs(5)).await;
    let client = world.sibling_with(options());
    client.disconnect();
    let mut watch = client.watch(&service());
    let seen = watch.ready().await.unwrap().clone();
    assert!(matches!(seen.freshness(), Freshness::Disk { .. }));
    assert!(seen.instances().eq(live.instances()), "{seen:?}");
}

#[test]
fn one_source_twice_is_refused() {
    let error = only("/a", "curator").with_source(source("/a", "curator")).validate().unwrap_err();
    assert!(error.to_string().contains("named twice"), "{error}");
    assert!(only("/a", "curator").with_source(source("/b", "curator")).validate().is_ok());
}
