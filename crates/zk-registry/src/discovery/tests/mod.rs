//! The driver over the store in memory, one behaviour each: what it reads, when, and what it says meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, advance, sleep, timeout};

mod consumers;
mod dialects;
mod fleet;
mod greeting;
mod mapping;
mod promises;
mod schedules;
mod shard_corners;
mod shards;
mod sources;
mod via;

use self::schedules::{
    AUDIT, CONNECTION, NO_AUDIT, ROOT, SESSION, becomes, record, registry, registry_over, service, watching,
};
use super::driver::FULL_AUDIT;
use crate::instance::Instance;
use crate::options::{Acl, Suspicion};
use crate::resolve::{Resolve, ServiceWatch};
use crate::snapshot::{Freshness, Zxid};
use crate::store::memory::{Cluster, Connector, Foreign};
use crate::store::{Connect, ConnectFault, Fault, Store};

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
async fn whoever_waits_for_what_is_there_already_is_told_at_once() {
    let cluster = Cluster::new(0);
    let (_, mut watch) = watching(&cluster, Suspicion::Keep).await;
    for weight in 2..50 {
        cluster.put(&format!("{ROOT}/h:1"), &record(1, weight));
        let zxid = Zxid(cluster.node(&format!("{ROOT}/h:1")).unwrap().stat.mzxid);
        // Sometimes the view knows before it hears that somebody waits.
        sleep(Duration::from_micros(100 * u64::from(weight % 10))).await;
        let waited =
            timeout(Duration::from_secs(1), watch.wait_for(zxid)).await.expect("it is there").unwrap();
        assert!(waited.watermark() >= zxid);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_snapshot_costs_three_round_trips() {
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    cluster.set_latency(ROUND_TRIP);
    let began = Instant::now();
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    assert_eq!(registry.watch(&service()).live().await.unwrap().len(), 1);
    // The session, then the greeting with the watch and the listing behind it, then the records.
    assert_eq!(began.elapsed(), 3 * ROUND_TRIP);
}

/// Sessions with a server that refuses the first `sync`, and was left behind by its leader a moment ago.
#[derive(Debug)]
struct LeftBehind {
    cluster: Cluster,
    network: Connector,
}

impl Connect for LeftBehind {
    fn cluster(&self) -> String {
        self.network.cluster()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let (cluster, network) = (self.cluster.clone(), self.network.clone());
        Box::pin(async move {
            let store = network.connect().await?;
            network.lag();
            cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
            cluster.refuse_next_read(Fault::Ambiguous("as a test has it".to_owned()));
            Ok(store)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_listed_behind_a_greeting_that_failed_is_not_believed() {
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let network = cluster.connector(SESSION);
    let left_behind = LeftBehind { cluster, network };
    let mut watch = registry_over(left_behind, NO_AUDIT, Suspicion::Keep, 0).watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 2);
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
    sleep(Duration::from_millis(1)).await;
    network.heal();
    assert_eq!(waiting.await.unwrap(), Ok(1));
}

/// Waits until the watch says since when it is stale.
async fn stale(watch: &mut ServiceWatch) -> Instant {
    let said = async {
        loop {
            if let Freshness::Stale { since } = watch.current().freshness() {
                return since;
            }
            watch.changed().await.unwrap();
        }
    };
    timeout(SESSION, said).await.expect("it becomes stale")
}

#[tokio::test(start_paused = true)]
async fn a_service_that_may_not_be_listed_any_more_is_stale_and_asked_for_now_and_then() {
    let cluster = Cluster::new(0);
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    let began = Instant::now();
    assert!(watch.live().await.unwrap().is_empty());
    sleep(SESSION).await;
    // Nobody is told of what he may not read; of what is below it he is.
    let closed = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
    cluster.put_as(ROOT, b"", closed);
    sleep(SESSION).await;
    assert_eq!(watch.freshness(Instant::now()), Freshness::Live);
    let told = Instant::now();
    cluster.put_as(&format!("{ROOT}/h:1"), &record(1, 1), Foreign { acl: Acl::Open, ..closed });
    let since = stale(&mut watch).await;
    assert!(since <= told && since >= began, "{since:?}, not from {began:?} to {told:?}");
    let before = cluster.counts().reads;
    sleep(Duration::from_secs(60)).await;
    let asked = cluster.counts().reads - before;
    assert!((10..=60).contains(&asked), "{asked} requests in a minute");
    assert_eq!(watch.current().freshness(), Freshness::Stale { since }, "still as of then");
    // The service is opened again.
    let owner = cluster.connector_as(Some("else"), SESSION).connect().await.unwrap();
    owner.delete(&format!("{ROOT}/h:1"), None).await.unwrap();
    owner.delete(ROOT, None).await.unwrap();
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    let live = timeout(SESSION * 2, watch.live()).await.expect("it is read again").unwrap();
    assert_eq!(live.instances().map(|member| member.port()).collect::<Vec<_>>(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_write_to_the_services_own_node_costs_one_read() {
    let cluster = Cluster::new(0);
    let (_, mut watch) = watching(&cluster, Suspicion::Keep).await;
    sleep(SESSION).await;
    let (reads, revision) = (cluster.counts().reads, watch.current().revision());
    cluster.put(ROOT, b"some configuration");
    sleep(SESSION).await;
    assert_eq!(cluster.counts().reads, reads + 1);
    assert_eq!(watch.current().revision(), revision, "it is no change of the instances");
}

#[tokio::test(start_paused = true)]
async fn a_service_whose_own_node_is_written_all_the_time_becomes_live_after_a_reconnect() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    cluster.set_latency(Duration::from_millis(20));
    let heartbeat = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            loop {
                cluster.put(ROOT, b"beat");
                sleep(Duration::from_millis(1)).await;
            }
        }
    });
    network.blip();
    stale(&mut watch).await;
    timeout(SESSION, watch.live()).await.expect("nothing is in the way").unwrap();
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    becomes(&mut watch, 2).await;
    heartbeat.abort();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_deleted_and_created_again_is_followed() {
    let cluster = Cluster::new(0);
    let (_, mut watch) = watching(&cluster, Suspicion::Keep).await;
    for round in 2..6 {
        assert!(cluster.delete(&format!("{ROOT}/h:{}", round - 1)));
        assert!(cluster.delete(ROOT));
        if round % 2 == 0 {
            becomes(&mut watch, 0).await;
        }
        cluster.put(&format!("{ROOT}/h:{round}"), &record(round, 1));
        becomes(&mut watch, 1).await;
        sleep(SESSION).await;
        let instance = watch.current().instances().next().unwrap();
        assert_eq!(instance.port(), round);
        assert_eq!(watch.current().freshness(), Freshness::Live);
        assert_eq!(watch.current().watermark().0, cluster.node(ROOT).unwrap().stat.pzxid);
    }
}

#[tokio::test(start_paused = true)]
async fn who_slept_while_his_link_was_cut_is_stale_since_before() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    sleep(SESSION).await;
    network.freeze();
    let cut = Instant::now();
    // Nothing of this process runs meanwhile.
    advance(SESSION).await;
    for claimed in [watch.freshness(Instant::now()), Freshness::Stale { since: stale(&mut watch).await }] {
        let Freshness::Stale { since } = claimed else { panic!("{claimed:?} after the sleep") };
        assert!(since <= cut, "{:?} after the link was cut", since - cut);
        assert!(since + CONNECTION * 2 > cut, "{:?} before the link was cut", cut - since);
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_of_our_own_that_went_with_the_whole_service_is_back_at_once() {
    let cluster = Cluster::new(0);
    for port in 1..=600 {
        cluster.put(&format!("{ROOT}/h:{port}"), &record(port, 1));
    }
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    let mut registration = registry.register(&service(), Instance::new("own", 1));
    let zxid = registration.registered().await.unwrap();
    assert_eq!(watch.wait_for(zxid).await.unwrap().len(), 601);
    let own = format!("{ROOT}/{}", registration.id());
    for port in 1..=600 {
        assert!(cluster.delete(&format!("{ROOT}/h:{port}")));
    }
    assert!(cluster.delete(&own) && cluster.delete(ROOT));
    let back = async {
        while cluster.node(&own).is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(1), back).await.expect("it is back");
}

/// A watch on one instance, whose view is audited every [`AUDIT`], and the network of its process.
async fn audited(cluster: &Cluster) -> (Connector, ServiceWatch) {
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let network = cluster.connector(SESSION);
    let mut watch = registry(&network, AUDIT, Suspicion::Keep, 0).watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 1);
    (network, watch)
}

#[tokio::test(start_paused = true)]
async fn an_audit_finds_a_change_of_the_membership_that_no_event_told_of() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = audited(&cluster).await;
    network.lose_events(true);
    // As many as before: only the pzxid tells.
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    cluster.delete(&format!("{ROOT}/h:1"));
    sleep(AUDIT * 2).await;
    let snapshot = watch.current();
    assert_eq!(snapshot.instances().map(|member| member.port()).collect::<Vec<_>>(), [2]);
    assert_eq!(snapshot.freshness(), Freshness::Live);
    let before = cluster.counts().reads;
    sleep(AUDIT * 10).await;
    let reads = cluster.counts().reads - before;
    assert!((8..=14).contains(&reads), "an audit is one read, but {reads} were asked for in ten intervals");
}

#[tokio::test(start_paused = true)]
async fn an_audit_of_the_contents_finds_a_record_that_was_written_and_no_event_told_of() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = audited(&cluster).await;
    network.lose_events(true);
    cluster.put(&format!("{ROOT}/h:1"), &record(7, 1));
    sleep(AUDIT * 2).await;
    assert_eq!(watch.current().instances().next().unwrap().port(), 1, "nothing but its data tells");
    sleep(AUDIT * FULL_AUDIT * 5 / 4).await;
    assert_eq!(watch.current().instances().next().unwrap().port(), 7);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_much_for_one_request_is_read_in_parts() {
    let cluster = Cluster::new(0);
    let (_, mut watch) = watching(&cluster, Suspicion::Keep).await;
    // Five hundred names of this length are more than a server takes.
    let long = "n".repeat(2_500);
    let path = |n: usize| format!("{ROOT}/{long}-{n}");
    for n in 0..1_000 {
        cluster.put(&path(n), b"{");
    }
    let arrived = async {
        while watch.current().rejected().len() < 1_000 || watch.current().freshness() != Freshness::Live {
            watch.changed().await.unwrap();
        }
    };
    timeout(SESSION * 2, arrived).await.expect("all are read");
    assert_eq!(watch.current().len(), 1);
}
