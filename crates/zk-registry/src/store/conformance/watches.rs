//! Watches: what they hear, when, and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::super::{Event, Fault, Kind, State, Watch};
use super::{SOON, World, make, session, soon, until, workplace};
use crate::options::Acl;

fn node(path: &str) -> Option<Event> {
    Some(Event::Node(path.to_owned()))
}

/// What is queued, counted by path; other events are left out.
fn queued(watch: &mut Box<dyn Watch>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    while let Some(event) = watch.try_next() {
        if let Event::Node(path) = event {
            *counts.entry(path).or_default() += 1;
        }
    }
    counts
}

pub(super) async fn a_watch_hears_everything_below_and_nothing_beside(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let (a, beside, deep) = (format!("{root}/a"), format!("{root}/ab"), format!("{root}/a/b"));
    let mut watch = soon(store.watch(&a)).await.unwrap();
    make(&store, &beside, Kind::Persistent).await;
    make(&store, &a, Kind::Persistent).await;
    make(&store, &deep, Kind::Ephemeral).await;
    soon(store.set(&deep, b"x", None)).await.unwrap();
    soon(store.delete(&deep, None)).await.unwrap();
    soon(store.set(&root, b"x", None)).await.unwrap();
    for expected in [&a, &deep, &deep, &deep] {
        assert_eq!(soon(watch.next()).await, node(expected));
    }
    soon(store.sync(&root)).await.unwrap();
    assert_eq!(watch.try_next(), None);
}

pub(super) async fn a_watch_may_come_before_its_node(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let path = format!("{root}/a");
    let mut watch = soon(store.watch(&path)).await.unwrap();
    for _ in 0..2 {
        make(&store, &path, Kind::Persistent).await;
        soon(store.delete(&path, None)).await.unwrap();
    }
    assert_eq!(queued(&mut watch), BTreeMap::from([(path, 4)]));
}

/// The client crate (0.11.2) reads freed memory when a watch is asked for while events of an earlier one on the same path are
/// still under way, unless our store keeps the two apart: valgrind sees it here.
pub(super) async fn a_path_can_be_watched_again_at_once(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let stirrer = session(world).await;
    for _ in 0..50 {
        let given_up = soon(store.watch(&root)).await.unwrap();
        let stirred = (0..100).map(|_| stirrer.set(&root, b"", None)).collect::<FuturesUnordered<_>>();
        let first = soon(stirred.into_future()).await;
        drop(given_up);
        let mut watch = soon(store.watch(&root)).await.unwrap();
        soon(first.1.count()).await;
        soon(store.sync(&root)).await.unwrap();
        queued(&mut watch);
        soon(store.set(&root, b"x", None)).await.unwrap();
        assert_eq!(queued(&mut watch), BTreeMap::from([(root.clone(), 1)]));
    }
}

/// What is not in the listing is an event, also where an earlier watch of the session has to be forgotten first.
pub(super) async fn a_listing_comes_behind_its_watch(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let maker = session(world).await;
    for round in 0..20 {
        drop(soon(store.watch(&format!("{root}/else-{round}"))).await.unwrap());
        let paths: Vec<_> = (0..50).map(|n| format!("{root}/{round}-{n}")).collect();
        let made = paths.iter().map(|path| maker.create(path, b"", Kind::Persistent, Acl::Open));
        let made = made.collect::<FuturesUnordered<_>>();
        let (watch, listing) = soon(store.watch_and_list(&root)).await.unwrap();
        let (mut watch, (names, _)) = (watch, listing.unwrap());
        assert_eq!(soon(made.count()).await, paths.len());
        soon(store.sync(&root)).await.unwrap();
        let heard = queued(&mut watch);
        let missed = |path: &&String| {
            let name = path.strip_prefix(&root).and_then(|name| name.strip_prefix('/')).unwrap();
            !heard.contains_key(*path) && !names.iter().any(|listed| listed == name)
        };
        assert_eq!(paths.iter().find(missed), None, "round {round}");
    }
    let (_, nothing) = soon(store.watch_and_list(&format!("{root}/nothing"))).await.unwrap();
    assert!(matches!(nothing, Err(Fault::NoNode)), "{nothing:?}");
}

