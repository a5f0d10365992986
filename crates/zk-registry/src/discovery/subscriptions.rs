//! The views of one registry: many watches of one service share one, and it ends with the last of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::instance::ServiceName;
use crate::resolve::Waiter;
use crate::snapshot::Snapshot;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<ServiceName, Channel>>);

/// Both ways between a view and its watches.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) snapshots: watch::Sender<Snapshot>,
    pub(crate) wanted: mpsc::UnboundedSender<Waiter>,
}

/// What a watch gets of a view.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) snapshots: watch::Receiver<Snapshot>,
    pub(crate) wanted: mpsc::UnboundedSender<Waiter>,
    /// What the view needs that has to be started for it; `None` when there is one already.
    pub(crate) first: Option<(Channel, mpsc::UnboundedReceiver<Waiter>)>,
}

impl Subscriptions {
    /// A receiver of the service's snapshots.
    pub(crate) fn subscribe(&self, service: &ServiceName) -> Subscription {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = views.get(service) {
            let (snapshots, wanted) = (channel.snapshots.subscribe(), channel.wanted.clone());
            return Subscription { snapshots, wanted, first: None };
        }
        let (sender, snapshots) = watch::channel(Snapshot::pending(service));
        let (wanted, wishes) = mpsc::unbounded_channel();
        let channel = Channel { snapshots: sender, wanted: wanted.clone() };
        views.insert(service.clone(), channel.clone());
        Subscription { snapshots, wanted, first: Some((channel, wishes)) }
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
