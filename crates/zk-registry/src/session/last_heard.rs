//! When ZooKeeper was last heard: one shared stamp, written by the supervisor, read by every watch.
//!
//! It is what keeps a watch honest when the background thread is frozen or starved: a thread that does not run cannot say
//! that it is late, but its last stamp can.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::snapshot::Freshness;

/// After so many pulses without a stamp, the thread that should write it does not run: half of a connection timeout.
const OVERDUE: u32 = 4;
/// At a stamp the server may have been silent for so many pulses: its silence is announced after at most nine, by a task
/// that may be one late.
const SILENCE: u32 = 10;

/// Clones share the stamp.
#[derive(Clone, Debug)]
pub(crate) struct LastHeard {
    origin: Instant,
    /// Milliseconds since the origin; 0 = never.
    stamp: Arc<AtomicU64>,
    /// Milliseconds between two stamps at most.
    pulse: Arc<AtomicU64>,
}

impl LastHeard {
    pub(crate) fn new(now: Instant) -> Self {
        Self { origin: now, stamp: Arc::default(), pulse: Arc::default() }
    }

    /// The server's silence is still shorter than what would have been announced. The next stamp comes within `pulse`, an
    /// eighth of the connection timeout.
    pub(crate) fn stamp(&self, now: Instant, pulse: Duration) {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.pulse.store(millis(pulse), Ordering::Relaxed);
        self.stamp.store(millis(now.saturating_duration_since(self.origin)).max(1), Ordering::Relaxed);
    }

    /// Up to when the server is known to have been heard, if a newer stamp should have come long ago.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Instant> {
        let (stamp, pulse) = self.last()?;
        (now.saturating_duration_since(stamp) > pulse * OVERDUE).then(|| self.before(stamp, pulse))
    }

    /// How fresh is at `now` what was published as that fresh: stale, too, when the thread that would say so does not run.
    pub(crate) fn judge(&self, published: Freshness, now: Instant) -> Freshness {
        match (published, self.overdue(now)) {
            (Freshness::Live, Some(since)) => Freshness::Stale { since },
            _ => published,
        }
    }

    /// Up to when the server is known to have been heard. `received` is when something of it was last taken up: where the
    /// process was frozen that may have lain about since the last stamp.
    pub(crate) fn until(&self, received: Option<Instant>) -> Option<Instant> {
        let (stamp, pulse) = self.last()?;
        let before = self.before(stamp, pulse);
        Some(received.map_or(before, |received| received.min(stamp).max(before)))
    }

    fn before(&self, stamp: Instant, pulse: Duration) -> Instant {
        stamp.checked_sub(pulse * SILENCE).unwrap_or(self.origin)
    }

    fn last(&self) -> Option<(Instant, Duration)> {
        match self.stamp.load(Ordering::Relaxed) {
            0 => None,
            millis => Some((
                self.origin + Duration::from_millis(millis),
                Duration::from_millis(self.pulse.load(Ordering::Relaxed)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULSE: Duration = Duration::from_millis(100);

    /// Stamped a minute after it began.
    fn stamped() -> (LastHeard, Instant) {
        let heard = LastHeard::new(Instant::now());
        let now = heard.origin + Duration::from_secs(60);
        heard.stamp(now, PULSE);
        (heard, now)
    }

    #[test]
    fn who_never_heard_the_server_says_nothing() {
        let heard = LastHeard::new(Instant::now());
        assert_eq!(heard.overdue(heard.origin + PULSE * 100), None);
        assert_eq!(heard.until(Some(heard.origin)), None);
    }

    #[test]
    fn four_pulses_without_a_stamp_make_it_overdue_since_before_the_silence_it_did_not_know_of() {
        let (heard, stamp) = stamped();
        assert_eq!(heard.overdue(stamp + PULSE * 4), None);
        let late = stamp + PULSE * 4 + Duration::from_millis(1);
        assert_eq!(heard.overdue(late), Some(stamp - PULSE * 10));
        assert_eq!(heard.overdue(stamp + PULSE * 1_000), Some(stamp - PULSE * 10));
        heard.stamp(late, PULSE);
        assert_eq!(heard.overdue(late), None);
    }

    #[test]
    fn what_was_received_counts_up_to_the_last_stamp() {
        let (heard, stamp) = stamped();
        assert_eq!(heard.until(None), Some(stamp - PULSE * 10));
        assert_eq!(heard.until(Some(stamp - PULSE * 600)), Some(stamp - PULSE * 10));
        assert_eq!(heard.until(Some(stamp - PULSE)), Some(stamp - PULSE));
        assert_eq!(
            heard.until(Some(stamp + PULSE * 80)),
            Some(stamp),
            "the process may have slept in between"
        );
    }
}
