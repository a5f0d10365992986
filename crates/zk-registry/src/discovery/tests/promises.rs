//! What a view promises while much else happens: changes without end, audits of many children, failing requests, replies
//! that are taken up late, another ZooKeeper.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::schedules::{
    AUDIT, NO_AUDIT, ROOT, SESSION, becomes, record, registry, registry_over, service, watching,
};
use super::via::Via;
use crate::error::ErrorKind;
use crate::options::{Acl, Suspicion};
use crate::registry::Registry;
use crate::resolve::{Resolve, ServiceWatch};
use crate::snapshot::{Freshness, Zxid};
use crate::store::memory::{Cluster, Foreign};
use crate::store::{Connect, Fault};

/// So many changes that there always is one more to read.
fn churn(cluster: &Cluster) -> JoinHandle<()> {
    cluster.set_latency(Duration::from_millis(20));
    let cluster = cluster.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let port = 100 + n % 8;
            cluster.put(&format!("{ROOT}/h:{port}"), &record(port, n));
            sleep(Duration::from_millis(1)).await;
        }
    })
}

async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(within, waiting).await.unwrap_or_else(|_| panic!("{what} within {within:?}"));
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn under_endless_churn_an_unreachable_zxid_is_answered() {
    let cluster = Cluster::new(0);
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    let churning = churn(&cluster);
    sleep(Duration::from_secs(1)).await;
    timeout(SESSION, watch.wait_for(Zxid(i64::MAX))).await.expect("it is answered").unwrap();
    churning.abort();
}

#[tokio::test(start_paused = true)]
async fn under_endless_churn_a_view_without_watches_ends() {
    let cluster = Cluster::new(0);
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    watch.live().await.unwrap();
    let churning = churn(&cluster);
    sleep(Duration::from_secs(1)).await;
    drop(watch);
    sleep(Duration::from_millis(100)).await;
    let before = cluster.counts().reads;
    sleep(SESSION).await;
    assert_eq!(cluster.counts().reads, before);
    churning.abort();
}

#[tokio::test(start_paused = true)]
async fn under_endless_churn_suspects_are_let_go_in_time() {
    let cluster = Cluster::new(0);
    for port in 2..5 {
        let foreign = Foreign { session: i64::from(port), ..Foreign::default() };
        cluster.put_as(&format!("{ROOT}/h:{port}"), &record(port, 1), foreign);
    }
    let (_network, mut watch) = watching_all(&cluster, 4).await;
    for port in 2..5 {
        cluster.delete(&format!("{ROOT}/h:{port}"));
    }
    becomes(&mut watch, 1).await;
    assert_eq!(watch.current().suspects().len(), 3);
    let churning = churn(&cluster);
    let took = until("none is left", SESSION * 3, || watch.current().suspects().len() == 0).await;
    assert!(took <= SESSION * 2 + Duration::from_millis(100), "{took:?}");
    churning.abort();
}

async fn watching_all(cluster: &Cluster, len: usize) -> (Registry, ServiceWatch) {
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), len);
    (registry, watch)
}

#[tokio::test(start_paused = true)]
async fn under_endless_churn_an_audit_finds_what_no_event_tells_of() {
    let cluster = Cluster::new(0);
    let secret = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
    cluster.put_as(&format!("{ROOT}/old"), b"{}", secret);
    let registry = registry(&cluster.connector(SESSION), AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().rejected()[0].id, "old");
    let churning = churn(&cluster);
    cluster.delete(&format!("{ROOT}/old"));
    cluster.put_as(&format!("{ROOT}/new"), b"{}", secret);
    let finds_new =
        |watch: &mut ServiceWatch| matches!(watch.current().rejected(), [only] if only.id == "new");
    until("the swap is found", AUDIT * 2, || finds_new(&mut watch)).await;
    churning.abort();
}

