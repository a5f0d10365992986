//! The time in which an instance asks for less than its share, because it has just started.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The parts of a warm-up that an instance states. It has a warm-up where it states both.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct StatedWarmUp {
    /// When it began to serve by its own clock, in milliseconds since the Unix epoch.
    pub(crate) began: Option<NonZeroU64>,
    /// How many milliseconds the warm-up takes; 0: there is none.
    pub(crate) span: Option<u32>,
}

impl StatedWarmUp {
    /// The warm-up, if there is one.
    pub(crate) fn complete(self) -> Option<WarmUp> {
        Some(WarmUp { began: self.began?.get(), span: NonZeroU32::new(self.span?)? })
    }
}

/// The time in which an instance asks for less than its share: it grows evenly from nothing to all of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct WarmUp {
    /// When it began to serve by its own clock, in milliseconds since the Unix epoch.
    began: u64,
    /// In milliseconds.
    span: NonZeroU32,
}

impl WarmUp {
    /// How long it takes.
    pub(crate) fn span(self) -> Duration {
        Duration::from_millis(self.span.get().into())
    }

    /// How much of it is left, zero when it is over. Of one that begins in the future, by a clock that is ahead of ours, all of it.
    pub(crate) fn left(self, now: SystemTime) -> Duration {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.span().saturating_sub(now.saturating_sub(Duration::from_millis(self.began)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_from_the_span_to_nothing() {
        let warm_up = WarmUp { began: 10_000, span: NonZeroU32::new(4_000).unwrap() };
        for (now, left) in [(0, 4_000), (10_000, 4_000), (11_000, 3_000), (14_000, 0), (u64::MAX, 0)] {
            let now = UNIX_EPOCH.checked_add(Duration::from_millis(now.min(1 << 50))).unwrap();
            assert_eq!(warm_up.left(now), Duration::from_millis(left), "{now:?}");
        }
    }
}
