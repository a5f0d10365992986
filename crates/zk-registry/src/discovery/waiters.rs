//! Who waits for a change that ZooKeeper has acknowledged, and until when.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::view::{Barrier, View};
use crate::resolve::Waiter;

/// How long one waits for the marks to bring what it waits for, while they keep coming, before a barrier is asked for.
const PATIENCE: Duration = Duration::from_millis(50);

/// The calls of `wait_for` that are not answered yet.
pub(super) struct Waiters {
    arriving: mpsc::UnboundedReceiver<Waiter>,
    waiting: Vec<Waiting>,
}

/// One call that is not answered yet.
struct Waiting {
    waiter: Waiter,
    since: Instant,
    /// The barrier that answers it too, once one was set after it arrived.
    barrier: Option<Barrier>,
}

impl Waiters {
    pub(super) fn new(arriving: mpsc::UnboundedReceiver<Waiter>) -> Self {
        Self { arriving, waiting: Vec::new() }
    }

    /// Those that wait, for another one to answer, and those that will: this one answers nobody any more.
    pub(super) fn hand_over(
        &mut self,
        arriving: mpsc::UnboundedReceiver<Waiter>,
    ) -> (mpsc::UnboundedReceiver<Waiter>, Vec<Waiter>) {
        let before = std::mem::replace(self, Self::new(arriving));
        (before.arriving, before.waiting.into_iter().map(|waiting| waiting.waiter).collect())
    }

    /// Takes up the next waiter. Cancel safe.
    pub(super) async fn arrive(&mut self) {
        match self.arriving.recv().await {
            Some(waiter) => self.add(waiter),
            // Every watch is gone, which the snapshots' channel tells; nothing arrives any more.
            None => std::future::pending().await,
        }
    }

    /// Those that gave up go when another one arrives.
    fn add(&mut self, waiter: Waiter) {
        self.waiting.retain(|waiting| !waiting.waiter.done.is_closed());
        self.waiting.push(Waiting { waiter, since: Instant::now(), barrier: None });
    }

    /// Whether one waits for what the view has not seen yet.
    pub(super) fn want_more(&self, view: &View) -> bool {
        self.waiting.iter().any(|waiting| waiting.waiter.zxid > view.watermark())
    }

    /// Whether one waits for what only a barrier can tell to be there: at once if no mark is left to read, else after a while.
    pub(super) fn want_barrier(&self, view: &View, now: Instant) -> bool {
        let (watermark, dirty) = (view.watermark(), view.is_dirty());
        self.waiting.iter().any(|Waiting { waiter, since, barrier }| {
            barrier.is_none() && waiter.zxid > watermark && (!dirty || *since + PATIENCE <= now)
        })
    }

    /// Once the view has passed this barrier, all that wait now are answered.
    pub(super) fn set_barrier(&mut self, barrier: Barrier) {
        for waiting in &mut self.waiting {
            waiting.barrier.get_or_insert(barrier);
        }
    }

    /// Answers those whose change is in the snapshot that is out.
    pub(super) fn answer(&mut self, view: &View) {
        while let Ok(waiter) = self.arriving.try_recv() {
            self.add(waiter);
        }
        if view.has_news() {
            return;
        }
        let fulfilled = |Waiting { waiter, barrier, .. }: &mut Waiting| {
            waiter.zxid <= view.watermark() || barrier.is_some_and(|barrier| view.has_passed(barrier))
        };
        for Waiting { waiter, .. } in self.waiting.extract_if(.., fulfilled) {
            // The caller may have stopped waiting.
            let _ = waiter.done.send(());
        }
    }
}