#[tokio::test(start_paused = true)]
async fn progress_that_was_told_a_moment_ago_holds_up_no_change() {
    let cluster = Cluster::new(0);
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    sleep(Duration::from_secs(1)).await;
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    becomes(&mut watch, 2).await;
    sleep(Duration::from_millis(50)).await;
    cluster.delete(&format!("{ROOT}/h:2"));
    becomes(&mut watch, 1).await;
    // Only the service's own node tells of the zxid of a removal, and it was read with the change before.
    let removed = Zxid(cluster.node(ROOT).unwrap().stat.pzxid);
    assert!(watch.current().watermark() < removed);
    while watch.current().watermark() < removed {
        watch.changed().await.unwrap();
    }
    let told = Instant::now();
    sleep(Duration::from_millis(1)).await;
    cluster.put(&format!("{ROOT}/h:3"), &record(3, 1));
    becomes(&mut watch, 2).await;
    assert!(told.elapsed() < Duration::from_millis(5), "{:?}", told.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_is_published_while_a_reply_is_awaited() {
    let cluster = Cluster::new(0);
    cluster.set_latency(Duration::from_millis(2));
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    sleep(SESSION).await;
    let put = |port| cluster.put(&format!("{ROOT}/h:{port}"), &record(port, 1));
    // Published at 3 ms.
    put(2);
    sleep(Duration::from_millis(2)).await;
    // Read by then too, at 5 ms, but too early to be published.
    put(3);
    sleep(Duration::from_millis(2)).await;
    put(4);
    sleep(Duration::from_millis(1)).await;
    cluster.set_latency(Duration::from_millis(600));
    sleep(Duration::from_millis(20)).await;
    assert!(watch.current().len() >= 3, "{}", watch.current().len());
}

/// A service of so many children that an audit of them takes a while, and a registry that audits it often.
async fn large(cluster: &Cluster) -> (Registry, ServiceWatch) {
    for n in 0..10_000 {
        cluster.put(&format!("{ROOT}/junk-{n}"), b"no record");
    }
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let often = Duration::from_millis(500);
    let registry = registry(&cluster.connector(SESSION), often, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().rejected().len(), 10_000);
    cluster.set_latency(Duration::from_millis(20));
    (registry, watch)
}

/// Waits until an audit has begun to read children: ten requests within half a second are no look.
async fn audit(cluster: &Cluster) {
    loop {
        let before = cluster.counts().reads;
        sleep(Duration::from_millis(120)).await;
        if cluster.counts().reads - before >= 5 {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_during_an_audit_of_many_is_seen_after_one_event_and_one_read() {
    let cluster = Cluster::new(0);
    let (_registry, mut watch) = large(&cluster).await;
    for port in 2..7 {
        audit(&cluster).await;
        let len = watch.current().len();
        cluster.put(&format!("{ROOT}/h:{port}"), &record(port, 1));
        let took = until("it is seen", SESSION, || watch.current().len() > len).await;
        // Half a round trip for the event, what is left of one request, one read, and the pace of publications.
        assert!(took <= Duration::from_millis(10 + 20 + 20 + 5 + 2), "{took:?}");
        assert_eq!(watch.current().freshness(), Freshness::Live);
        sleep(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_audit_that_finds_nothing_publishes_nothing() {
    let cluster = Cluster::new(0);
    let (_registry, mut watch) = large(&cluster).await;
    let before = watch.current().clone();
    for _ in 0..2 {
        audit(&cluster).await;
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(watch.current().revision(), before.revision());
}

#[tokio::test(start_paused = true)]
async fn lost_connections_do_not_shrink_the_requests() {
    let cluster = Cluster::new(0);
    for n in 0..4_000 {
        cluster.put(&format!("{ROOT}/junk-{n}"), b"no record");
    }
    let network = cluster.connector(SESSION);
    let registry = registry(&network, NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().rejected().len(), 4_000);
    cluster.set_latency(Duration::from_millis(100));
    for _ in 0..10 {
        network.blip();
        // The resync is under way: it begins within 80 ms, and takes three round trips.
        sleep(Duration::from_millis(10 + 80 + 220)).await;
    }
    network.blip();
    sleep(Duration::from_millis(5)).await;
    let before = cluster.counts().reads;
    timeout(SESSION, watch.live()).await.expect("it is read").unwrap();
    let reads = cluster.counts().reads - before;
    // Two for the greeting, two to arm and to list, eight times 500 children.
    assert!(reads <= 12, "{reads} requests");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_holds_up_no_change() {
    let cluster = Cluster::new(0);
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    let other = cluster.connector(SESSION).connect().await.unwrap();
    cluster.put(ROOT, b"some configuration");
    for _ in 0..4_000 {
        cluster.refuse_next_read(Fault::Definite("not now".to_owned()));
        sleep(Duration::from_millis(1)).await;
    }
    // The last refusal.
    let _ = other.list("/").await;
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    let took = until("it is seen", SESSION, || watch.current().len() == 2).await;
    assert!(took <= Duration::from_millis(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_barrier_that_fails_holds_up_no_change() {
    let cluster = Cluster::new(0);
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    let other = cluster.connector(SESSION).connect().await.unwrap();
    let mut waits = watch.clone();
    let waiting = tokio::spawn(async move { waits.wait_for(Zxid(i64::MAX)).await.map(crate::Snapshot::len) });
    for _ in 0..4_000 {
        cluster.refuse_next_read(Fault::Definite("not now".to_owned()));
        sleep(Duration::from_millis(1)).await;
    }
    let _ = other.list("/").await;
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    let took = until("it is seen", SESSION, || watch.current().len() == 2).await;
    assert!(took <= Duration::from_millis(20), "{took:?}");
    assert_eq!(waiting.await.unwrap(), Ok(2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_arming_that_is_taken_up_after_the_next_reconnect_arms_nothing() {
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let network = cluster.connector(SESSION);
    let late = Duration::from_millis(30);
    let registry = registry_over(Via::new(&network, late, late, 0), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 1);
    // Back after 10 ms; armed after one more, which is taken up 30 ms later.
    network.blip();
    sleep(Duration::from_millis(20)).await;
    network.blip();
    sleep(SESSION).await;
    assert_eq!(watch.live().await.unwrap().len(), 1);
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    becomes(&mut watch, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_zookeeper_built_anew_with_lower_zxids_is_believed_from_the_beginning() {
    for exists in [true, false] {
        let old = Cluster::new(0);
        for n in 0..100 {
            old.put(&format!("{ROOT}/h:1"), &record(1, n));
        }
        let network = old.connector(SESSION);
        let via = Via::new(&network, Duration::ZERO, Duration::ZERO, 0);
        let registry = registry_over(via.clone(), NO_AUDIT, Suspicion::Keep, 0);
        let mut watch = registry.watch(&service());
        let before = watch.live().await.unwrap().watermark();

        let new = Cluster::new(1);
        if exists {
            new.put(&format!("{ROOT}/h:1"), &record(9, 1));
        }
        via.switch(&new.connector(SESSION));
        network.expire_locally();
        sleep(SESSION).await;
        let ports = |watch: &mut ServiceWatch| {
            watch.current().instances().map(|member| member.port()).collect::<Vec<_>>()
        };
        assert_eq!(ports(&mut watch), if exists { vec![9] } else { vec![] });
        assert!(watch.current().watermark() < before, "{before}");
        assert_eq!(watch.current().freshness(), Freshness::Live);
        new.put(&format!("{ROOT}/h:2"), &record(2, 1));
        let zxid = new.node(&format!("{ROOT}/h:2")).unwrap().stat.mzxid;
        watch.wait_for(Zxid(zxid)).await.unwrap();
        assert_eq!(ports(&mut watch).last(), Some(&2), "what was waited for is there");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_session_with_the_same_zookeeper_keeps_the_watermark_whatever_was_deleted() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
    becomes(&mut watch, 2).await;
    for left in [1, 0] {
        let before = watch.current().watermark();
        network.cut();
        cluster.delete(&format!("{ROOT}/h:{}", left + 1));
        if left == 0 {
            assert!(cluster.delete(ROOT));
        }
        network.expire_locally();
        network.heal();
        sleep(SESSION).await;
        assert_eq!((watch.current().len(), watch.current().freshness()), (left, Freshness::Live));
        assert!(watch.current().watermark() >= before);
    }
}

#[tokio::test(start_paused = true)]
async fn large_records_are_read_a_few_at_a_time_and_small_ones_by_hundreds() {
    for (size, most, least) in [(200_000, 8, 15), (100, 500, 5)] {
        let cluster = Cluster::new(0);
        let count = if size > 1_000 { 100 } else { 2_000 };
        for n in 0..count {
            cluster.put(&format!("{ROOT}/junk-{n}"), &vec![b'x'; size]);
        }
        let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
        let mut watch = registry.watch(&service());
        assert_eq!(watch.live().await.unwrap().rejected().len(), count);
        let reads = cluster.counts().reads;
        assert!(reads >= least, "{reads} requests");
        assert!(reads <= 6 + (count as u64).div_ceil(most) * 3, "{reads} requests");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_read_says_why_until_it_can() {
    let cluster = Cluster::new(0);
    cluster.put_as(ROOT, b"", Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() });
    let registry = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = registry.watch(&service());
    let hindered = timeout(SESSION, watch.changed()).await.expect("it is told").unwrap();
    assert_eq!(hindered.cause().unwrap().kind(), ErrorKind::NoAuth);
    assert_eq!(hindered.freshness(), Freshness::Pending);
    assert_eq!(hindered.revision(), 1);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(watch.current().revision(), 1, "the same reason is told once");
    let owner = cluster.connector_as(Some("else"), SESSION).connect().await.unwrap();
    owner.delete(ROOT, None).await.unwrap();
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let live = timeout(SESSION, watch.live()).await.expect("it is tried on").unwrap();
    assert_eq!((live.len(), live.cause()), (1, None));
}
