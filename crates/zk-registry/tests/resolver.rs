//! Somebody else's resolver, by the public interface alone: it can be as honest as the one of ZooKeeper.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::time::Duration;

use tokio::time::{Instant, timeout};
use zk_registry::balance::strategy::RoundRobin;
use zk_registry::balance::{Balancer, PickError};
use zk_registry::{Change, Freshness, Incarnation, Instance, ServiceName, ServiceWatch, Snapshot, Zxid};

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn one() -> Snapshot {
    Snapshot::fixed(&service(), [Instance::new("10.0.0.1", 80)])
}

#[tokio::test]
async fn a_resolver_that_knows_nothing_yet_says_so() {
    let (sender, mut watch) = ServiceWatch::channel(Snapshot::pending(&service()));
    assert_eq!(watch.current().freshness(), Freshness::Pending);
    assert_eq!(watch.current().revision(), 0);
    let balancer = Balancer::new(RoundRobin::default());
    balancer.update(watch.current());
    assert!(matches!(balancer.pick(), Err(PickError::Pending)));
    assert!(timeout(Duration::from_millis(1), watch.ready()).await.is_err());
    sender.send(one());
    assert_eq!(watch.ready().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_resolver_that_does_not_hear_its_source_keeps_what_it_knows_and_says_since_when() {
    let (sender, mut watch) = ServiceWatch::channel(one());
    let since = Instant::now();
    sender.send(watch.current().clone().with_freshness(Freshness::Stale { since }).with_revision(2));
    let snapshot = watch.changed().await.unwrap();
    assert_eq!((snapshot.len(), snapshot.revision()), (1, 2));
    assert_eq!(snapshot.freshness(), Freshness::Stale { since });
    assert!(timeout(Duration::from_millis(1), watch.live()).await.is_err());
}

#[tokio::test]
async fn an_instance_in_another_life_is_a_change() {
    let first = one();
    let id = first.instances().next().unwrap().id().clone();
    let second = first.clone().with_incarnation(&id, Incarnation::from(7));
    assert_eq!(second.get(&id).unwrap().incarnation(), Incarnation::from(7));
    assert!(matches!(&*first.diff(&second).collect::<Vec<_>>(), [Change::Updated { .. }]));
    assert_ne!(first.get(&id).unwrap().incarnation(), Incarnation::from(7), "a snapshot never changes");
    let nobody = "nobody:1".parse().unwrap();
    assert_eq!(first.diff(&first.clone().with_incarnation(&nobody, Incarnation::from(7))).count(), 0);
}

#[tokio::test]
async fn a_resolver_with_a_history_of_its_own_can_be_waited_for() {
    let (sender, mut watch) = ServiceWatch::channel(one());
    assert!(timeout(Duration::from_millis(1), watch.wait_for(Zxid(5))).await.is_err());
    sender.send(one().with_watermark(Zxid(5)).with_revision(2));
    assert_eq!(watch.wait_for(Zxid(5)).await.unwrap().revision(), 2);
}

#[tokio::test]
async fn a_resolver_learns_that_nobody_watches_any_more() {
    let (sender, watch) = ServiceWatch::channel(one());
    let other = watch.clone();
    drop(watch);
    assert!(timeout(Duration::from_millis(1), sender.closed()).await.is_err());
    drop(other);
    sender.closed().await;
}
