//! A service with shards where others are at work as well: changes in the middle of a read, hostile markers, nodes that stand twice.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::schedules::{NO_AUDIT, ROOT, SESSION, becomes, record, registry, service};
use super::shards::{mark, place, registered, standing, writer};
use crate::error::ErrorKind;
use crate::format::shards::Shards;
use crate::instance::{InstanceId, Status};
use crate::operate::{Operator, Unused};
use crate::options::{Acl, Suspicion};
use crate::resolve::Resolve;
use crate::snapshot::Zxid;
use crate::store::memory::{Cluster, Foreign};

/// Another number of shards is written, and everybody moves at once.
fn change(cluster: &Cluster, ports: std::ops::Range<u16>, from: Shards, to: Shards) {
    mark(cluster, to);
    for port in ports {
        let id: InstanceId = format!("h:{port}").parse().unwrap();
        let (old, new) = (place(&id, from.count) - 1, place(&id, to.count) - 1);
        if old != new {
            cluster.put(&format!("{ROOT}~shard-{new}/{id}"), &record(port, 1));
            assert!(cluster.delete(&format!("{ROOT}~shard-{old}/{id}")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lookup_in_the_middle_of_a_change_of_the_number_of_shards_misses_nobody() {
    // From before the first request to after the last one.
    for microseconds in (0..100_000).step_by(250) {
        let cluster = Cluster::new(0);
        mark(&cluster, Shards::new(2));
        for port in 1..20 {
            let id: InstanceId = format!("h:{port}").parse().unwrap();
            cluster.put(&format!("{ROOT}~shard-{}/{id}", place(&id, 2) - 1), &record(port, 1));
        }
        cluster.set_latency(Duration::from_millis(10));
        let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
        let changing = async {
            sleep(Duration::from_micros(microseconds)).await;
            change(&cluster, 1..20, Shards::new(2), Shards::new(8));
        };
        let service = service();
        let (found, ()) = tokio::join!(reader.lookup(&service), changing);
        assert_eq!(found.unwrap().len(), 19, "a change after {microseconds} us");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_changes_the_node_that_readers_list_where_an_id_stands_twice() {
    let cluster = Cluster::new(0);
    let network = cluster.connector(SESSION);
    let _crashed = registered(&registry(&network, NO_AUDIT, Suspicion::Keep, 0), 1..2).await;
    network.cut();
    let successor = registered(&writer(&cluster.connector(SESSION), 4, 1), 1..2).await;
    assert_eq!(standing(&cluster, 4).iter().map(BTreeSet::len).sum::<usize>(), 2);
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 2);
    let operator = Operator::new(&reader);
    let seen = operator.inspect(&service(), "h:1").await.unwrap().unwrap();
    assert_eq!(seen.path(), successor[0].path());
    operator.set_status(&seen, Status::Draining, None).await.unwrap();
    let listed = reader.lookup(&service()).await.unwrap();
    assert_eq!(listed.instances().next().unwrap().status(), Status::Draining);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_may_not_be_read_is_not_dropped() {
    let cluster = Cluster::new(0);
    mark(&cluster, Shards::new(2));
    let secret = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
    cluster.put_as(&format!("{ROOT}~shard-1"), b"", secret);
    cluster.put_as(&format!("{ROOT}~shard-1/h:1"), &record(1, 1), secret);
    let operator = Operator::new(&registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0));
    let error = operator.set_shards(&service(), 1, Unused::Drop).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("~shard-1")), (ErrorKind::NoAuth, true), "{error}");
    let error = operator.inspect(&service(), "h:1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoAuth, "{error}");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_left_after_it_moved_with_all_others_is_no_suspect() {
    let cluster = Cluster::new(0);
    let writers: Vec<_> = (0..4).map(|n| writer(&cluster.connector(SESSION), 2, n)).collect();
    let mut all = Vec::new();
    for (writer, first) in writers.iter().zip((1..).step_by(5)) {
        all.extend(registered(writer, first..first + 5).await);
    }
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 9);
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 20);
    mark(&cluster, Shards::new(2).changed_to(1));
    while standing(&cluster, 0)[0].len() < 20 {
        sleep(Duration::from_millis(1)).await;
    }
    all.pop().unwrap().withdraw(SESSION).await;
    becomes(&mut watch, 19).await;
    let now = watch.current();
    assert_eq!(now.suspects().len(), 0, "{now:?}");
}

/// Registrations, removals and waiting calls are answered in time, however often the marker is written.
async fn under_a_flapping_marker(every: Duration) {
    let cluster = Cluster::new(0);
    mark(&cluster, Shards::new(4));
    let path = |port: u16| {
        let id: InstanceId = format!("h:{port}").parse().unwrap();
        format!("{ROOT}~shard-{}/{id}", place(&id, 4) - 1)
    };
    (1..20).for_each(|port| cluster.put(&path(port), &record(port, 1)));
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 19);
    cluster.set_latency(Duration::from_millis(30));
    let flapping = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            for shards in [Shards { count: 2, read: 4 }, Shards::new(4)].into_iter().cycle() {
                mark(&cluster, shards);
                sleep(every).await;
            }
        }
    });
    for port in 1..10 {
        cluster.delete(&path(port));
        becomes(&mut watch, usize::from(19 - port)).await;
        let zxid = Zxid(cluster.node(ROOT).unwrap().stat.mzxid);
        timeout(SESSION, watch.wait_for(zxid)).await.expect("it is not waited for for ever").unwrap();
        sleep(SESSION / 4).await;
    }
    let fresh = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 2);
    assert_eq!(timeout(SESSION, fresh.watch(&service()).live()).await.expect("live").unwrap().len(), 10);
    flapping.abort();
}

#[tokio::test(start_paused = true)]
async fn under_a_marker_that_is_written_all_the_time_what_goes_is_unlisted_and_who_waits_is_told() {
    for milliseconds in [1, 20, 30, 60] {
        under_a_flapping_marker(Duration::from_millis(milliseconds)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_away_for_longer_than_its_session_is_back_where_the_marker_says_by_then() {
    let cluster = Cluster::new(0);
    let network = cluster.connector(SESSION);
    let mut all = registered(&writer(&network, 8, 0), 1..20).await;
    network.cut();
    sleep(SESSION * 2).await;
    let operator = Operator::new(&registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1));
    assert_eq!(operator.set_shards(&service(), 1, Unused::Drop).await.unwrap(), 0, "all are gone");
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 2);
    let mut watch = reader.watch(&service());
    assert!(watch.live().await.unwrap().is_empty());
    network.heal();
    while standing(&cluster, 8).iter().all(BTreeSet::is_empty) {
        sleep(Duration::from_micros(100)).await;
        assert!(
            standing(&cluster, 8)[1..].iter().all(BTreeSet::is_empty),
            "one is where no new reader looks"
        );
    }
    let zxid = all[0].registered().await.unwrap();
    assert!(watch.wait_for(zxid).await.unwrap().get(all[0].id()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_asks_once_for_each_shard_and_together_whether_they_are_as_they_were() {
    let cluster = Cluster::new(0);
    mark(&cluster, Shards::new(1_000));
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    reader.lookup(&"other".parse().unwrap()).await.unwrap();
    let before = cluster.counts().reads;
    assert!(reader.lookup(&service()).await.unwrap().is_empty());
    let reads = cluster.counts().reads - before;
    assert!((1_000..1_020).contains(&reads), "{reads} requests");
}
