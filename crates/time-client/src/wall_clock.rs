//! This machine's time of day, as the programs write it and as `sync` sends it. Deadlines and latencies never come from
//! here: they are measured on tokio's clock, which nothing sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds from the epoch to `time`; 0 for a time before it.
pub(crate) fn since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds from the epoch to now.
pub(crate) fn now() -> u64 {
    since_epoch(SystemTime::now())
}

/// A moment in text for people: date and time in UTC, with milliseconds.
pub(crate) fn text(at_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(at_ns.into()).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
