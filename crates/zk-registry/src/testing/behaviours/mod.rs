//! What a user relies on, asked of both worlds: of [`testing::Registry`](crate::testing::Registry) on every `cargo test`, and
//! by the integration tests of a real ZooKeeper, through a network that breaks.
//!
//! Each behaviour is an async function that gets a [`World`] and panics. Whatever it knows it knows by the public interface;
//! what only one of the worlds can be made to do is tested elsewhere.

#![expect(clippy::unwrap_used, reason = "a behaviour that fails panics")]

mod consumers;
#[cfg(test)]
mod memory;
mod readers;
mod registrants;

use std::future::Future;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use tokio::time::timeout;

use crate::behaviours::behaviours;
use crate::instance::ServiceName;
use crate::registry::Registry;
use crate::resolve::ServiceWatch;
use crate::session::ConnectionState;
use crate::snapshot::{Freshness, Snapshot};

/// A ZooKeeper, and processes that use it.
pub trait World {
    /// A process of its own, with a network of its own.
    fn process(&self) -> LocalBoxFuture<'_, Process>;
    /// The name of a service that no other behaviour uses, and that was not created.
    fn service(&self) -> ServiceName;
    /// Writes a persistent node below the root of the registries, as an operator would; its parent exists.
    fn put<'a>(&'a self, path: &'a str, data: &'a [u8]) -> LocalBoxFuture<'a, ()>;
    /// Deletes a node in the same way.
    fn delete<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, ()>;
}

/// A registry, and what can happen to its network.
#[expect(missing_debug_implementations, reason = "a network is anything")]
pub struct Process {
    /// The registry.
    pub registry: Registry,
    /// Its network.
    pub network: Box<dyn Network>,
}

/// The network between one process and ZooKeeper.
pub trait Network {
    /// Ends the connection, and lets none come up.
    fn cut(&self) -> LocalBoxFuture<'_, ()>;
    /// Ends a cut.
    fn heal(&self) -> LocalBoxFuture<'_, ()>;
    /// Has the session lost; when it returns, another one may be opened.
    fn expire(&self) -> LocalBoxFuture<'_, ()>;
}

/// A behaviour, and its name.
pub type Behaviour = (&'static str, for<'a> fn(&'a dyn World) -> LocalBoxFuture<'a, ()>);

/// How long anything may take that is not a matter of timeouts; longer than any session of a world.
const SOON: Duration = Duration::from_secs(20);

behaviours! {
    /// All of them.
    pub const ALL: &[Behaviour], in memory: super::memory::Memory::new();

    registrants:
        a_registered_instance_is_seen_by_others
        a_withdrawn_instance_is_gone
        a_dropped_registration_is_gone
        an_update_is_no_membership_event
        a_short_cut_writes_nothing
        a_lost_session_registers_again
        who_stays_away_past_his_session_is_unlisted_and_comes_back
        a_second_registry_with_the_same_id_waits_for_the_first
        an_instance_that_an_operator_deleted_is_back
        a_closed_registry_leaves_nothing_behind;
    readers:
        which_services_exist_is_seen_beside_a_watch_of_one_of_them
        waiting_for_a_write_shows_it
        a_service_that_nobody_created_is_live_and_empty_and_fills
        an_outage_keeps_the_instances_and_says_since_when
        what_changed_during_an_outage_is_seen_after_it
        a_malformed_child_is_rejected_and_its_neighbours_are_served;
    consumers:
        ranks_are_the_lowest_free_ones_and_are_kept_over_a_lost_session
        a_rank_that_another_client_took_is_left_to_it;
}

impl Process {
    /// Waits until the connection is as wanted.
    async fn connection(&self, wanted: impl FnMut(&ConnectionState) -> bool) {
        soon(self.registry.connection().wait_for(wanted)).await.unwrap();
    }
}

/// Waits until the watch shows what is wanted.
async fn shows(watch: &mut ServiceWatch, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    soon(async {
        while !wanted(watch.current()) {
            watch.changed().await.unwrap();
        }
        watch.current().clone()
    })
    .await
}

fn is_stale(snapshot: &Snapshot) -> bool {
    matches!(snapshot.freshness(), Freshness::Stale { .. })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it takes too long")
}
