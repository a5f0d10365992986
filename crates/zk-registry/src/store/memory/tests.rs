//! What only the memory store can be made to do: faults on command.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::super::{Connect, ConnectFault, End, Event, Fault, Kind, State, States, Store};
use super::*;
use crate::options::Acl;

const T: Duration = Duration::from_secs(10);

async fn world() -> (Cluster, Connector, Arc<dyn Store>) {
    let cluster = Cluster::new(1);
    let connector = cluster.connector(T);
    let store = connector.connect().await.unwrap();
    (cluster, connector, store)
}

async fn make(store: &Arc<dyn Store>, path: &str) {
    store.create(path, b"", Kind::Ephemeral, Acl::Open).await.unwrap();
}

/// The names below the root, but for that of the server's own node.
async fn names(store: &Arc<dyn Store>) -> Vec<String> {
    let (mut names, _) = store.list("/").await.unwrap();
    names.sort();
    assert_eq!(names.pop().as_deref(), Some("zookeeper"));
    names
}

async fn over(states: &mut dyn States) -> End {
    loop {
        if let State::Over(end) = states.changed().await {
            return end;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_deaf_after_a_reconnect_until_it_is_armed_again() {
    let (cluster, connector, store) = world().await;
    let mut watch = store.watch("/a").await.unwrap();
    let mut states = store.states();

    cluster.put("/a/1", b"");
    assert_eq!(watch.next().await, Some(Event::Node("/a".into())));
    assert_eq!(watch.next().await, Some(Event::Node("/a/1".into())));

    connector.blip();
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(states.changed().await, State::Connected);
    cluster.put("/a/2", b"");
    store.rearm("/a").await.unwrap();
    cluster.put("/a/3", b"");
    store.sync("/a").await.unwrap();

    assert_eq!(watch.try_next(), Some(Event::Disconnected));
    assert_eq!(watch.try_next(), Some(Event::Connected));
    assert_eq!(watch.try_next(), Some(Event::Node("/a/3".into())));
    assert_eq!(watch.try_next(), None);
    assert_eq!(cluster.counts().events, 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_hides_an_executed_write_and_a_lost_request_hides_none() {
    let (cluster, _, store) = world().await;
    for (fate, left) in [(Fate::Lost, 0), (Fate::Executed, 1)] {
        cluster.lose_next_write(fate);
        let created = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await;
        assert!(matches!(created, Err(Fault::Ambiguous(_))));
        assert_eq!(store.ephemerals().await.unwrap().len(), left, "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cut_executes_a_prefix_of_what_is_under_way() {
    for (fate, executed) in [(Fate::Lost, 0..=0), (Fate::Executed, 20..=20), (Fate::Random, 0..=20)] {
        let (cluster, connector, store) = world().await;
        cluster.set_fate(fate);
        let creates: Vec<_> =
            (0..20).map(|n| store.create(&format!("/{n:02}"), b"", Kind::Ephemeral, Acl::Open)).collect();
        connector.blip();
        for create in creates {
            assert!(matches!(create.await, Err(Fault::Ambiguous(_))));
        }
        let left = names(&store).await;
        assert!(executed.contains(&left.len()), "{fate:?}: {left:?}");
        assert!(left.iter().enumerate().all(|(n, name)| *name == format!("{n:02}")));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_loses_the_same() {
    async fn lost(seed: u64) -> Vec<String> {
        let cluster = Cluster::new(seed);
        let connector = cluster.connector(T);
        let store = connector.connect().await.unwrap();
        for round in 0..5 {
            let creates: Vec<_> = (0..9)
                .map(|n| store.create(&format!("/{round}{n}"), b"", Kind::Ephemeral, Acl::Open))
                .collect();
            connector.blip();
            futures_util::future::join_all(creates).await;
        }
        cluster.dump().into_keys().collect()
    }
    assert_eq!(lost(7).await, lost(7).await);
    assert_ne!(lost(7).await, lost(8).await);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_network_is_noticed_after_the_connection_timeout() {
    let (cluster, connector, store) = world().await;
    make(&store, "/a").await;
    let mut states = store.states();
    connector.freeze();
    let frozen = Instant::now();
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(frozen.elapsed(), store.connection_timeout());
    assert_eq!(over(&mut *states).await, End::Expired);
    assert_eq!(frozen.elapsed(), T * 7 / 5);
    assert!(cluster.node("/a").is_none(), "the server had given it up before");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_that_ends_in_time_is_not_noticed() {
    let (_, connector, store) = world().await;
    let mut states = store.states();
    connector.freeze();
    let read = store.list("/");
    sleep(store.connection_timeout() / 2).await;
    connector.heal();
    read.await.unwrap();
    assert!(timeout(T * 2, states.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_session_comes_back_until_the_server_has_expired_it() {
    let (cluster, connector, store) = world().await;
    make(&store, "/a").await;
    let mut states = store.states();
    connector.cut_for(T - Duration::from_secs(1));
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(states.changed().await, State::Connected);
    assert!(cluster.node("/a").is_some());
    connector.cut_for(T + Duration::from_secs(1));
    assert_eq!(over(&mut *states).await, End::Expired);
    assert!(cluster.node("/a").is_none());
    assert_eq!(connector.session(), Some(store.id()));
}

#[tokio::test(start_paused = true)]
async fn servers_that_stop_do_not_count_the_time() {
    let (cluster, connector, store) = world().await;
    make(&store, "/a").await;
    let mut states = store.states();
    cluster.stop();
    assert!(matches!(connector.connect().await, Err(ConnectFault::Unavailable(_))));
    assert_eq!(over(&mut *states).await, End::Expired);
    cluster.start();
    assert!(cluster.node("/a").is_some(), "a zombie: its client has given it up");
    let next = connector.connect().await.unwrap();
    assert!(matches!(next.create("/a", b"", Kind::Ephemeral, Acl::Open).await, Err(Fault::NodeExists)));
    sleep(T + Duration::from_secs(1)).await;
    assert!(cluster.node("/a").is_none());

    let mut states = next.states();
    make(&next, "/b").await;
    cluster.restart();
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(states.changed().await, State::Connected);
    assert_eq!(next.ephemerals().await.unwrap(), ["/b"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_session_is_thrown_out() {
    let (cluster, _, store) = world().await;
    make(&store, "/a").await;
    let mut states = store.states();
    cluster.expire(store.id());
    assert!(cluster.node("/a").is_none());
    assert_eq!(over(&mut *states).await, End::Expired);
}

#[tokio::test(start_paused = true)]
async fn what_an_expired_session_had_under_way_is_not_executed() {
    let (cluster, _, store) = world().await;
    cluster.set_fate(Fate::Executed);
    let create = store.create("/a", b"", Kind::Ephemeral, Acl::Open);
    cluster.expire(store.id());
    assert!(matches!(create.await, Err(Fault::Ambiguous(_))));
    assert!(cluster.node("/a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_over_for_its_client_alone() {
    let (cluster, connector, store) = world().await;
    make(&store, "/a").await;
    connector.expire_locally();
    assert_eq!(store.states().changed().await, State::Over(End::Expired));
    assert!(cluster.node("/a").is_some());
    sleep(T + Duration::from_secs(1)).await;
    assert!(cluster.node("/a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_replaced_in_silence() {
    let (cluster, connector, store) = world().await;
    make(&store, "/a").await;
    let mut states = store.states();
    cluster.replace_sessions(true);
    connector.cut_for(T + Duration::from_secs(1));
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(states.changed().await, State::Connected);
    assert!(store.ephemerals().await.unwrap().is_empty());
    let stat = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await.unwrap();
    assert_ne!(stat.owner, store.id());
}

#[tokio::test(start_paused = true)]
async fn a_lagging_server_shows_the_past_until_a_sync() {
    let (cluster, connector, store) = world().await;
    let mut watch = store.watch("/").await.unwrap();
    connector.lag();
    cluster.put("/a", b"");
    assert!(names(&store).await.is_empty());
    assert_eq!(watch.try_next(), None);
    store.sync("/").await.unwrap();
    assert_eq!(watch.try_next(), Some(Event::Node("/a".into())));
    assert_eq!(names(&store).await, ["a"]);

    connector.lag();
    cluster.put("/b", b"");
    assert!(matches!(store.create("/b", b"", Kind::Persistent, Acl::Open).await, Err(Fault::NodeExists)));
}

#[tokio::test(start_paused = true)]
async fn an_empty_container_is_reaped_once_it_had_a_child() {
    let (cluster, _, store) = world().await;
    cluster.set_container_check(Duration::from_secs(5));
    for path in ["/never-used", "/used"] {
        store.create(path, b"", Kind::Container, Acl::Open).await.unwrap();
    }
    let mut watch = store.watch("/used").await.unwrap();
    make(&store, "/used/a").await;
    store.delete("/used/a", None).await.unwrap();
    let emptied = Instant::now();
    for _ in 0..2 {
        assert_eq!(watch.next().await, Some(Event::Node("/used/a".into())));
    }
    assert_eq!(watch.next().await, Some(Event::Node("/used".into())));
    assert!(emptied.elapsed() >= Duration::from_secs(4));
    assert_eq!(names(&store).await, ["never-used"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_process_learns_why() {
    let (_, connector, _store) = world().await;
    connector.refuse(Some(ConnectFault::Auth("no".to_owned())));
    assert!(matches!(connector.connect().await, Err(ConnectFault::Auth(_))));
    connector.refuse(None);
    assert!(connector.connect().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_node_that_may_not_be_read_is_not_told() {
    let (cluster, _, store) = world().await;
    let mut watch = store.watch("/").await.unwrap();
    let secret = Foreign { session: 7, user: Some("other"), acl: Acl::Creator };
    cluster.put_as("/secret", b"", secret);
    cluster.put_as("/secret", b"changed", secret);
    store.sync("/").await.unwrap();
    assert_eq!(watch.try_next(), None);
    assert_eq!(names(&store).await, ["secret"]);
    assert_eq!(cluster.node("/secret").unwrap().stat.owner, 7);
}

#[tokio::test(start_paused = true)]
async fn requests_take_the_latency_and_stay_in_order() {
    let (cluster, _, store) = world().await;
    cluster.set_latency(Duration::from_millis(100));
    let asked = Instant::now();
    let first = store.create("/a", b"", Kind::Ephemeral, Acl::Open);
    cluster.set_latency(Duration::from_millis(10));
    let second = store.read(&["/a".to_owned()]);
    first.await.unwrap();
    assert!(second.await.unwrap()[0].is_ok());
    assert!(asked.elapsed() >= Duration::from_millis(55));
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_retried_after_the_delay() {
    let (cluster, connector, store) = world().await;
    cluster.set_reconnect_delay(Duration::from_secs(3));
    let mut states = store.states();
    let lost = Instant::now();
    connector.blip();
    while states.changed().await != State::Connected {}
    assert_eq!(lost.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_is_seen_after_the_reconnect_and_not_before() {
    let (cluster, connector, store) = world().await;
    cluster.set_fate(Fate::Delayed(Duration::from_secs(1)));
    let mut states = store.states();
    let create = store.create("/a", b"", Kind::Ephemeral, Acl::Open);
    connector.blip();
    assert!(matches!(create.await, Err(Fault::Ambiguous(_))));
    while states.changed().await != State::Connected {}
    assert!(store.ephemerals().await.unwrap().is_empty());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(store.ephemerals().await.unwrap(), ["/a"]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_is_ordered_before_a_sync_and_before_a_later_transaction() {
    for sync in [true, false] {
        let (cluster, _, store) = world().await;
        let path = ["/a".to_owned()];
        cluster.lose_next_write(Fate::Delayed(T));
        let created = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await;
        assert!(matches!(created, Err(Fault::Ambiguous(_))));
        assert!(matches!(store.read(&path).await.unwrap()[..], [Err(Fault::NoNode)]));
        if sync {
            store.sync("/").await.unwrap();
            assert!(store.read(&path).await.unwrap()[0].is_ok());
        } else {
            let again = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await;
            assert!(matches!(again, Err(Fault::NodeExists)));
        }
        assert_eq!(cluster.node("/a").unwrap().stat.owner, store.id());
    }
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_of_a_session_that_has_ended_is_not_executed() {
    let (cluster, connector, store) = world().await;
    cluster.set_fate(Fate::Delayed(T * 2));
    let create = store.create("/a", b"", Kind::Ephemeral, Acl::Open);
    connector.cut();
    create.await.unwrap_err();
    sleep(T * 3).await;
    assert!(cluster.node("/a").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_greeted_connection_dies_unanswered_and_no_other_comes() {
    let (cluster, connector, store) = world().await;
    cluster.set_fate(Fate::Lost);
    let mut states = store.states();
    connector.greet_and_cut();
    assert_eq!(states.changed().await, State::Disconnected);
    assert_eq!(states.changed().await, State::Connected);
    assert!(matches!(store.ephemerals().await, Err(Fault::Ambiguous(_))));
    assert_eq!(states.changed().await, State::Disconnected);
    assert!(connector.connect().await.is_err());
    assert_eq!(over(&mut *states).await, End::Expired);
    connector.heal();
    assert!(connector.connect().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_can_be_refused_for_a_while() {
    let (cluster, _, store) = world().await;
    cluster.refuse_writes_for(Duration::from_secs(5), Fault::NoAuth);
    cluster.refuse_reads_for(Duration::from_secs(1), Fault::Definite("quota".to_owned()));
    for _ in 0..3 {
        let refused = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await;
        assert!(matches!(refused, Err(Fault::NoAuth)));
        assert!(matches!(store.list("/").await, Err(Fault::Definite(_))));
    }
    sleep(Duration::from_secs(1)).await;
    assert!(names(&store).await.is_empty());
    sleep(Duration::from_secs(4)).await;
    make(&store, "/a").await;
}
