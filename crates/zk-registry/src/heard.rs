//! When ZooKeeper was last heard: one shared stamp, written by the supervisor, read by every watch.
//!
//! It is what keeps a watch honest when the background thread is frozen or starved: a thread that does not run cannot say
//! that it is late, but its last stamp can.

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
    /// Milliseconds between two stamps at most.
    pulse: Arc<AtomicU64>,
}

impl Heard {
    pub(crate) fn new(now: Instant) -> Self {
        Self { origin: now, stamp: Arc::default(), pulse: Arc::default() }
    }

    /// The server's silence is still shorter than what would have been announced. The next stamp comes within `pulse`.
    pub(crate) fn stamp(&self, now: Instant, pulse: Duration) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.pulse.store(millis(pulse), Ordering::Relaxed);
        self.stamp.store(millis(now.saturating_duration_since(self.origin)).max(1), Ordering::Relaxed);
    }

    /// The last stamp, if a newer one should have come long ago: four pulses, half of a connection timeout.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Instant> {
        let stamp = match self.stamp.load(Ordering::Relaxed) {
            0 => return None,
            millis => self.origin + Duration::from_millis(millis),
        };
        let pulse = Duration::from_millis(self.pulse.load(Ordering::Relaxed));
        (now.saturating_duration_since(stamp) > pulse * 4).then_some(stamp)
    }
}
