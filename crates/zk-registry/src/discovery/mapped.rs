//! The task behind the watches of a service that a mapping node finds under other names, as an interface of Dubbo 3 under applications.
//!
//! Each list of names has a view of its own. When the list changes, the old view is shown until the new one is live.

use futures_util::future::OptionFuture;
use tokio::sync::{mpsc, watch};

use super::mapping::Mapping;
use super::subscriptions::Outlet;
use crate::instance::ServiceName;
use crate::resolve::Waiter;
use crate::snapshot::{Freshness, Snapshot};

/// A service that is shown under the names which its mapping node lists. `run` it once.
pub(crate) struct Mapped<N, S> {
    pub(crate) service: ServiceName,
    pub(crate) outlet: Outlet,
    pub(crate) mapping: watch::Receiver<Mapping>,
    /// The names that the data of the node list; the service's own where they list none.
    pub(crate) names: N,
    /// Starts the view of these names; `false`: the registry is gone.
    pub(crate) start: S,
}

/// The view of one list of names.
struct View {
    names: Vec<ServiceName>,
    snapshots: watch::Receiver<Snapshot>,
    wanted: mpsc::UnboundedSender<Waiter>,
}

impl<N, S> Mapped<N, S>
where
    N: Fn(&[u8]) -> Vec<ServiceName>,
    S: Fn(&[ServiceName], Outlet) -> bool,
{
    /// Publishes until the view has ended, or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        let mut shown: Option<View> = None;
        // The view of a newer list; it becomes the shown one once it is live.
        let mut next: Option<View> = None;
        let mut is_final = false;
        loop {
            let snapshots = self.outlet.channel.snapshots.clone();
            tokio::select! {
                biased;
                changed = self.mapping.changed(), if !is_final => {
                    is_final = changed.is_err();
                    let latest = self.mapping.borrow_and_update().clone();
                    let Some(names) = self.take_up(latest) else {
                        if is_final {
                            break;
                        }
                        continue;
                    };
                    if shown.as_ref().is_some_and(|shown| shown.names == names) {
                        next = None;
                    } else if next.as_ref().is_none_or(|next| next.names != names) {
                        let Some(view) = self.begin(names) else { break };
                        match shown {
                            None => shown = Some(view),
                            Some(_) => next = Some(view),
                        }
                    }
                }
                Some(changed) = OptionFuture::from(next.as_mut().map(|view| view.snapshots.changed())) => {
                    if changed.is_err() {
                        break;
                    }
                    let is_live = |view: &View| view.snapshots.borrow().freshness() == Freshness::Live;
                    if next.as_ref().is_some_and(is_live) {
                        shown = next.take();
                        self.publish(shown.as_mut());
                    }
                }
                Some(changed) = OptionFuture::from(shown.as_mut().map(|view| view.snapshots.changed())) => {
                    self.publish(shown.as_mut());
                    if changed.is_err() {
                        break;
                    }
                }
                Some(waiter) = self.outlet.waiters.recv(), if shown.is_some() => {
                    if let Some(view) = &shown {
                        // A view that has ended takes no waiters: this one is told so by being dropped.
                        let _ = view.wanted.send(waiter);
                    }
                }
                () = snapshots.closed() => {
                    if self.outlet.subscriptions.forget_unwatched(&self.service) {
                        return;
                    }
                }
            }
        }
        self.outlet.subscriptions.forget(&self.service, &self.outlet.channel.snapshots);
    }

    /// The names that the node listed when it was last read. `None` before the first read; the error of a read that failed is published.
    fn take_up(&self, mapping: Mapping) -> Option<Vec<ServiceName>> {
        match mapping {
            Mapping::Unknown => None,
            Mapping::Hindered(error) => {
                self.outlet.channel.snapshots.send_modify(|snapshot| {
                    *snapshot = Snapshot::pending(&self.service)
                        .with_cause(error)
                        .with_revision(snapshot.revision() + 1);
                });
                None
            }
            Mapping::Known(data) => Some((self.names)(&data)),
        }
    }

    /// Starts the view of these names; `None`: the registry is gone.
    fn begin(&self, names: Vec<ServiceName>) -> Option<View> {
        let channel = &self.outlet.channel;
        let (part, snapshots, wanted) =
            Outlet::part(&self.service, channel.last_heard.clone(), channel.counters.clone());
        (self.start)(&names, part).then_some(View { names, snapshots, wanted })
    }

    /// Publishes the snapshot of a view as the service's. Revision and watermark only grow, also from one view to the next, which was
    /// read later.
    fn publish(&self, view: Option<&mut View>) {
        let Some(view) = view else { return };
        let snapshot = view.snapshots.borrow_and_update().clone();
        self.outlet.channel.snapshots.send_modify(|last| {
            let (revision, watermark) = (last.revision() + 1, last.watermark().max(snapshot.watermark()));
            *last = snapshot.with_revision(revision).with_watermark(watermark);
        });
    }
}
