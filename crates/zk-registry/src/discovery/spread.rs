//! Over how long a fleet spreads the reads that follow a reconnect.
//!
//! A server that comes back has all its readers back at once. Each reads its service again, and what that costs grows with the
//! number of instances: a small service is read at once, a large one after a delay that each reader draws for itself.

use std::time::Duration;

/// Up to how many instances a service is small.
const SMALL: usize = 500;
/// What each instance of a small service adds.
const PER_INSTANCE: Duration = Duration::from_micros(20);
/// What each further instance of a large service adds: with 1,000 instances and a session timeout of 10 s the longest spread
/// is reached.
const PER_FURTHER: Duration = Duration::from_millis(5);

/// The doublings of the session timeout, as the longest delay, after slow resyncs: to four of it.
const DOUBLINGS: u32 = 2;

/// The resyncs of one view that came to nothing, in a row: the connection was lost before everything was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct InVain {
    /// All of them.
    resyncs: u32,
    /// Those for which the server had long enough.
    slow: u32,
}

impl InVain {
    /// One more: it had been under way for this time when its connection was lost.
    pub(super) fn count(&mut self, under_way: Duration, session_timeout: Duration) {
        self.resyncs = self.resyncs.saturating_add(1);
        if under_way >= session_timeout / 8 {
            self.slow = self.slow.saturating_add(1);
        }
    }
}

/// The longest delay of a resync: at most a quarter of the session timeout. It doubles with each one that came to nothing, up to the
/// session timeout, and up to four of them where the server had long enough: it cannot answer all readers in the time that a
/// connection lasts, and would be asked for ever otherwise. A connection that breaks again and again says nothing of that.
pub(super) fn spread(instances: usize, in_vain: InVain, session_timeout: Duration) -> Duration {
    let count = |instances: usize| u32::try_from(instances).unwrap_or(u32::MAX);
    let small = PER_INSTANCE * count(instances.min(SMALL));
    let large = PER_FURTHER.saturating_mul(count(instances.saturating_sub(SMALL)));
    let first = small.saturating_add(large).min(session_timeout / 4);
    let longest = session_timeout.saturating_mul(1 << in_vain.slow.min(DOUBLINGS));
    first.saturating_mul(2_u32.saturating_pow(in_vain.resyncs)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_service_is_read_at_once_and_the_largest_within_a_quarter_of_the_session() {
        let (first, timeout) = (InVain::default(), Duration::from_secs(10));
        assert_eq!(spread(0, first, timeout), Duration::ZERO);
        assert_eq!(spread(500, first, timeout), Duration::from_millis(10));
        assert_eq!(spread(600, first, timeout), Duration::from_millis(510));
        assert_eq!(spread(1_000, first, timeout), Duration::from_millis(2_500));
        assert_eq!(spread(usize::MAX, first, timeout), Duration::from_millis(2_500));
    }

    #[test]
    fn who_did_not_get_everything_comes_later_and_later() {
        let timeout = Duration::from_secs(10);
        for (under_way, expected) in [(1_249, [5, 10, 10, 10, 10, 10]), (1_250, [5, 10, 20, 40, 40, 40])] {
            let mut in_vain = InVain::default();
            for expected in expected {
                in_vain.count(Duration::from_millis(under_way), timeout);
                assert_eq!(spread(1_000, in_vain, timeout), Duration::from_secs(expected));
                assert!(spread(500, in_vain, timeout) <= Duration::from_millis(640));
            }
        }
    }
}
