//! The words and numbers by which snapshots are told to programs and people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use zk_registry::Freshness;

/// One word for a freshness.
pub(crate) fn freshness(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Disk { .. } => "disk",
        Freshness::Live => "live",
        Freshness::Stale { .. } => "stale",
        _ => "pending",
    }
}

/// Up to when a snapshot is known to have been true, in nanoseconds since the epoch; `None` when it still is, or never was.
pub(crate) fn true_until(freshness: Freshness) -> Option<u64> {
    match freshness {
        Freshness::Disk { written } => Some(nanos(written)),
        Freshness::Stale { since } => {
            let age = Instant::now().saturating_duration_since(since);
            Some(nanos(SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH)))
        }
        _ => None,
    }
}

/// Nanoseconds since the epoch.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now() -> u64 {
    nanos(SystemTime::now())
}

/// A moment for people: the time of day in UTC.
pub(crate) fn clock(at_ns: u64) -> String {
    jiff::Timestamp::from_nanosecond(at_ns.into()).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
