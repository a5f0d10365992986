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

/// How many session timeouts a resync is spread over at most, after connections that were lost before everything was read.
const LONGEST: u32 = 4;

/// The longest delay of a resync: at most a quarter of the session timeout. It doubles with each connection that was lost before
/// everything was read, up to four session timeouts: a server that cannot answer all in time would be asked for ever otherwise.
pub(super) fn spread(instances: usize, in_vain: u32, session_timeout: Duration) -> Duration {
    let count = |instances: usize| u32::try_from(instances).unwrap_or(u32::MAX);
    let small = PER_INSTANCE * count(instances.min(SMALL));
    let large = PER_FURTHER.saturating_mul(count(instances.saturating_sub(SMALL)));
    let first = small.saturating_add(large).min(session_timeout / 4);
    first.saturating_mul(2_u32.saturating_pow(in_vain)).min(session_timeout.saturating_mul(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_service_is_read_at_once_and_the_largest_within_a_quarter_of_the_session() {
        let timeout = Duration::from_secs(10);
        assert_eq!(spread(0, 0, timeout), Duration::ZERO);
        assert_eq!(spread(500, 0, timeout), Duration::from_millis(10));
        assert_eq!(spread(600, 0, timeout), Duration::from_millis(510));
        assert_eq!(spread(1_000, 0, timeout), Duration::from_millis(2_500));
        assert_eq!(spread(usize::MAX, 0, timeout), Duration::from_millis(2_500));
    }

    #[test]
    fn who_did_not_get_everything_comes_later_and_later() {
        let timeout = Duration::from_secs(10);
        let spreads = [0, 1, 2, 3, 4, 5, u32::MAX].map(|in_vain| spread(1_000, in_vain, timeout).as_millis());
        assert_eq!(spreads, [2_500, 5_000, 10_000, 20_000, 40_000, 40_000, 40_000]);
        assert_eq!(spread(500, 3, timeout), Duration::from_millis(80));
    }
}
