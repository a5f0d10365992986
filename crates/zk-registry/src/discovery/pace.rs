//! When requests of one kind may be sent: a failure puts the next one off.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// The bounds of the delay after the first request that failed, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// The pace of requests of one kind.
pub(super) struct Pace {
    backoff: Backoff,
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(RETRY.0, RETRY.1), until: None }
    }

    /// Whether a request may be sent at `now`.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The time before which no request may be sent, if that is later than `now`.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// A request failed: the next one waits, the longer the more have failed.
    pub(super) fn failed(&mut self, rng: &mut impl Rng) {
        self.until = Some(Instant::now() + self.backoff.delay(rng));
    }

    /// A request was answered.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        self.until = None;
    }

    /// Forgets the failures of an earlier connection. The first request on this one waits until then.
    pub(super) fn begin(&mut self, until: Option<Instant>) {
        self.backoff.reset();
        self.until = until;
    }
}
