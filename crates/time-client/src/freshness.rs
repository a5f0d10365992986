//! The freshness of a snapshot as both outputs write it: one word, and the moment up to which the snapshot was true.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use zk_registry::Freshness;

use crate::wall_clock::since_epoch;

/// The word for a freshness: `disk`, `live`, `stale` or `pending`.
pub(crate) fn word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Disk { .. } => "disk",
        Freshness::Live => "live",
        Freshness::Stale { .. } => "stale",
        _ => "pending",
    }
}

/// The moment up to which a snapshot is known to have been true, in nanoseconds since the epoch; `None` for one that is live
/// or pending.
pub(crate) fn true_until(freshness: Freshness) -> Option<u64> {
    match freshness {
        Freshness::Disk { written } => Some(since_epoch(written)),
        Freshness::Stale { since } => {
            let age = Instant::now().saturating_duration_since(since);
            Some(since_epoch(SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH)))
        }
        _ => None,
    }
}
