//! A balancer's clock: nanoseconds since its epoch, and how much of an opinion is left after a while.

use std::time::Duration;

use tokio::time::Instant;

/// A balancer's own time in nanoseconds since its epoch, and the pace at which figures fade.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    epoch: Instant,
    /// One over the time constant, which is in nanoseconds.
    pace: f64,
}

impl Clock {
    pub(super) fn new(epoch: Instant, decay: Duration) -> Self {
        Self { epoch, pace: 1.0 / (decay.as_nanos() as f64).max(1.0) }
    }

    /// `now` in this clock's time; 0 before the epoch.
    pub(super) fn at(self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }

    pub(super) fn instant(self, at: u64) -> Instant {
        self.epoch + Duration::from_nanos(at)
    }

    /// How much of an opinion of the time `then` is left at `at`, from 1 down to 0.
    pub(super) fn left(self, then: u64, at: u64) -> f64 {
        fade(at.saturating_sub(then) as f64 * self.pace)
    }

    /// [`left`](Self::left) to a thousandth, without a division when `then` is recent.
    pub(super) fn roughly_left(self, then: u64, at: u64) -> f64 {
        let age = at.saturating_sub(then) as f64 * self.pace;
        if age < 0.001 { 1.0 } else { fade(age) }
    }

    /// Whether an opinion of the time `then` is so old at `at` that one call is worth more than it: half a time constant.
    pub(super) fn is_stale(self, then: u64, at: u64) -> bool {
        at.saturating_sub(then) as f64 * self.pace > 0.5
    }

    /// How much of a failure of the time `then` is still held against an instance at `at`, from 1 down to 0. Exact, because a
    /// penalty of a second must shrink to less than a millisecond.
    pub(super) fn unforgiven(self, then: u64, at: u64) -> f64 {
        (-(at.saturating_sub(then) as f64) * self.pace * FORGIVING).exp()
    }
}

/// How much faster a failure is forgiven than a latency fades: with a time constant of half a second instead of ten.
const FORGIVING: f64 = 20.0;

/// The duration in nanoseconds, at most `u64::MAX`: five centuries.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// Close to e^-x for x >= 0, at the price of one division: 1 over the first terms of e^x.
fn fade(x: f64) -> f64 {
    1.0 / (1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fading_is_close_to_the_exponential() {
        for x in [0.0, 0.01, 0.1, 0.5, 1.0, 2.0] {
            assert!((fade(x) - f64::exp(-x)).abs() < 0.03, "{x}: {} {}", fade(x), f64::exp(-x));
        }
    }
}
