//! The views of one registry: many watches of one service share one, and it ends with the last of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::instance::ServiceName;
use crate::snapshot::{Snapshot, Zxid};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Views(Mutex<HashMap<ServiceName, Channel>>);

/// Both ways between a view and its watches.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) snapshots: watch::Sender<Snapshot>,
    pub(crate) wanted: mpsc::UnboundedSender<Wish>,
}

/// Somebody waits for every change up to a zxid.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) zxid: Zxid,
    /// Told once a snapshot with all of them is published.
    pub(crate) done: oneshot::Sender<()>,
}

impl Views {
    /// A receiver of the service's snapshots; `begin` starts the view if there is none.
    pub(crate) fn subscribe(
        &self,
        service: &ServiceName,
        begin: impl FnOnce(Channel, mpsc::UnboundedReceiver<Wish>),
    ) -> (watch::Receiver<Snapshot>, mpsc::UnboundedSender<Wish>) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = views.get(service) {
            return (channel.snapshots.subscribe(), channel.wanted.clone());
        }
        let (snapshots, receiver) = watch::channel(Snapshot::pending(service));
        let (wanted, wishes) = mpsc::unbounded_channel();
        let channel = Channel { snapshots, wanted: wanted.clone() };
        views.insert(service.clone(), channel.clone());
        begin(channel, wishes);
        (receiver, wanted)
    }

    /// Forgets the view if nobody watches it any more.
    pub(crate) fn forget_unwatched(&self, service: &ServiceName) -> bool {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unwatched = views.get(service).is_none_or(|channel| channel.snapshots.receiver_count() == 0);
        if unwatched {
            views.remove(service);
        }
        unwatched
    }

    /// Forgets this view, unless another one has taken its place.
    pub(crate) fn forget(&self, service: &ServiceName, snapshots: &watch::Sender<Snapshot>) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if views.get(service).is_some_and(|channel| channel.snapshots.same_channel(snapshots)) {
            views.remove(service);
        }
    }
}
