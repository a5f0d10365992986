//! The driver over the store in memory, one behaviour each: what it reads, when, and what it says meanwhile.

use std::time::Duration;

use tokio::time::timeout;

use super::schedules::{NO_AUDIT, ROOT, SESSION, record, registry, service, watching};
use crate::connect::Suspicion;
use crate::resolve::Resolve;
use crate::snapshot::Zxid;
use crate::store::memory::Cluster;

#[tokio::test(start_paused = true)]
async fn waiting_for_a_zxid_of_the_future_shows_the_present_and_misleads_nobody() {
    let cluster = Cluster::new(0);
    let (_, mut watch) = watching(&cluster, Suspicion::Keep).await;
    let mut other = watch.clone();
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    let waited =
        timeout(SESSION, watch.wait_for(Zxid(i64::MAX))).await.expect("it is not waited for").unwrap();
    assert_eq!(waited.len(), 2);
    let now = cluster.node(ROOT).unwrap().stat.pzxid;
    assert_eq!(waited.watermark(), Zxid(now));
    cluster.put(&format!("{ROOT}/h:3"), &record(3, 1));
    let zxid = cluster.node(ROOT).unwrap().stat.pzxid;
    assert_eq!(other.wait_for(Zxid(zxid)).await.unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_while_zookeeper_is_away_is_told_when_it_is_back() {
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let network = cluster.connector(SESSION);
    network.cut();
    let mut watch = registry(&network, NO_AUDIT, Suspicion::Keep, 0).watch(&service());
    let zxid = Zxid(cluster.node(ROOT).unwrap().stat.pzxid);
    assert!(timeout(SESSION, watch.wait_for(zxid)).await.is_err());
    let mut waits = watch.clone();
    let waiting = tokio::spawn(async move { waits.wait_for(zxid).await.map(crate::Snapshot::len) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    network.heal();
    assert_eq!(waiting.await.unwrap(), Ok(1));
}
