//! When requests of one kind may be sent: a failure puts the next one off.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// The bounds of the delay after the first request that failed, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// From how many failures in a row on a new connection is no reason to ask at once: the request may be what ends them.
pub(super) const SUSPICIOUS: u32 = 3;

/// The pace of requests of one kind.
pub(super) struct Pace {
    backoff: Backoff,
    /// How many requests in a row have failed.
    failures: u32,
    until: Option<Instant>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(RETRY.0, RETRY.1), failures: 0, until: None }
    }

    /// Whether a request may be sent at `now`.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The time before which no request may be sent, if that is later than `now`.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// A request failed: the next one waits, the longer the more have failed. Returns how many have, in a row.
    pub(super) fn failed(&mut self, rng: &mut impl Rng) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.until = Some(Instant::now() + self.backoff.delay(rng));
        self.failures
    }

    /// A request was answered.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
        (self.failures, self.until) = (0, None);
    }

    /// A new connection: the first request on it waits until then, and not for what failed on an earlier one, unless
    /// several in a row did.
    pub(super) fn begin(&mut self, until: Option<Instant>) {
        self.until = if self.failures < SUSPICIOUS { until } else { self.until.max(until) };
    }

    /// The next request is wanted at once: it does not wait its turn in a fleet, only for what failed.
    pub(super) fn hurry(&mut self) {
        if self.failures == 0 {
            self.until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connections_that_a_request_ends_bring_it_ever_more_slowly() {
        let (mut pace, rng) = (Pace::new(), &mut SmallRng::seed_from_u64(1));
        let began = Instant::now();
        for failures in 1..=12 {
            pace.begin(None);
            if failures <= SUSPICIOUS {
                assert!(pace.allows(Instant::now()), "after {failures} failures");
            }
            tokio::time::sleep_until(pace.until(Instant::now()).unwrap_or_else(Instant::now)).await;
            assert_eq!(pace.failed(rng), failures);
        }
        assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
        pace.succeeded();
        pace.begin(None);
        assert!(pace.allows(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn haste_waits_for_no_turn_but_for_what_failed() {
        let (mut pace, rng) = (Pace::new(), &mut SmallRng::seed_from_u64(1));
        pace.begin(Some(Instant::now() + Duration::from_secs(2)));
        pace.hurry();
        assert!(pace.allows(Instant::now()));
        pace.failed(rng);
        pace.hurry();
        assert!(!pace.allows(Instant::now()));
    }
}