pub(super) async fn an_event_is_queued_before_a_later_reply(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let other = session(world).await;
    let mut watch = soon(store.watch(&root)).await.unwrap();
    for n in 0..50 {
        // Its own change, and one that is known to be there.
        let (own, foreign) = (format!("{root}/own-{n}"), format!("{root}/foreign-{n}"));
        make(&store, &own, Kind::Persistent).await;
        assert_eq!(watch.try_next(), node(&own));
        make(&other, &foreign, Kind::Persistent).await;
        soon(store.sync(&root)).await.unwrap();
        assert_eq!(watch.try_next(), node(&foreign));
    }
}

pub(super) async fn an_armed_watch_hears_each_change_once(world: &dyn World) {
    let (other, root) = workplace(world).await;
    let process = world.process(None, "");
    let store = process.open().await;
    let mut states = store.states();
    let mut watch = soon(store.watch(&root)).await.unwrap();
    for n in 0..3 {
        process.network.cut();
        until(&mut *states, |state| state == State::Disconnected).await;
        make(&other, &format!("{root}/missed-{n}"), Kind::Persistent).await;
        process.network.heal();
        until(&mut *states, |state| state == State::Connected).await;
        for _ in 0..=n {
            soon(store.rearm(&root)).await.unwrap();
        }
        assert_eq!(watch.try_next(), Some(Event::Disconnected));
        assert_eq!(watch.try_next(), Some(Event::Connected));
        assert_eq!(watch.try_next(), None);
        let path = format!("{root}/{n}");
        make(&other, &path, Kind::Persistent).await;
        soon(store.sync(&root)).await.unwrap();
        assert_eq!(queued(&mut watch), BTreeMap::from([(path, 1)]));
    }
}

pub(super) async fn nested_watches_hear_of_a_change_once_each(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let inner = format!("{root}/a");
    let mut outer_watch = soon(store.watch(&root)).await.unwrap();
    let mut inner_watch = soon(store.watch(&inner)).await.unwrap();
    let mut twin_watch = soon(store.watch(&inner)).await.unwrap();
    make(&store, &inner, Kind::Persistent).await;
    for watch in [&mut outer_watch, &mut inner_watch, &mut twin_watch] {
        assert_eq!(queued(watch), BTreeMap::from([(inner.clone(), 1)]));
    }
    drop(twin_watch);
    soon(store.set(&inner, b"x", None)).await.unwrap();
    drop(inner_watch);
    soon(store.set(&inner, b"y", None)).await.unwrap();
    soon(store.sync(&root)).await.unwrap();
    assert_eq!(queued(&mut outer_watch), BTreeMap::from([(inner, 2)]));
}

pub(super) async fn a_watch_can_be_taken_up_again(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let other = session(world).await;
    for n in 0..30 {
        let mut watch = soon(store.watch(&root)).await.unwrap();
        let rearmed = store.rearm(&root);
        // Changes are under way while the watch comes and goes.
        let changes: Vec<_> = (0..5).map(|_| other.set(&root, b"", None)).collect();
        if n % 3 == 0 {
            drop(watch);
            soon(rearmed).await.unwrap();
            continue;
        }
        soon(rearmed).await.unwrap();
        for change in changes {
            soon(change).await.unwrap();
        }
        soon(store.sync(&root)).await.unwrap();
        assert!(queued(&mut watch)[&root] >= 5);
    }
}

pub(super) async fn a_watch_says_that_the_session_is_over_and_then_nothing(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let mut watch = soon(store.watch(&root)).await.unwrap();
    let mut untouched = soon(store.watch(&root)).await.unwrap();
    assert!(soon(store.close(SOON)).await);
    assert_eq!(soon(watch.next()).await, Some(Event::Over));
    for _ in 0..3 {
        assert_eq!(soon(watch.next()).await, None);
        assert_eq!(watch.try_next(), None);
    }
    drop(store);
    assert_eq!(untouched.try_next(), Some(Event::Over));
    assert_eq!(untouched.try_next(), None);
}

pub(super) async fn an_abort_ends_a_watch_that_is_waited_for(world: &dyn World) {
    let (store, root) = workplace(world).await;
    let mut watch = soon(store.watch(&root)).await.unwrap();
    let waiting = tokio::spawn(async move { (watch.next().await, watch.next().await) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.abort();
    assert_eq!(soon(waiting).await.unwrap(), (Some(Event::Over), None));
}
