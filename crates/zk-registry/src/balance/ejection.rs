//! The rules of ejection: when an instance is left alone, and for how long. They are this client's opinion, never written to ZooKeeper.
//!
//! available -> ejected (a growing, jittered time) -> probing (one call at a time) -> available. After Finagle's failure
//! accrual and Envoy's outlier detection.

use std::num::NonZeroU32;
use std::time::Duration;

/// The rules of ejection.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Ejection {
    /// The number of failures in a row that ejects. `None` switches the rule off. Defaults to 5.
    pub consecutive_failures: Option<NonZeroU32>,
    /// The distance by which an instance's success rate must fall below the average of the other available ones to eject it. The rate is a
    /// moving average over about 16 calls, so that it takes at least four failures. Above 1 the rule is off. Defaults to 0.3.
    pub success_margin: f64,
    /// The length of the first ejection, of which half is jitter; each further one is twice as long. A probe that is not over after that time is
    /// waited for no longer: the next call probes. Defaults to 5 seconds.
    pub base: Duration,
    /// The longest ejection. Defaults to 5 minutes.
    pub cap: Duration,
    /// The number of probes in a row, one at a time, that must succeed before an ejected instance is available again. Defaults
    /// to 3.
    pub probes: NonZeroU32,
    /// The share of the listed instances that may be ejected at once, rounded down: with the default never the only one, one
    /// of two, two of three. Instances that cannot be dialled are ejected in any case, and count for neither side. 0 switches
    /// ejection off. Defaults to 0.7.
    pub max_share: f64,
    /// The share of the listed instances below which ejections are ignored: using all is better than heaping all load on a
    /// few. Instances that cannot be dialled do not count. Defaults to 0.25.
    pub panic_below: f64,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            consecutive_failures: NonZeroU32::new(5),
            success_margin: 0.3,
            base: Duration::from_secs(5),
            cap: Duration::from_secs(300),
            probes: NonZeroU32::MIN.saturating_add(2),
            max_share: 0.7,
            panic_below: 0.25,
        }
    }
}

/// The rule that ejected an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The caller [asked](super::Balancer::eject) for it.
    Asked,
    /// It failed too often in a row.
    ConsecutiveFailures,
    /// Its address could not be dialled.
    FailedDial,
    /// It failed when it was probed.
    FailedProbe,
    /// It said that it has too much to do.
    Overloaded,
    /// It succeeds much less often than the others.
    SuccessRate,
}

impl Ejection {
    /// Never ejects.
    pub fn off() -> Self {
        Self { max_share: 0.0, ..Self::default() }
    }

    /// Sets [`consecutive_failures`](Self::consecutive_failures).
    #[must_use]
    pub const fn with_consecutive_failures(mut self, consecutive_failures: Option<NonZeroU32>) -> Self {
        self.consecutive_failures = consecutive_failures;
        self
    }

    /// Sets [`success_margin`](Self::success_margin).
    #[must_use]
    pub const fn with_success_margin(mut self, success_margin: f64) -> Self {
        self.success_margin = success_margin;
        self
    }

    /// Sets [`base`](Self::base).
    #[must_use]
    pub const fn with_base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// Sets [`cap`](Self::cap).
    #[must_use]
    pub const fn with_cap(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// Sets [`probes`](Self::probes).
    #[must_use]
    pub const fn with_probes(mut self, probes: NonZeroU32) -> Self {
        self.probes = probes;
        self
    }

    /// Sets [`max_share`](Self::max_share).
    #[must_use]
    pub const fn with_max_share(mut self, max_share: f64) -> Self {
        self.max_share = max_share;
        self
    }

    /// Sets [`panic_below`](Self::panic_below).
    #[must_use]
    pub const fn with_panic_below(mut self, panic_below: f64) -> Self {
        self.panic_below = panic_below;
        self
    }

    /// Whether `streak` failures in a row are enough.
    pub(super) fn is_streak(&self, streak: u32) -> bool {
        self.consecutive_failures.is_some_and(|limit| streak >= limit.get())
    }

    /// Whether a success rate of `own` is worth comparing: others may at best have 1.
    pub(super) fn is_suspicious(&self, own: f64) -> bool {
        own < 1.0 - self.success_margin
    }

    /// Whether a success rate of `own` is too far below that of the `others`.
    pub(super) fn falls_behind(&self, own: f64, others: f64) -> bool {
        own < others - self.success_margin
    }

    /// Whether one more of `total` may be ejected when `ejected` are.
    pub(super) fn has_room(&self, ejected: usize, total: usize) -> bool {
        (ejected + 1) as f64 <= self.max_share * total as f64
    }

    /// Whether nothing is ever ejected.
    pub(super) fn is_off(&self) -> bool {
        self.max_share <= 0.0
    }

    /// Whether `available` of `total` are too few.
    pub(super) fn is_panic(&self, available: usize, total: usize) -> bool {
        (available as f64) < self.panic_below * total as f64
    }

    /// How long an ejection takes after `before` earlier ones; `chance` is in `[0, 1)`. Half of it is certain, half is jitter.
    pub(super) fn duration(&self, before: u32, chance: f64) -> Duration {
        let full = self.base.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX)).min(self.cap);
        full.div_f64(2.0).saturating_add(full.mul_f64(chance / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_doubles_up_to_the_cap_and_half_of_it_is_jitter() {
        let rules = Ejection::default();
        for (before, seconds) in [(0, 5.0), (1, 10.0), (3, 40.0), (6, 300.0), (200, 300.0)] {
            assert_eq!(rules.duration(before, 0.0).as_secs_f64(), seconds / 2.0, "{before}");
            assert!(rules.duration(before, 0.999).as_secs_f64() > seconds * 0.99);
            assert!(rules.duration(before, 0.999).as_secs_f64() < seconds);
        }
    }

    #[test]
    fn the_share_is_rounded_down_and_never_takes_the_only_one() {
        let rules = Ejection::default();
        let most = |total| (0..=total).find(|&ejected| !rules.has_room(ejected, total)).unwrap();
        assert_eq!([1, 2, 3, 10].map(most), [0, 1, 2, 7]);
        assert!(!Ejection::off().has_room(0, 1_000_000));
    }

    #[test]
    fn panic_begins_below_the_threshold_and_not_at_it() {
        let rules = Ejection::default();
        assert!(rules.is_panic(0, 1));
        assert!(rules.is_panic(1, 5));
        assert!(!rules.is_panic(1, 4));
        assert!(!rules.is_panic(0, 0));
    }
}
