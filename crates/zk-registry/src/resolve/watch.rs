//! The watch of one service: always the latest snapshot.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::session::last_heard::LastHeard;
use crate::snapshot::{Freshness, Snapshot, Zxid};

/// The view will not change any more: its registry was closed, or has failed for the [cause](Snapshot::cause) that the last
/// snapshot states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registry behind this watch was closed")
    }
}

impl std::error::Error for Closed {}

impl From<Closed> for Error {
    fn from(closed: Closed) -> Self {
        Self::new(ErrorKind::Closed, closed.to_string())
    }
}

/// A live view of one service: always the latest snapshot, never a queue. A slow consumer skips what it was too slow for,
/// and slows no other consumer down.
#[derive(Clone)]
pub struct ServiceWatch {
    snapshots: watch::Receiver<Snapshot>,
    current: Snapshot,
    /// Where to say what is waited for.
    wanted: Option<mpsc::UnboundedSender<Waiter>>,
    heard: Option<LastHeard>,
    /// The watch keeps its registry alive.
    _registry: Option<Arc<dyn Any + Send + Sync>>,
}

/// The writing half of a [`ServiceWatch`], for those who implement [`Resolve`](crate::Resolve).
#[derive(Debug)]
pub struct SnapshotSender {
    snapshots: watch::Sender<Snapshot>,
}

impl SnapshotSender {
    /// Publishes a snapshot to every watch of this channel.
    pub fn send(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(snapshot);
    }

    /// Waits until the last watch is dropped: no snapshot is needed any more.
    pub async fn closed(&self) {
        self.snapshots.closed().await;
    }
}

impl ServiceWatch {
    /// A channel of snapshots that begins with `first`.
    pub fn channel(first: Snapshot) -> (SnapshotSender, Self) {
        let (sender, snapshots) = watch::channel(first.clone());
        let watch = Self { snapshots, current: first, wanted: None, heard: None, _registry: None };
        (SnapshotSender { snapshots: sender }, watch)
    }

    pub(crate) fn new(
        mut snapshots: watch::Receiver<Snapshot>,
        wanted: mpsc::UnboundedSender<Waiter>,
        heard: LastHeard,
        registry: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        let current = snapshots.borrow_and_update().clone();
        Self { snapshots, current, wanted: Some(wanted), heard: Some(heard), _registry: Some(registry) }
    }

    /// The latest snapshot. Costs a few nanoseconds and allocates nothing while there is no newer one.
    pub fn current(&mut self) -> &Snapshot {
        // A closed channel may still hold a snapshot that was not seen.
        if self.snapshots.has_changed().unwrap_or(true) {
            self.current = self.snapshots.borrow_and_update().clone();
        }
        &self.current
    }

    /// Waits for a snapshot newer than the one last seen through this watch.
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<&Snapshot, Closed> {
        self.snapshots.changed().await.map_err(|_| Closed)?;
        // `changed` has marked it as seen, so that `current` alone would not take it.
        self.current = self.snapshots.borrow_and_update().clone();
        Ok(&self.current)
    }

    /// Waits until something is known: a snapshot that is not [`Freshness::Pending`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] when there will be none, or the cause for which the registry has failed;
    /// [`ErrorKind::AuthFailed`] while no server takes our credentials: the watch goes on, and can be waited for again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn ready(&mut self) -> Result<&Snapshot, Error> {
        self.until(|snapshot| snapshot.freshness() != Freshness::Pending).await
    }

    /// Waits for a [`Freshness::Live`] snapshot.
    ///
    /// # Errors
    ///
    /// As those of [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn live(&mut self) -> Result<&Snapshot, Error> {
        self.until(|snapshot| snapshot.freshness() == Freshness::Live).await
    }

    /// Waits for a snapshot that holds every change up to `zxid`, such as the one that
    /// [`Registration::registered`](crate::Registration::registered) returned. The absence of an instance is awaited by
    /// its absence, not by a zxid.
    ///
    /// A zxid that ZooKeeper has not reached yet, or that is another ZooKeeper's, is not waited for: then the snapshot holds
    /// every change that was acknowledged before the call. A watch by [`channel`](Self::channel) waits for a snapshot whose
    /// [`watermark`](Snapshot::watermark) is that high.
    ///
    /// # Errors
    ///
    /// As those of [`ready`](Self::ready).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn wait_for(&mut self, zxid: Zxid) -> Result<&Snapshot, Error> {
        if self.current().watermark() < zxid
            && let Some(wanted) = &self.wanted
        {
            let (done, published) = oneshot::channel();
            // A view that has ended drops the waiter, and says so to `until`.
            let _ = wanted.send(Waiter { zxid, done });
            if published.await.is_ok() {
                return Ok(self.current());
            }
        }
        self.until(|snapshot| snapshot.watermark() >= zxid).await
    }

    /// How fresh the latest snapshot is, judged at `now`: also `Stale` when the background task that would say so has not
    /// run for half a connection timeout.
    pub fn freshness(&mut self, now: Instant) -> Freshness {
        let published = self.current().freshness();
        self.heard.as_ref().map_or(published, |heard| heard.judge(published, now))
    }

    async fn until(&mut self, enough: impl Fn(&Snapshot) -> bool) -> Result<&Snapshot, Error> {
        while !enough(self.current()) {
            if let Some(refused) = self.current.cause().filter(|cause| cause.kind() == ErrorKind::AuthFailed)
            {
                return Err(refused.clone());
            }
            if let Err(closed) = self.changed().await {
                return Err(self.current().cause().cloned().unwrap_or_else(|| closed.into()));
            }
        }
        Ok(&self.current)
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").field("current", &self.current).finish_non_exhaustive()
    }
}

/// A call that waits for every change up to a zxid.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) zxid: Zxid,
    /// Told once a snapshot with all of them is published.
    pub(crate) done: oneshot::Sender<()>,
}
