//! Servers that come and go, over a ZooKeeper in memory.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Advertise, Leave};
use crate::error::ErrorKind;
use crate::instance::{Attributes, ServiceName, Status};
use crate::resolve::Resolve;
use crate::testing;
use crate::withdrawn::Withdrawn;

fn service() -> ServiceName {
    "api".parse().unwrap()
}

fn bound(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_registered_with_the_address_that_it_is_bound_to() {
    let registry = testing::registry();
    let mut announced = registry.announce(&service(), bound("[::ffff:10.0.0.7]:80")).unwrap();
    announced.registered().await.unwrap();
    assert_eq!(announced.registration().await.unwrap().path(), "/services/api/10.0.0.7:80");
}

#[tokio::test(start_paused = true)]
async fn a_listener_on_every_address_is_registered_with_the_one_that_reaches_zookeeper() {
    let registry = testing::registry();
    registry.stop_zookeeper();
    let mut announced = registry.announce(&service(), bound("0.0.0.0:80")).unwrap();
    assert!(timeout(Duration::from_secs(5), announced.registered()).await.is_err(), "it waits");
    registry.start_zookeeper();
    announced.registered().await.unwrap();
    assert_eq!(announced.registration().await.unwrap().id().as_str(), "127.0.0.1:80");
}

#[tokio::test(start_paused = true)]
async fn leaving_drains_with_notice_withdraws_and_lingers() {
    let registry = testing::registry();
    let mut watch = registry.sibling().watch(&service());
    let advertise = Advertise::at("api.example", 80).with_attributes(Attributes::default());
    let mut announced = registry.announce(&service(), advertise).unwrap();
    announced.registered().await.unwrap();
    let how = Leave::default();
    let began = Instant::now();
    let leaving = tokio::spawn(announced.leave(how));
    sleep(how.notice * 3 / 4).await;
    let status = watch.live().await.unwrap().instances().next().unwrap().status();
    assert_eq!(status, Status::Draining, "draining, and still listed");
    sleep(how.notice / 2).await;
    assert!(watch.live().await.unwrap().is_empty());
    assert!(!leaving.is_finished(), "it lingers");
    assert_eq!(leaving.await.unwrap(), Withdrawn::Confirmed);
    assert!(began.elapsed() >= how.notice + how.linger);
}

#[tokio::test(start_paused = true)]
async fn leaving_in_a_format_that_cannot_say_draining_takes_the_node_away_first() {
    let format = crate::format::named("plain").unwrap();
    let registry = testing::Registry::with(crate::Options::default().with_format(format), 1);
    let mut announced = registry.announce(&service(), Advertise::at("api.example", 80)).unwrap();
    announced.registered().await.unwrap();
    let how = Leave::default();
    let began = Instant::now();
    let leaving = tokio::spawn(announced.leave(how));
    sleep(how.notice / 2).await;
    assert_eq!(registry.data("/services/api/api.example:80"), None, "gone at once");
    assert_eq!(leaving.await.unwrap(), Withdrawn::Confirmed);
    assert!(began.elapsed() >= how.notice + how.linger, "it serves on");
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_in_time_when_zookeeper_is_not_there() {
    let registry = testing::registry();
    let announced = registry.announce(&service(), bound("0.0.0.0:80")).unwrap();
    registry.stop_zookeeper();
    let began = Instant::now();
    assert_eq!(announced.leave(Leave::default()).await, Withdrawn::Confirmed, "nothing stood there");
    let mut announced = {
        registry.start_zookeeper();
        registry.announce(&service(), bound("10.0.0.7:80")).unwrap()
    };
    announced.registered().await.unwrap();
    let how = Leave::default().with_within(Duration::from_secs(1));
    registry.stop_zookeeper();
    let left = Instant::now();
    assert!(matches!(announced.leave(how).await, Withdrawn::Unconfirmed { .. }));
    assert!(left.elapsed() <= how.within * 2 + how.notice + how.linger, "{:?}", left.elapsed());
    assert!(left > began);
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_registered_is_said_at_once() {
    let registry = testing::registry();
    let error = registry.announce(&service(), Advertise::at("0.0.0.0", 80)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn dropping_an_announcement_withdraws() {
    let registry = testing::registry();
    let mut announced = registry.announce(&service(), bound("10.0.0.7:80")).unwrap();
    announced.registered().await.unwrap();
    let mut watch = registry.sibling().watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 1);
    drop(announced);
    while !watch.current().is_empty() {
        watch.changed().await.unwrap();
    }
}
