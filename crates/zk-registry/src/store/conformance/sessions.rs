//! Sessions: how they end, and what a lost connection does to them.

use std::time::Duration;

use futures_util::future::join_all;

use super::super::{ConnectFault, End, Fault, Kind, State};
use super::{SOON, World, eventually, exists, gone, make, session, soon, until, workplace};
use crate::options::Acl;

pub(super) async fn a_session_lists_its_own_ephemerals(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let other = session(world).await;
    let paths: Vec<_> = (0..3).map(|n| format!("{root}/{n}")).collect();
    make(&other, &paths[0], Kind::Ephemeral).await;
    make(&store, &paths[1], Kind::Ephemeral).await;
    make(&store, &paths[2], Kind::Ephemeral).await;
    let mut own = soon(store.ephemerals()).await.unwrap();
    own.sort();
    assert_eq!(own, paths[1..]);
}

pub(super) async fn a_close_is_acknowledged_and_takes_the_ephemerals_along(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let store = session(world).await;
    let path = format!("{root}/a");
    make(&store, &path, Kind::Ephemeral).await;
    assert!(soon(store.close(SOON)).await);
    soon(observer.sync(&root)).await.unwrap();
    assert!(!exists(&observer, &path).await);
}

pub(super) async fn a_dropped_session_is_closed(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let store = session(world).await;
    let path = format!("{root}/a");
    make(&store, &path, Kind::Ephemeral).await;
    drop(store);
    let at_once = async { gone(&observer, &path).await };
    tokio::time::timeout(Duration::from_secs(1), at_once).await.expect("sooner than it would have expired");
}

pub(super) async fn an_aborted_session_is_over_at_once_and_gone_later(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let store = session(world).await;
    let path = format!("{root}/a");
    make(&store, &path, Kind::Ephemeral).await;
    let mut states = store.states();
    store.abort();
    store.abort();
    assert_eq!(soon(states.changed()).await, State::Over(End::Closed));
    assert!(exists(&observer, &path).await);
    gone(&observer, &path).await;
}

pub(super) async fn a_session_that_is_over_says_so_for_ever(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let mut early = store.states();
    assert!(soon(store.close(SOON)).await);
    for _ in 0..3 {
        assert_eq!(soon(early.changed()).await, State::Over(End::Closed));
        assert_eq!(soon(store.states().changed()).await, State::Over(End::Closed));
    }
    assert!(matches!(soon(store.read(std::slice::from_ref(&root))).await, Err(Fault::Over)));
    assert!(matches!(soon(store.set(&root, b"", None)).await, Err(Fault::Over)));
    assert!(matches!(soon(store.watch(&root)).await, Err(Fault::Over)));
    assert!(!soon(store.close(SOON)).await, "it was closed before");
    store.abort();
}

pub(super) async fn a_short_cut_keeps_the_session(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let process = world.process(None, "");
    let store = process.open().await;
    let path = format!("{root}/a");
    make(&store, &path, Kind::Ephemeral).await;
    let mut states = store.states();
    for _ in 0..3 {
        process.network.cut();
        assert_eq!(soon(states.changed()).await, State::Disconnected);
        process.network.heal();
        assert_eq!(soon(states.changed()).await, State::Connected);
        assert_eq!(soon(store.ephemerals()).await.unwrap(), [path.as_str()]);
    }
    assert!(exists(&observer, &path).await);
}

pub(super) async fn a_request_waits_for_the_connection(world: &dyn World) {
    let (_, root) = workplace(world).await;
    let process = world.process(None, "");
    let store = process.open().await;
    let mut states = store.states();
    process.network.cut();
    until(&mut *states, |state| state == State::Disconnected).await;
    let create = store.create(&format!("{root}/a"), b"", Kind::Ephemeral, Acl::Open);
    let read = store.read(&[format!("{root}/a")]);
    process.network.heal();
    assert_eq!(soon(create).await.unwrap().owner, store.id());
    assert!(soon(read).await.unwrap()[0].is_ok());
}

pub(super) async fn a_request_under_way_is_ambiguous_at_worst(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let process = world.process(None, "");
    let store = process.open().await;
    let mut states = store.states();
    let paths: Vec<_> = (0..20).map(|n| format!("{root}/{n}")).collect();
    let creates: Vec<_> =
        paths.iter().map(|path| store.create(path, b"", Kind::Ephemeral, Acl::Open)).collect();
    process.network.cut();
    until(&mut *states, |state| state == State::Disconnected).await;
    process.network.heal();
    let created = soon(join_all(creates)).await;
    until(&mut *states, |state| state == State::Connected).await;
    for (path, created) in paths.iter().zip(created) {
        match created {
            Ok(_) => assert!(exists(&observer, path).await),
            Err(Fault::Ambiguous(_)) => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }
}

pub(super) async fn a_session_that_stays_away_too_long_is_over(world: &dyn World) {
    let (observer, root) = workplace(world).await;
    let process = world.process(None, "");
    let store = process.open().await;
    let path = format!("{root}/a");
    make(&store, &path, Kind::Ephemeral).await;
    let mut states = store.states();
    process.network.cut();
    gone(&observer, &path).await;
    process.network.heal();
    let over = until(&mut *states, |state| matches!(state, State::Over(_))).await;
    assert_eq!(over, State::Over(End::Expired));
    assert!(matches!(soon(store.ephemerals()).await, Err(Fault::Over)));

    let next = process.open().await;
    assert_ne!(next.id(), store.id());
    assert!(soon(next.ephemerals()).await.unwrap().is_empty());
}

pub(super) async fn a_close_without_a_connection_is_not_acknowledged(world: &dyn World) {
    let process = world.process(None, "");
    let store = process.open().await;
    let mut states = store.states();
    process.network.cut();
    until(&mut *states, |state| state == State::Disconnected).await;
    assert!(!soon(store.close(Duration::from_millis(200))).await);
    assert!(matches!(soon(states.changed()).await, State::Over(_)));
}

pub(super) async fn an_ensemble_out_of_reach_is_named(world: &dyn World) {
    let process = world.process(None, "");
    process.network.cut();
    let refused = soon(process.connect.connect()).await;
    assert!(matches!(&refused, Err(ConnectFault::Unavailable(why)) if why.contains(':')), "{refused:?}");
    process.network.heal();
    let process = &process;
    eventually(async || process.connect.connect().await.is_ok()).await;
}
