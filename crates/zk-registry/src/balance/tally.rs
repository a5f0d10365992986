//! Counting and pinning without two threads writing to the same cache line.
//!
//! Each thread has a lane; shared things exist once per lane. A thread keeps its lane for life.

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// How many lanes there are. A power of two; more threads than that share.
pub(super) const LANES: usize = 16;

/// A value that shares its cache line, and the line prefetched with it, with nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// The lane of the current thread.
pub(super) fn lane() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    LANE.with(|lane| {
        if lane.get() == usize::MAX {
            lane.set(NEXT.fetch_add(1, Relaxed) % LANES);
        }
        lane.get()
    })
}

/// A count that many threads change and few read.
#[derive(Debug, Default)]
pub(super) struct Tally([Padded<AtomicU64>; LANES]);

impl Tally {
    pub(super) fn add(&self) {
        self.0[lane()].0.fetch_add(1, Relaxed);
    }

    pub(super) fn subtract(&self) {
        self.0[lane()].0.fetch_sub(1, Relaxed);
    }

    /// The count, exact once the others pause.
    pub(super) fn sum(&self) -> u64 {
        // A lane may be "negative": what one thread adds another may subtract.
        self.0
            .iter()
            .fold(0_u64, |sum, cell| sum.wrapping_add(cell.0.load(Relaxed)))
            .cast_signed()
            .max(0)
            .cast_unsigned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_adds_another_may_subtract() {
        let tally = Tally::default();
        tally.add();
        tally.add();
        std::thread::scope(|scope| {
            scope.spawn(|| tally.subtract());
        });
        assert_eq!(tally.sum(), 1);
    }
}
