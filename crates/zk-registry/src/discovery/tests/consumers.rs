//! Readers that are listed among the consumers of a Dubbo service, over ZooKeeper in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::format::named;
use crate::instance::{Instance, ServiceName};
use crate::options::{Options, Source, SourceUse};
use crate::registry::background::Background;
use crate::resolve::Resolve as _;
use crate::store::memory::Cluster;
use crate::store::{Fault, Store};
use crate::testing::Registry;

const DIRECTORY: &str = "/dubbo/com.foo.Bar/consumers";

fn interface() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

fn options(format: &str) -> Options {
    Options::default().with_base("/dubbo".parse().unwrap()).with_format(named(format).unwrap())
}

/// The nodes of the interface's consumers.
async fn consumers(world: &crate::Registry) -> Vec<String> {
    let list = |store: Arc<dyn Store>| async move {
        match store.list(DIRECTORY).await {
            Ok((names, _)) => Ok(names),
            Err(Fault::NoNode) => Ok(Vec::new()),
            Err(fault) => Err(fault.while_reading(DIRECTORY)),
        }
    };
    world.ask("listing the consumers", list).await.unwrap()
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_listed_while_it_watches_and_again_after_an_expiry() {
    let format = "dubbo:group=g,version=1.0.0,consumer=shop";
    let reader = Registry::with(options(format), 1);
    let other = reader.sibling_with(options(format));
    let mut watch = reader.watch(&interface());
    let second = reader.watch(&interface());
    assert!(watch.live().await.unwrap().is_empty());
    a_while().await;
    let [only] = &*consumers(&other).await else { panic!("one view, one consumer") };
    let begin = "consumer%3A%2F%2F127.0.0.1%2Fcom.foo.Bar%3Fapplication%3Dshop%26category%3Dconsumers%26check%3Dfalse%26";
    assert!(only.starts_with(begin) && only.ends_with("%26version%3D1.0.0"), "{only}");
    assert!(only.contains("%26group%3Dg%26interface%3Dcom.foo.Bar%26"), "{only}");

    other.register(&interface(), Instance::new("10.0.0.1", 80)).registered().await.unwrap();
    a_while().await;
    let snapshot = watch.current();
    assert_eq!(
        (snapshot.len(), snapshot.rejected().len()),
        (0, 0),
        "its guard is gone, and a consumer is none"
    );
    assert!(other.services().await.unwrap().is_empty());

    reader.expire_session();
    assert!(consumers(&other).await.is_empty());
    a_while().await;
    assert_eq!(consumers(&other).await, std::slice::from_ref(only));

    drop(watch);
    a_while().await;
    assert_eq!(consumers(&other).await.len(), 1, "another watch shares the view");
    drop(second);
    a_while().await;
    assert!(consumers(&other).await.is_empty());
    assert_eq!(reader.sessions(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_listed_unless_asked() {
    let world = Registry::with(options("dubbo"), 1);
    let mut watch = world.watch(&interface());
    watch.live().await.unwrap();
    a_while().await;
    assert_eq!(world.data("/dubbo"), None, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn each_source_that_asks_lists_its_reader_also_one_that_is_only_read() {
    let source = |format: &str| {
        Source::new("/dubbo".parse().unwrap(), named(format).unwrap()).with_usage(SourceUse::Read)
    };
    let asks = source("dubbo:version=2.0.0,consumer=shop");
    let world = Registry::with(options("dubbo:version=1.0.0").with_source(asks), 1);
    let mut watch = world.watch(&interface());
    watch.live().await.unwrap();
    a_while().await;
    let [only] = &*consumers(&world).await else { panic!("one source asks") };
    assert!(only.ends_with("%26version%3D2.0.0"), "{only}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_cannot_be_listed_watches_all_the_same_and_is_tried_again() {
    let cluster = Cluster::new(1);
    let options = options("dubbo:consumer=shop");
    let connect = Arc::new(cluster.connector(options.session_timeout));
    let world = crate::Registry::over(connect, 0, options, Ok(Background::on(Handle::current())), 1);
    world.connected().await.unwrap();
    cluster.refuse_writes_for(Duration::from_secs(20), Fault::NoAuth);
    let mut watch = world.watch(&interface());
    watch.live().await.unwrap();
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(consumers(&world).await.is_empty());
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(consumers(&world).await.len(), 1);
}
