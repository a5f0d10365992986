//! How long to wait before the next try: exponential, capped, with full jitter, reset by a success.
//!
//! It only computes; the caller sleeps. Full jitter after Brooker, "Exponential Backoff And Jitter"
//! (AWS Architecture Blog, 2015), with a floor of a tenth so that two tries never collapse into one.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The state of one retry loop.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// The first delay is at most `first`; each failure doubles the bound up to `cap`.
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first }
    }

    /// The delay before the next try.
    pub(crate) fn delay(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.cap);
        bound.mul_f64(rng.random_range(0.1..=1.0))
    }

    /// A try succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `interval`, shortened or lengthened by up to a quarter, so that a fleet does not march in step.
pub(crate) fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.75..=1.25))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn delays_grow_to_the_cap_and_a_success_resets_them() {
        let rng = &mut SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for bound in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let delay = backoff.delay(rng);
            assert!(delay <= Duration::from_millis(bound), "{delay:?} > {bound} ms");
            assert!(delay >= Duration::from_millis(bound / 10), "{delay:?} < {bound} ms / 10");
        }
        backoff.reset();
        assert!(backoff.delay(rng) <= Duration::from_millis(100));
    }
}
