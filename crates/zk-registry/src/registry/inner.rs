//! The state behind a registry.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::slots::Slots;
use crate::discovery::Subscriptions;
use crate::options::Options;
use crate::session::ConnectionState;

/// What the clones of a registry, its guards and its watches share.
pub(super) struct Inner {
    pub(super) options: Options,
    /// Which ZooKeeper it is, for the snapshot files.
    pub(super) cluster: String,
    pub(super) slots: Slots,
    pub(super) views: Arc<Subscriptions>,
    /// The tasks behind the views: the last thing that they do is to write their snapshot files.
    pub(super) drivers: TaskTracker,
    /// The state of the first session.
    pub(super) first: watch::Receiver<ConnectionState>,
    /// The worst state of all sessions.
    pub(super) connection: watch::Receiver<ConnectionState>,
}
