//! What many readers do at once after a reconnect, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::schedules::{NO_AUDIT, ROOT, SESSION, record, registry, service};
use super::stale;
use crate::instance::ServiceName;
use crate::options::{Options, Suspicion};
use crate::resolve::{Resolve, ServiceWatch};
use crate::snapshot::Zxid;
use crate::store::memory::{Cluster, Connector};
use crate::testing;

#[tokio::test(start_paused = true)]
async fn services_of_one_process_are_read_at_their_own_moments_after_a_reconnect() {
    let cluster = Cluster::new(0);
    let services = ["a", "b"].map(|name| name.parse::<ServiceName>().unwrap());
    for n in 0..2_000 {
        for service in &services {
            cluster.put(&format!("/services/{service}/h:{n}"), b"no record");
        }
    }
    let network = cluster.connector(SESSION);
    let registry = registry(&network, NO_AUDIT, Suspicion::Keep, 0);
    let mut watches = services.map(|service| registry.watch(&service));
    for watch in &mut watches {
        assert_eq!(watch.live().await.unwrap().rejected().len(), 2_000);
    }
    let mut waits = BTreeSet::new();
    for _ in 0..5 {
        network.blip();
        let cut = Instant::now();
        for watch in &mut watches {
            stale(watch).await;
        }
        let [a, b] = &mut watches;
        let live = async |watch: &mut ServiceWatch| watch.live().await.map(|_| cut.elapsed()).unwrap();
        let (a, b) = tokio::join!(live(a), live(b));
        // The longest spread, the delay of the reconnect, and a few round trips.
        assert!(a.max(b) < SESSION / 4 + Duration::from_millis(10 + 10), "{a:?}, {b:?}");
        waits.extend([a, b]);
    }
    assert!(waits.len() >= 5, "{waits:?}");
}

/// A service of so many nodes, read by so many processes.
async fn fleet_of_readers(cluster: &Cluster, nodes: usize, readers: u64) -> Vec<(Connector, ServiceWatch)> {
    for n in 0..nodes {
        cluster.put(&format!("{ROOT}/h:{n}"), b"no record");
    }
    let mut fleet = Vec::new();
    for seed in 0..readers {
        let network = cluster.connector(SESSION);
        let mut watch = registry(&network, NO_AUDIT, Suspicion::Keep, seed).watch(&service());
        let opened = Instant::now();
        assert_eq!(watch.live().await.unwrap().rejected().len(), nodes);
        assert!(
            opened.elapsed() < Duration::from_millis(20),
            "a first session reads at once: {:?}",
            opened.elapsed()
        );
        fleet.push((network, watch));
    }
    fleet
}

#[tokio::test(start_paused = true)]
async fn the_readers_of_a_large_service_do_not_come_back_all_at_once() {
    let cluster = Cluster::new(0);
    let mut fleet = fleet_of_readers(&cluster, 1_000, 100).await;
    fleet.iter().for_each(|(network, _)| network.blip());
    let cut = Instant::now();
    for (_, watch) in &mut fleet {
        stale(watch).await;
    }
    let lives = fleet.iter_mut().map(async |(_, watch)| watch.live().await.map(|_| cut.elapsed()).unwrap());
    let back = join_all(lives).await;
    let last = back.iter().max().unwrap();
    assert!(*last < SESSION / 4 + Duration::from_millis(10 + 10), "{last:?}");
    // Evenly: a tenth of the time has a tenth of the readers, give or take.
    for tenth in 0..10 {
        let (from, to) = (SESSION / 40 * tenth, SESSION / 40 * (tenth + 1));
        let then = back.iter().filter(|at| (from..to).contains(at)).count();
        assert!(then <= 25, "{then} of 100 between {from:?} and {to:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn readers_that_lose_every_connection_before_they_have_read_everything_come_back_ever_later() {
    let cluster = Cluster::new(0);
    let mut fleet = fleet_of_readers(&cluster, 1_000, 20).await;
    for _ in 0..3 {
        fleet.iter().for_each(|(network, _)| network.blip());
        for (_, watch) in &mut fleet {
            stale(watch).await;
        }
        // Long enough for the connection, and for few to have drawn so short a delay.
        sleep(Duration::from_millis(30)).await;
    }
    let cut = Instant::now();
    let lives = fleet.iter_mut().map(async |(_, watch)| watch.live().await.map(|_| cut.elapsed()).unwrap());
    let back = join_all(lives).await;
    let late = back.iter().filter(|back| **back > SESSION / 4 + Duration::from_millis(20)).count();
    assert!(late >= 10, "{back:?}");
    assert!(back.iter().all(|back| *back < SESSION + Duration::from_millis(20)), "{back:?}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_waits_for_is_read_at_once_after_a_reconnect() {
    let cluster = Cluster::new(0);
    let mut fleet = fleet_of_readers(&cluster, 1_000, 20).await;
    fleet.iter().for_each(|(network, _)| network.blip());
    for (_, watch) in &mut fleet {
        stale(watch).await;
    }
    let path = format!("{ROOT}/h:1");
    cluster.put(&path, &record(1, 1));
    let zxid = Zxid(cluster.node(&path).unwrap().stat.mzxid);
    let waits = fleet.iter_mut().map(async |(_, watch)| {
        let asked = Instant::now();
        let snapshot = watch.wait_for(zxid).await.unwrap();
        assert_eq!(snapshot.len(), 1);
        asked.elapsed()
    });
    let longest = join_all(waits).await.into_iter().max().unwrap();
    assert!(longest < Duration::from_millis(10 + 10), "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_from_a_snapshot_file_reads_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = || Options::default().with_session_timeout(SESSION).with_snapshot_dir(directory.path());
    let world = testing::Registry::with(options(), 1);
    for n in 1..=1_000 {
        world.put(&format!("{ROOT}/h:{n}"), &record(n, 1));
    }
    assert_eq!(world.watch(&service()).live().await.unwrap().len(), 1_000);
    (*world).clone().close(SESSION).await;
    let mut watch = world.sibling_with(options()).watch(&service());
    let opened = Instant::now();
    assert_eq!(watch.live().await.unwrap().len(), 1_000);
    assert!(opened.elapsed() < Duration::from_millis(100), "{:?}", opened.elapsed());
}
