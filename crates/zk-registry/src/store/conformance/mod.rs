//! What the rest of the library relies on, asked of both stores: on every `cargo test` of the one in memory, and by the
//! integration tests of a real ZooKeeper.
//!
//! Each behaviour is an async function that gets a [`World`] and panics. What only the memory store can be made to do (lose
//! exactly that reply) is tested beside it; what belongs to the client crate alone is tested in `zookeeper`.

#![expect(clippy::unwrap_used, reason = "a behaviour that fails panics")]

mod basics;
#[cfg(feature = "testing")]
mod real;
mod sessions;
mod watches;
mod world;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::world::{Process, World};
use super::{Kind, State, States, Store};
use crate::behaviours::behaviours;
use crate::options::Acl;

/// How long anything may take that is not a matter of timeouts.
const SOON: Duration = Duration::from_secs(10);

behaviours! {
    #[cfg(feature = "testing")]
    const ALL: &[real::Behaviour], in memory: super::memory::Memory::new();

    basics:
        a_created_node_can_be_read
        a_kind_of_node_has_its_owner
        a_refusal_has_its_own_word
        a_request_is_ordered_at_the_call
        a_dropped_request_is_executed
        a_multi_is_all_or_nothing
        a_multi_can_replace_a_node
        an_item_that_cannot_be_read_fails_alone
        a_list_has_the_names_and_the_parents_stat
        a_request_that_is_too_large_costs_nothing
        a_creators_node_is_closed_to_others
        a_read_only_node_is_open_for_reading
        an_acl_can_be_read_by_who_may_read_the_node
        an_identity_shows_in_the_schemes
        a_chroot_is_made_and_hidden
        a_container_may_have_children;
    sessions:
        a_session_lists_its_own_ephemerals
        a_close_is_acknowledged_and_takes_the_ephemerals_along
        a_dropped_session_is_closed
        an_aborted_session_is_over_at_once_and_gone_later
        a_session_that_is_over_says_so_for_ever
        a_short_cut_keeps_the_session
        a_request_waits_for_the_connection
        a_request_under_way_is_ambiguous_at_worst
        a_session_that_stays_away_too_long_is_over
        a_close_without_a_connection_is_not_acknowledged
        an_ensemble_out_of_reach_is_named;
    watches:
        a_watch_hears_everything_below_and_nothing_beside
        a_watch_may_come_before_its_node
        a_path_can_be_watched_again_at_once
        a_listing_comes_behind_its_watch
        an_event_is_queued_before_a_later_reply
        an_armed_watch_hears_each_change_once
        nested_watches_hear_of_a_change_once_each
        a_watch_can_be_taken_up_again
        a_watch_says_that_the_session_is_over_and_then_nothing
        an_abort_ends_a_watch_that_is_waited_for;
}

/// Asks a real ZooKeeper, a server at `host:port`.
///
/// # Panics
///
/// When a behaviour fails, after all were tried; the message names those that failed.
#[cfg(feature = "testing")]
pub(crate) async fn ask(server: &str) {
    real::ask(&real::Real::new(server), ALL).await;
}

impl Process {
    async fn open(&self) -> Arc<dyn Store> {
        soon(self.connect.connect()).await.unwrap()
    }
}

/// A session without an identity, whose connection stays.
async fn session(world: &dyn World) -> Arc<dyn Store> {
    world.process(None, "").open().await
}

/// A session, and a persistent node of its own.
async fn workplace(world: &dyn World) -> (Arc<dyn Store>, String) {
    let store = session(world).await;
    let root = world.fresh();
    make(&store, &root, Kind::Persistent).await;
    (store, root)
}

async fn make(store: &Arc<dyn Store>, path: &str, kind: Kind) {
    soon(store.create(path, b"", kind, Acl::Open)).await.unwrap();
}

async fn exists(store: &Arc<dyn Store>, path: &str) -> bool {
    soon(store.read(&[path.to_owned()])).await.unwrap()[0].is_ok()
}

async fn gone(store: &Arc<dyn Store>, path: &str) {
    eventually(async || !exists(store, path).await).await;
}

async fn until(states: &mut dyn States, wanted: impl Fn(State) -> bool) -> State {
    soon(async {
        loop {
            let state = states.changed().await;
            if wanted(state) {
                return state;
            }
        }
    })
    .await
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it takes too long")
}

async fn eventually(condition: impl AsyncFn() -> bool) {
    soon(async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[cfg(test)]
mod memory {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::super::memory::{Cluster, Connector};
    use super::world::{Network, TIMEOUT};
    use super::*;

    /// A cluster in memory.
    pub(super) struct Memory {
        cluster: Cluster,
        names: AtomicU32,
    }

    impl Memory {
        pub(super) fn new() -> Self {
            Self { cluster: Cluster::new(1), names: AtomicU32::new(0) }
        }
    }

    impl World for Memory {
        fn process(&self, user: Option<&str>, chroot: &str) -> Process {
            let connector = self.cluster.connector_as(user, TIMEOUT).with_chroot(chroot);
            Process { connect: Arc::new(connector.clone()), network: Box::new(connector) }
        }

        fn fresh(&self) -> String {
            format!("/conformance-{}", self.names.fetch_add(1, Relaxed))
        }
    }

    impl Network for Connector {
        fn cut(&self) {
            Self::cut(self);
        }

        fn heal(&self) {
            Self::heal(self);
        }
    }
}
