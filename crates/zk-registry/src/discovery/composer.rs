//! The task behind the watches of a service that has several sources or directories, or rules beside its instances: each part has
//! a view of its own, and what they publish is put together.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture, join_all, select_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::assembly::Assembly;
use super::subscriptions::{Channel, Outlet, Subscriptions};
use crate::counters::ViewCounters;
use crate::instance::ServiceName;
use crate::resolve::Waiter;
use crate::session::last_heard::LastHeard;
use crate::snapshot::{Freshness, Snapshot, Zxid};

/// How long the other parts are waited for after an instance left one of them: an instance that moves must not be missed
/// between the two.
const PATIENCE: Duration = Duration::from_millis(500);

/// Puts the snapshots of a service's parts together. `run` it once.
pub(crate) struct Composer<A> {
    service: ServiceName,
    assembly: A,
    parts: Vec<Part>,
    subscriptions: Arc<Subscriptions>,
    snapshots: watch::Sender<Snapshot>,
    counters: Arc<ViewCounters>,
    waiters: mpsc::UnboundedReceiver<Waiter>,
}

/// What the view of one part gives and takes.
struct Part {
    snapshots: watch::Receiver<Snapshot>,
    wanted: mpsc::UnboundedSender<Waiter>,
}

impl<A: Assembly> Composer<A> {
    /// Puts parts together for `outlet`.
    pub(crate) fn new(service: &ServiceName, assembly: A, outlet: Outlet) -> Self {
        let Outlet { channel, waiters, subscriptions } = outlet;
        let Channel { snapshots, counters, .. } = channel;
        let service = service.clone();
        Self { service, assembly, parts: Vec::new(), subscriptions, snapshots, counters, waiters }
    }

    /// The channel of the next part's view.
    pub(crate) fn part(&mut self, last_heard: LastHeard) -> Outlet {
        let (outlet, snapshots, wanted) = Outlet::part(&self.service, last_heard, self.counters.clone());
        self.parts.push(Part { snapshots, wanted });
        outlet
    }

    /// Publishes until every part's view has ended, or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        let mut waiting: FuturesUnordered<BoxFuture<'static, oneshot::Sender<()>>> = FuturesUnordered::new();
        let mut is_over = false;
        // While a node may be on its way from one part to another, its arrival is waited for.
        let mut arrival: Option<BoxFuture<'static, ()>> = None;
        while !is_over {
            let snapshots = self.snapshots.clone();
            tokio::select! {
                biased;
                over = changed(&mut self.parts) => {
                    is_over = over;
                    if arrival.is_none() {
                        arrival = self.departure().map(|watermark| self.arrival(watermark));
                    }
                    if arrival.is_none() || is_over {
                        self.publish();
                    }
                }
                Some(()) = OptionFuture::from(arrival.as_mut()) => {
                    arrival = None;
                    self.publish();
                }
                Some(done) = waiting.next() => {
                    arrival = None;
                    self.publish();
                    // The caller may have stopped waiting.
                    let _ = done.send(());
                }
                Some(waiter) = self.waiters.recv() => waiting.push(self.ask(waiter)),
                () = snapshots.closed() => is_over = self.subscriptions.forget_unwatched(&self.service),
            }
        }
        self.subscriptions.forget(&self.service, &self.snapshots);
    }

    /// Resolves once every part holds what is waited for; of a view that has ended there is nothing to wait for.
    fn ask(&self, Waiter { zxid, done }: Waiter) -> BoxFuture<'static, oneshot::Sender<()>> {
        let answers: Vec<_> = (self.parts.iter())
            .map(|part| {
                let (done, answer) = oneshot::channel();
                let _ = part.wanted.send(Waiter { zxid, done });
                answer
            })
            .collect();
        Box::pin(async move {
            join_all(answers).await;
            done
        })
    }

    /// The point of history at which an instance left a part, if it may be found in another one.
    fn departure(&self) -> Option<Zxid> {
        if !self.assembly.moves() {
            return None;
        }
        let latest: Vec<_> = self.parts.iter().map(|part| part.snapshots.borrow().clone()).collect();
        let are_live = latest.iter().all(|snapshot| snapshot.freshness() == Freshness::Live);
        let left = |(part, snapshot): (usize, &Snapshot)| self.assembly.loses(part, snapshot);
        let mut left = latest.iter().enumerate().filter(|one| left(*one)).map(|(_, one)| one.watermark());
        left.next().filter(|_| are_live)
    }

    /// Resolves once every part is known up to this point, or after [`PATIENCE`].
    fn arrival(&self, watermark: Zxid) -> BoxFuture<'static, ()> {
        let (done, _) = oneshot::channel();
        let known = self.ask(Waiter { zxid: watermark, done });
        Box::pin(async move { drop(timeout(PATIENCE, known).await) })
    }

    /// Publishes what is new.
    fn publish(&mut self) {
        let mut news = false;
        for (number, part) in self.parts.iter_mut().enumerate() {
            // A view that has ended may have left a last snapshot.
            let snapshot = part.snapshots.borrow_and_update().clone();
            news |= self.assembly.take_up(number, snapshot);
        }
        if news {
            self.snapshots.send_replace(self.assembly.snapshot());
        }
    }
}

/// Waits until a part has another snapshot; `true`: every view has ended.
async fn changed(parts: &mut [Part]) -> bool {
    let mut waiting: Vec<_> = parts.iter_mut().map(|part| Box::pin(part.snapshots.changed())).collect();
    while !waiting.is_empty() {
        let (changed, _, rest) = select_all(waiting).await;
        if changed.is_ok() {
            return false;
        }
        waiting = rest;
    }
    true
}
