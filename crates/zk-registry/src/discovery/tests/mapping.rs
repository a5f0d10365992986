//! Interfaces of Dubbo that stand under the applications which a mapping lists, over ZooKeeper in memory.

use std::time::Duration;

use tokio::time::Instant;

use super::dialects::until;
use crate::error::ErrorKind;
use crate::format::named;
use crate::instance::ServiceName;
use crate::options::Options;
use crate::resolve::{Resolve as _, ServiceWatch};
use crate::snapshot::{Freshness, Snapshot};
use crate::testing::Registry;

const MAPPING: &str = "/dubbo/mapping/com.foo.Bar";

fn interface() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

fn world() -> Registry {
    let format = named("dubbo-app:mapping=/dubbo/mapping").unwrap();
    let world = Registry::with(Options::default().with_format(format), 1);
    world.put("/dubbo/mapping", b"");
    world
}

fn put(world: &Registry, application: &str, address: &str) {
    let (host, port) = address.split_once(':').unwrap();
    let record = format!(
        r#"{{"name":"{application}","id":"{address}","address":"{host}","port":{port},"payload":{{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"{address}","name":"{application}","metadata":{{"dubbo.metadata.revision":"9b60"}}}}}}"#
    );
    world.put(&format!("/services/{application}/{address}"), record.as_bytes());
}

fn ids(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.instances().map(|member| member.id().as_str()).collect()
}

async fn shows(watch: &mut ServiceWatch, expected: &[&str]) -> Snapshot {
    until(watch, |snapshot| snapshot.freshness() == Freshness::Live && ids(snapshot) == expected).await
}

#[tokio::test(start_paused = true)]
async fn an_interface_stands_under_the_applications_that_are_mapped_now() {
    let world = world();
    world.put(MAPPING, b"shop");
    put(&world, "shop", "10.0.0.1:80");
    put(&world, "bar", "10.0.0.2:80");
    let mut watch = world.watch(&interface());
    let first = shows(&mut watch, &["10.0.0.1:80"]).await;
    assert_eq!(first.service(), &interface());

    world.put(MAPPING, b"shop,bar");
    let both = shows(&mut watch, &["10.0.0.1:80", "10.0.0.2:80"]).await;
    assert_eq!(ids(&world.lookup(&interface()).await.unwrap()), ids(&both));
    put(&world, "bar", "10.0.0.3:80");
    shows(&mut watch, &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]).await;

    world.put(MAPPING, b"bar");
    let last = shows(&mut watch, &["10.0.0.2:80", "10.0.0.3:80"]).await;
    assert!(last.revision() > both.revision() && last.watermark() >= both.watermark());
    let zxid = last.instances().map(|member| member.modified()).max().unwrap();
    assert_eq!(watch.wait_for(zxid).await.unwrap().len(), 2);

    assert!(world.delete(MAPPING));
    shows(&mut watch, &[]).await;
    world.put(MAPPING, b"shop");
    shows(&mut watch, &["10.0.0.1:80"]).await;
    // An application is a service as well: it stands under its own name.
    let mut application = world.watch(&"bar".parse().unwrap());
    shows(&mut application, &["10.0.0.2:80", "10.0.0.3:80"]).await;
}

#[tokio::test(start_paused = true)]
async fn no_instance_is_missing_while_an_application_is_added() {
    let world = world();
    world.put(MAPPING, b"shop");
    put(&world, "shop", "10.0.0.1:80");
    put(&world, "bar", "10.0.0.2:80");
    let mut watch = world.watch(&interface());
    shows(&mut watch, &["10.0.0.1:80"]).await;
    world.delay(Duration::from_millis(200));
    world.put(MAPPING, b"shop,bar");
    while watch.current().len() < 2 {
        assert_eq!(ids(watch.current())[0], "10.0.0.1:80");
        assert_eq!(watch.current().freshness(), Freshness::Live);
        watch.changed().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_mapping_that_changed_during_an_outage_or_between_two_sessions_is_followed() {
    let world = world();
    world.put(MAPPING, b"shop");
    put(&world, "shop", "10.0.0.1:80");
    put(&world, "bar", "10.0.0.2:80");
    let mut watch = world.watch(&interface());
    shows(&mut watch, &["10.0.0.1:80"]).await;
    world.disconnect();
    until(&mut watch, |snapshot| snapshot.freshness() != Freshness::Live).await;
    world.put(MAPPING, b"bar");
    world.reconnect();
    shows(&mut watch, &["10.0.0.2:80"]).await;
    world.expire_session();
    world.put(MAPPING, b"shop");
    shows(&mut watch, &["10.0.0.1:80"]).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_watch_and_with_the_registry() {
    let world = world();
    world.put(MAPPING, b"shop");
    put(&world, "shop", "10.0.0.1:80");
    let mut watch = world.watch(&interface());
    shows(&mut watch, &["10.0.0.1:80"]).await;
    drop(watch);
    let mut watch = world.watch(&interface());
    shows(&mut watch, &["10.0.0.1:80"]).await;
    let began = Instant::now();
    crate::Registry::clone(&world).close(Duration::from_secs(5)).await;
    while watch.changed().await.is_ok() {}
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(watch.current().len(), 1, "what was known stays");
}

#[test]
fn a_mapping_is_a_path() {
    assert_eq!(named("dubbo-app:mapping=x").unwrap_err().kind(), ErrorKind::Invalid);
    let format = named("dubbo-app:mapping=/dubbo/mapping").unwrap();
    assert_eq!(format.mapping(&interface()).as_deref(), Some(MAPPING));
    assert_eq!(named("dubbo-app").unwrap().mapping(&interface()), None);
    let names = format.mapped(b"b,a,, c ,b,\xff\0");
    assert_eq!(names.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
}
