//! The load of a set: its calls in flight, as exact as a picker needs them.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use crate::balance::stripe::{CachePadded, STRIPES, stripe};
use crate::balance::{EndpointSet, Index};

/// The sum of calls in flight, brought up to date a few endpoints at a time: a counter of all calls would be written by every
/// thread for each of them. In a large set the sum is as old as some picks, of which each instance has about one.
#[derive(Default)]
pub(super) struct Load {
    /// The sum of the last round.
    sum: AtomicU64,
    /// The sum of this round so far.
    partial: AtomicU64,
    /// The next endpoint to be looked at in this round.
    next: AtomicUsize,
    /// How often each stripe has asked.
    asked: [CachePadded<AtomicUsize>; STRIPES],
}

/// So many endpoints are looked at for each pick; a set that is not larger is counted each time.
const STEP: usize = 8;
/// Threads leave each other alone for so many picks.
const PICKS: usize = 8;

impl Load {
    pub(super) fn of(set: &EndpointSet) -> Self {
        Self { sum: AtomicU64::new(set.total_in_flight()), ..Self::default() }
    }

    /// Calls in flight to `set`, give or take one or two for each instance.
    pub(super) fn sum(&self, set: &EndpointSet) -> u64 {
        if set.len() <= STEP {
            return set.total_in_flight();
        }
        let asked = &self.asked[stripe()].0;
        let times = asked.load(Relaxed).wrapping_add(1);
        asked.store(times, Relaxed);
        if times.is_multiple_of(PICKS) {
            self.go_on(set);
        }
        self.sum.load(Relaxed)
    }

    /// Two threads at once make the sum a little wrong for one round.
    fn go_on(&self, set: &EndpointSet) {
        let first = self.next.load(Relaxed);
        let end = (first + STEP * PICKS).min(set.len());
        let part: u64 = (first..end).map(|place| u64::from(set[Index::new(place)].in_flight())).sum();
        let partial = self.partial.load(Relaxed) + part;
        if end == set.len() {
            self.sum.store(partial, Relaxed);
            self.partial.store(0, Relaxed);
            self.next.store(0, Relaxed);
        } else {
            self.partial.store(partial, Relaxed);
            self.next.store(end, Relaxed);
        }
    }
}
