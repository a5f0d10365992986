//! When ZooKeeper was last heard: one shared stamp, written by the supervisor, read by every view.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Clones share the stamp.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    origin: Instant,
    /// Milliseconds since the origin; 0 = never.
    stamp: Arc<AtomicU64>,
}

impl Heard {
    pub(crate) fn new(now: Instant) -> Self {
        Self { origin: now, stamp: Arc::new(AtomicU64::new(0)) }
    }

    /// The server was heard, or its silence is still shorter than what would have been announced.
    pub(crate) fn stamp(&self, now: Instant) {
        let millis =
            u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX);
        self.stamp.store(millis.max(1), Ordering::Relaxed);
    }

    /// How old the stamp is; `None` before the first.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        match self.stamp.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(now.saturating_duration_since(self.origin + Duration::from_millis(millis))),
        }
    }
}
