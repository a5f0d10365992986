//! Who waits for a change that ZooKeeper has acknowledged, and until when.

use tokio::sync::mpsc;

use super::view::{Barrier, View};
use crate::resolve::Waiter;

/// The calls of `wait_for` that are not answered yet.
pub(super) struct Waiters {
    arriving: mpsc::UnboundedReceiver<Waiter>,
    /// Each with the barrier that answers it too, once one was set after it arrived.
    waiting: Vec<(Waiter, Option<Barrier>)>,
}

impl Waiters {
    pub(super) fn new(arriving: mpsc::UnboundedReceiver<Waiter>) -> Self {
        Self { arriving, waiting: Vec::new() }
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
        self.waiting.retain(|(waiter, _)| !waiter.done.is_closed());
        self.waiting.push((waiter, None));
    }

    /// Whether one waits for what only a barrier can tell to be there.
    pub(super) fn want_barrier(&self, view: &View) -> bool {
        let watermark = view.watermark();
        self.waiting.iter().any(|(waiter, barrier)| barrier.is_none() && waiter.zxid > watermark)
    }

    /// Once the view has passed this barrier, all that wait now are answered.
    pub(super) fn set_barrier(&mut self, barrier: Barrier) {
        for (_, passes) in &mut self.waiting {
            passes.get_or_insert(barrier);
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
        let fulfilled = |(waiter, barrier): &mut (Waiter, Option<Barrier>)| {
            waiter.zxid <= view.watermark() || barrier.is_some_and(|barrier| view.has_passed(barrier))
        };
        for (waiter, _) in self.waiting.extract_if(.., fulfilled) {
            // The caller may have stopped waiting.
            let _ = waiter.done.send(());
        }
    }
}
