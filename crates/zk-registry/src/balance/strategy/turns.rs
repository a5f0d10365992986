//! Turns that many threads take.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::balance::lane::Padded;

/// Numbers, each of them given out once, in order, whoever asks: a task moves between threads, and its calls must take
/// turns all the same.
#[derive(Debug)]
pub(super) struct Turns {
    next: Padded<AtomicUsize>,
}

impl Turns {
    pub(super) fn starting_at(first: usize) -> Self {
        Self { next: Padded(AtomicUsize::new(first)) }
    }

    pub(super) fn next(&self) -> usize {
        self.next.0.fetch_add(1, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_share_out_the_turns() {
        let turns = Turns::starting_at(7);
        let take = || (0..1000).map(|_| turns.next()).collect::<Vec<_>>();
        let mut taken = std::thread::scope(|scope| {
            let other = scope.spawn(take);
            let mut taken = take();
            taken.extend(other.join().unwrap());
            taken
        });
        taken.sort_unstable();
        assert_eq!(taken, (7..2007).collect::<Vec<_>>());
    }
}
