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

/// The longest delay of a resync: at most a quarter of the session timeout.
pub(super) fn spread(instances: usize, session_timeout: Duration) -> Duration {
    let count = |instances: usize| u32::try_from(instances).unwrap_or(u32::MAX);
    let small = PER_INSTANCE * count(instances.min(SMALL));
    let large = PER_FURTHER.saturating_mul(count(instances.saturating_sub(SMALL)));
    small.saturating_add(large).min(session_timeout / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_service_is_read_at_once_and_the_largest_within_a_quarter_of_the_session() {
        let timeout = Duration::from_secs(10);
        assert_eq!(spread(0, timeout), Duration::ZERO);
        assert_eq!(spread(500, timeout), Duration::from_millis(10));
        assert_eq!(spread(600, timeout), Duration::from_millis(510));
        assert_eq!(spread(1_000, timeout), Duration::from_millis(2_500));
        assert_eq!(spread(usize::MAX, timeout), Duration::from_millis(2_500));
    }
}
