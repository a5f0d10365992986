//! Adopting snapshots beside the calls, also while there are none.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::clients::Clients;
use super::connect::Connect;
use crate::balance::Balancer;
use crate::error::Error;
use crate::resolve::{Closed, ServiceWatch};

/// The half of a [`Balance`](super::Balance) that adopts snapshots. [Run](Self::run) it on a task of your own.
///
/// Dropping it leaves the balance with the instances that it has; a call that finds none then says so.
#[must_use = "a balance without its follower never sees an instance"]
pub struct Follow<C: Connect> {
    pub(super) watch: ServiceWatch,
    pub(super) balancer: Arc<Balancer>,
    pub(super) clients: Arc<Clients<C>>,
    /// Dropped with this: then nothing is followed any more.
    pub(super) news: News,
}

/// Where the follower says what calls cannot see of the balancer.
pub(super) struct News {
    pub(super) cause: Arc<ArcSwapOption<Error>>,
    pub(super) _following: watch::Sender<()>,
}

impl<C: Connect> Follow<C> {
    /// Adopts snapshots until the registry is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the updates for good.
    pub async fn run(mut self) -> Closed {
        loop {
            let snapshot = self.watch.current();
            self.balancer.update(snapshot);
            self.clients.retain(snapshot);
            self.news.cause.store(snapshot.cause().cloned().map(Arc::new));
            if let Err(closed) = self.watch.changed().await {
                return closed;
            }
        }
    }
}

impl<C: Connect> fmt::Debug for Follow<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("watch", &self.watch).finish_non_exhaustive()
    }
}
