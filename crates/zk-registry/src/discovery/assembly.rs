//! Several views that make one: what a composer needs to know of how they are put together.

use std::cmp::Reverse;

use tokio::time::Instant;

use crate::snapshot::{Freshness, Snapshot};

/// One snapshot made of several. Pure.
pub(crate) trait Assembly {
    /// Whether an instance that left one part may be found in another one.
    fn moves(&self) -> bool;

    /// Whether an instance is missing from this snapshot of a part that was there before.
    fn loses(&self, part: usize, newer: &Snapshot) -> bool;

    /// A part looks like this now. Whether that is news.
    fn take_up(&mut self, part: usize, newer: Snapshot) -> bool;

    /// What the parts make.
    fn snapshot(&mut self) -> Snapshot;
}

/// The worst of these.
pub(super) fn worst_freshness<'a>(parts: impl Iterator<Item = &'a Snapshot>) -> Freshness {
    parts.map(Snapshot::freshness).max_by_key(doubt).unwrap_or(Freshness::Pending)
}

/// The worst freshness is the largest.
pub(super) fn doubt(freshness: &Freshness) -> (u8, Reverse<Option<Instant>>) {
    match freshness {
        Freshness::Live => (0, Reverse(None)),
        Freshness::Stale { since } => (1, Reverse(Some(*since))),
        Freshness::Disk { .. } => (2, Reverse(None)),
        Freshness::Pending => (3, Reverse(None)),
    }
}
