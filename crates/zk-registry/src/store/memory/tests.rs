//! What only the memory store has: faults on command.

use std::time::Duration;

use super::super::{Connect, Event, Fault, Kind, State};
use super::*;
use crate::connect::Acl;

const T: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_watch_is_deaf_after_a_reconnect_until_it_is_armed_again() {
    let cluster = Cluster::new(1);
    let connector = cluster.connector(T);
    let store = connector.connect().await.unwrap();
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
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_hides_an_executed_create() {
    let cluster = Cluster::new(1);
    let store = cluster.connector(T).connect().await.unwrap();
    cluster.lose_next_write(Fate::Executed);
    let created = store.create("/a", b"", Kind::Ephemeral, Acl::Open).await;
    assert!(matches!(created, Err(Fault::Ambiguous(_))));
    assert_eq!(store.ephemerals().await.unwrap(), ["/a"]);
}
