//! The views of one registry: many watches of one service share one, and it ends with the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::counters::ViewCounters;
use crate::instance::ServiceName;
use crate::resolve::Waiter;
use crate::session::last_heard::LastHeard;
use crate::snapshot::Snapshot;

/// The views of one registry, each shared by all watches of its service.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(Mutex<HashMap<ServiceName, Channel>>);

/// Both ways between a view and its watches.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) snapshots: watch::Sender<Snapshot>,
    pub(crate) wanted: mpsc::UnboundedSender<Waiter>,
    /// When the server of the view's session was last heard.
    pub(crate) last_heard: LastHeard,
    pub(crate) counters: Arc<ViewCounters>,
}

/// What a view is started with: where it publishes, who asks it, and who else may share it.
pub(crate) struct Outlet {
    pub(crate) channel: Channel,
    pub(crate) waiters: mpsc::UnboundedReceiver<Waiter>,
    /// Where it is found by further watches. One that is a part of another view ends with the receiver of its snapshots.
    pub(crate) subscriptions: Arc<Subscriptions>,
}

/// What a watch gets of a view.
#[derive(Debug)]
pub(crate) struct Subscription<S> {
    pub(crate) snapshots: watch::Receiver<Snapshot>,
    pub(crate) wanted: mpsc::UnboundedSender<Waiter>,
    pub(crate) last_heard: LastHeard,
    /// The place on a session and what else the view needs that has to be started; `None` when there is one already.
    pub(crate) first: Option<(S, Channel, mpsc::UnboundedReceiver<Waiter>)>,
}

impl Outlet {
    /// The channel of a view that is a part of another one, and its other ends.
    pub(crate) fn part(
        service: &ServiceName,
        last_heard: LastHeard,
        counters: Arc<ViewCounters>,
    ) -> (Self, watch::Receiver<Snapshot>, mpsc::UnboundedSender<Waiter>) {
        let (sender, snapshots) = watch::channel(Snapshot::pending(service));
        let (wanted, waiters) = mpsc::unbounded_channel();
        let channel = Channel { snapshots: sender, wanted: wanted.clone(), last_heard, counters };
        (Self { channel, waiters, subscriptions: Arc::default() }, snapshots, wanted)
    }
}

impl Subscriptions {
    /// A receiver of the service's snapshots. `place` finds the session for a view that has to be started.
    pub(crate) fn subscribe<S>(
        &self,
        service: &ServiceName,
        place: impl FnOnce() -> (LastHeard, S),
    ) -> Subscription<S> {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = views.get(service) {
            let (snapshots, wanted) = (channel.snapshots.subscribe(), channel.wanted.clone());
            return Subscription { snapshots, wanted, last_heard: channel.last_heard.clone(), first: None };
        }
        let (sender, snapshots) = watch::channel(Snapshot::pending(service));
        let (wanted, waiters) = mpsc::unbounded_channel();
        let (last_heard, place) = place();
        let channel = Channel {
            snapshots: sender,
            wanted: wanted.clone(),
            last_heard: last_heard.clone(),
            counters: Arc::default(),
        };
        views.insert(service.clone(), channel.clone());
        Subscription { snapshots, wanted, last_heard, first: Some((place, channel, waiters)) }
    }

    /// Every view there is.
    pub(crate) fn channels(&self) -> Vec<(ServiceName, Channel)> {
        let views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.iter().map(|(service, channel)| (service.clone(), channel.clone())).collect()
    }

    /// Forgets the view if its last watch was dropped.
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
