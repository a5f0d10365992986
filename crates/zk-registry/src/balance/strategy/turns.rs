//! Turns that many threads take without queueing for one counter.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::balance::lane::{LANES, Padded, lane};

/// Numbers, each of them given out once: a lane takes a block of them and gives out one after the other. A single
/// thread has them all in order.
#[derive(Debug)]
pub(super) struct Turns {
    first: usize,
    /// Where the next block begins.
    blocks: Padded<AtomicUsize>,
    /// The next turn of each lane; a multiple of the block's size when it needs a new block.
    lanes: [Padded<AtomicUsize>; LANES],
}

/// A prime, so that the lanes' blocks do not begin at the same instance of a set of a usual size.
const BLOCK: usize = 61;

impl Turns {
    pub(super) fn starting_at(first: usize) -> Self {
        Self { first, blocks: Padded::default(), lanes: Default::default() }
    }

    /// The next number. Threads that share a lane, because there are more threads than lanes, may meet with the same one.
    pub(super) fn next(&self) -> usize {
        let lane = &self.lanes[lane()].0;
        let mut turn = lane.load(Relaxed);
        if turn.is_multiple_of(BLOCK) {
            turn = self.blocks.0.fetch_add(BLOCK, Relaxed);
        }
        lane.store(turn.wrapping_add(1), Relaxed);
        self.first.wrapping_add(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_has_all_turns_in_order() {
        let turns = Turns::starting_at(7);
        assert!((7..1000).all(|turn| turns.next() == turn));
    }

    #[test]
    fn threads_share_out_the_turns() {
        let turns = Turns::starting_at(0);
        let take = || (0..10 * BLOCK).map(|_| turns.next()).collect::<Vec<_>>();
        let mut taken = std::thread::scope(|scope| {
            let other = scope.spawn(take);
            let mut taken = take();
            taken.extend(other.join().unwrap());
            taken
        });
        taken.sort_unstable();
        assert_eq!(taken, (0..20 * BLOCK).collect::<Vec<_>>());
    }
}
