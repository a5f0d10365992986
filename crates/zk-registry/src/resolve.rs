//! The seam between finding instances and using them: [`Resolve`] gives a [`ServiceWatch`] of snapshots.

use std::fmt;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::instance::ServiceName;
use crate::snapshot::{Freshness, Snapshot, Zxid};

/// Finds the instances of a service. Starting is synchronous and cannot fail: "ZooKeeper is down" is a state of the
/// snapshot.
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// A live view of the service.
    fn watch(&self, service: &ServiceName) -> ServiceWatch;
}

/// The view will not change any more: its registry was closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registry behind this watch was closed")
    }
}

impl std::error::Error for Closed {}

/// A live view of one service: always the latest snapshot, never a queue. A slow consumer skips.
#[derive(Clone, Debug)]
pub struct ServiceWatch {
    snapshots: watch::Receiver<Snapshot>,
    current: Snapshot,
}

/// The writing half of a [`ServiceWatch`], for those who implement [`Resolve`].
#[derive(Debug)]
pub struct SnapshotSender {
    snapshots: watch::Sender<Snapshot>,
}

impl SnapshotSender {
    /// Publishes a snapshot to every watch of this channel.
    pub fn send(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(snapshot);
    }
}

impl ServiceWatch {
    /// A channel of snapshots that begins with `first`.
    pub fn channel(first: Snapshot) -> (SnapshotSender, Self) {
        let (sender, receiver) = watch::channel(first.clone());
        (SnapshotSender { snapshots: sender }, Self { snapshots: receiver, current: first })
    }

    /// The latest snapshot. Costs a few nanoseconds and allocates nothing while there is no newer one.
    pub fn current(&mut self) -> &Snapshot {
        if self.snapshots.has_changed().unwrap_or(false) {
            self.current = self.snapshots.borrow_and_update().clone();
        }
        &self.current
    }

    /// Waits for a snapshot newer than the one last seen through this watch.
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
    pub async fn ready(&mut self) -> Result<&Snapshot, Closed> {
        while self.current().freshness() == Freshness::Pending {
            self.changed().await?;
        }
        Ok(self.current())
    }

    /// Waits for a [`Freshness::Live`] snapshot.
    pub async fn live(&mut self) -> Result<&Snapshot, Closed> {
        while self.current().freshness() != Freshness::Live {
            self.changed().await?;
        }
        Ok(self.current())
    }

    /// Waits for a snapshot that holds every change up to `zxid`.
    pub async fn wait_for(&mut self, zxid: Zxid) -> Result<&Snapshot, Closed> {
        while self.current().watermark() < zxid {
            self.changed().await?;
        }
        Ok(self.current())
    }

    /// How fresh the latest snapshot is, judged at `now`.
    pub fn freshness(&mut self, now: Instant) -> Freshness {
        let _ = now;
        self.current().freshness()
    }
}
