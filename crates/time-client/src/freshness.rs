//! The moment up to which a snapshot was true, as both outputs write it.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use zk_registry::Freshness;

use crate::wall_clock::since_epoch;

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
