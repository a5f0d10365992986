//! The ranks of the clients of a service, taken from ZooKeeper: 0, 1, 2 ... without gaps, so that a
//! [`Subset`](crate::balance::strategy::Subset) of each client loads all instances alike.
//!
//! A directory of consumers has a slot for each of them, an ephemeral node whose name is the rank. Nobody watches it: ten thousand
//! clients that hear of each other would be 10^8 events for each of their restarts. How many there are is asked now and then.

mod slot;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::slot::Slot;
use crate::backoff::{Backoff, jittered};
use crate::balance::strategy::Rank;
use crate::error::{Error, ErrorKind};
use crate::instance::ServiceName;
use crate::registry::Registry;

/// A rank that this process has among the consumers of a service, until this guard is dropped.
///
/// It is kept over lost connections and sessions. Only when another client took it after the session had expired, the lowest
/// one that is free then is taken instead, which [`rank`](Self::rank) says from then on.
#[must_use = "dropping it frees the rank"]
pub struct TakenRank {
    rank: Rank,
    _keeper: DropGuard,
}

/// How often it is asked how many consumers there are; a quarter more or less.
const INTERVAL: Duration = Duration::from_secs(30);

impl Registry {
    /// Takes the lowest free rank among the consumers, and keeps it until the guard is dropped. Of many clients that begin at once
    /// each takes one of the lowest.
    ///
    /// `consumers` names the directory of their slots, beside those of the services: for those of `time` perhaps `time-consumers`.
    /// It needs a format that names a node as its instance, such as `curator` and `json`. Waits for as long as ZooKeeper cannot be reached.
    ///
    /// How many consumers there are is asked every 30 s, give or take a quarter: one request of which the reply is a few hundred bytes,
    /// whatever their number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] when the format names nodes otherwise; else as [`Registry::lookup`] and
    /// [`Registration::registered`](crate::Registration::registered).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future frees what it had taken.
    pub async fn take_rank(&self, consumers: &ServiceName) -> Result<TakenRank, Error> {
        let cancelled = CancellationToken::new();
        let keeper = cancelled.clone().drop_guard();
        let (taken, answer) = oneshot::channel();
        let (registry, consumers) = (self.clone(), consumers.clone());
        self.spawn(async move {
            let keeping = keep(&registry, &consumers, taken);
            tokio::select! {
                biased;
                () = cancelled.cancelled() => {}
                () = keeping => {}
            }
        });
        let closed = || Error::new(ErrorKind::Closed, "the registry was closed");
        let rank = answer.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(TakenRank { rank, _keeper: keeper })
    }
}

impl TakenRank {
    /// The rank, for a [`Subset`](crate::balance::strategy::Subset); it follows what is known here.
    pub fn rank(&self) -> Rank {
        self.rank.clone()
    }
}

impl fmt::Debug for TakenRank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakenRank").field("rank", &self.rank).finish_non_exhaustive()
    }
}

/// Takes a slot, tells its rank, and keeps it; ends when the registry is closed.
async fn keep(registry: &Registry, consumers: &ServiceName, taken: oneshot::Sender<Result<Rank, Error>>) {
    let mut slot = match Slot::take(registry, consumers).await {
        Ok(slot) => slot,
        // Nothing to tell when nothing waits for it any more.
        Err(error) => return drop(taken.send(Err(error))),
    };
    let rank = Rank::new(slot.rank());
    ask(registry, consumers, &rank).await;
    if taken.send(Ok(rank.clone())).is_err() {
        return;
    }
    let mut backoff = Backoff::new(Duration::from_secs(1), INTERVAL);
    loop {
        let pause = jittered(INTERVAL, &mut rand::rng());
        let end = tokio::select! {
            end = slot.ended() => end,
            () = tokio::time::sleep(pause) => {
                ask(registry, consumers, &rank).await;
                continue;
            }
        };
        if end.kind() == ErrorKind::Closed {
            return;
        }
        tracing::warn!(%consumers, rank = slot.rank(), reason = %end, "the rank among the consumers is lost; another one is taken");
        slot = loop {
            match Slot::take(registry, consumers).await {
                Ok(slot) => break slot,
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(_) => {
                    let delay = backoff.delay(&mut rand::rng());
                    tokio::time::sleep(delay).await;
                }
            }
        };
        backoff.reset();
        rank.set(slot.rank());
    }
}

/// Asks how many consumers there are. Where there is no answer the last one holds.
async fn ask(registry: &Registry, consumers: &ServiceName, rank: &Rank) {
    if let Some(clients) = slot::count(registry, consumers).await.ok().and_then(NonZeroU32::new) {
        rank.set_clients(clients);
    }
}
