//! Turns that many threads take.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use tokio::time::Instant;

use crate::balance::stripe::{CachePadded, STRIPES, stripe};

/// Numbers, each of them given out once.
///
/// In order, on every thread: a task moves between threads, and its calls must take turns all the same. Only a thread that asks
/// within a microsecond of another takes some at once, so that the two are not in each other's way; between their calls there
/// is no order that could be seen.
#[derive(Debug)]
pub(super) struct Turns {
    epoch: Instant,
    shared: CachePadded<Shared>,
    /// What each stripe has left of its block.
    blocks: [CachePadded<AtomicU64>; STRIPES],
}

#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    /// The stripe that asked last, and the microsecond in which it was the first to.
    stripe: AtomicUsize,
    since: AtomicU64,
}

/// How many turns a crowded thread takes.
const BLOCK: u64 = 64;
/// A block in one word: how many turns are left, and above that the next of them.
const LEFT: u64 = 0xff;
const TURN: u64 = LEFT + 1;
/// The turns begin anew after this one.
const HIGHEST: u64 = u64::MAX / TURN;

impl Turns {
    pub(super) fn starting_at(first: usize) -> Self {
        let shared = Shared {
            next: AtomicU64::new(first as u64),
            stripe: AtomicUsize::new(usize::MAX),
            since: AtomicU64::new(u64::MAX),
        };
        Self { epoch: Instant::now(), shared: CachePadded(shared), blocks: Default::default() }
    }

    #[inline]
    pub(super) fn next(&self, now: impl FnOnce() -> Instant) -> u64 {
        let stripe = stripe();
        let (word, last) = (self.blocks[stripe].0.load(Relaxed), self.shared.0.stripe.load(Relaxed));
        if word & LEFT == 0 && last == stripe {
            return self.shared.0.next.fetch_add(1, Relaxed) & HIGHEST;
        }
        self.next_among_others(stripe, word, now)
    }

    /// Another stripe asked last, or did when this one took its block.
    fn next_among_others(&self, stripe: usize, word: u64, now: impl FnOnce() -> Instant) -> u64 {
        let block = &self.blocks[stripe].0;
        // Two threads of the same stripe may be in each other's way here.
        if word & LEFT > 0 && block.compare_exchange(word, word + TURN - 1, Relaxed, Relaxed).is_ok() {
            return word / TURN;
        }
        if self.is_crowded(stripe, now()) {
            self.take_block(block, word);
        }
        self.shared.0.next.fetch_add(1, Relaxed) & HIGHEST
    }

    /// Whether stripes ask in turns within a microsecond. Two at once may miss each other; they meet again.
    fn is_crowded(&self, stripe: usize, now: Instant) -> bool {
        let shared = &self.shared.0;
        shared.stripe.store(stripe, Relaxed);
        let since = now.saturating_duration_since(self.epoch);
        let micros = since.as_secs().wrapping_mul(1_000_000).wrapping_add(u64::from(since.subsec_micros()));
        let before = shared.since.load(Relaxed);
        shared.since.store(micros, Relaxed);
        micros.abs_diff(before) <= 1
    }

    #[cold]
    fn take_block(&self, block: &AtomicU64, seen: u64) {
        let first = self.shared.0.next.fetch_add(BLOCK, Relaxed) & HIGHEST;
        // Losing the race means that another thread of the stripe has taken a block for both; the turns of this one are lost.
        let _ = block.compare_exchange(seen, first.wrapping_mul(TURN) + BLOCK, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_task_that_moves_between_threads_gets_its_turns_in_order() {
        let turns = Turns::starting_at(7);
        for turn in 7..300 {
            let now = turns.epoch + Duration::from_micros(10 * turn);
            let taken = std::thread::scope(|scope| scope.spawn(|| turns.next(|| now)).join().unwrap());
            assert_eq!(taken, turn);
        }
    }

    #[test]
    fn a_crowd_shares_out_the_turns() {
        let turns = Turns::starting_at(7);
        let now = turns.epoch;
        let take = || (0..100_000).map(|_| turns.next(|| now)).collect::<Vec<_>>();
        let mut taken = std::thread::scope(|scope| {
            let other = scope.spawn(take);
            let mut taken = take();
            taken.extend(other.join().unwrap());
            taken
        });
        taken.sort_unstable();
        // Each of them once; all but what is left of two blocks.
        assert!(taken.is_sorted_by(|a, b| a < b));
        assert!(taken[0] >= 7 && taken[taken.len() - 1] < 7 + 200_000 + 2 * BLOCK);
    }
}
