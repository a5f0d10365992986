//! Lanes, so that no two threads write to the same cache line: each thread has one, for life, and what is shared exists once
//! per lane.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// How many lanes there are. A power of two; more threads than that share.
pub(super) const LANES: usize = 16;

/// A value that shares its cache line, and the line prefetched with it, with nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Padded<T>(pub(super) T);

/// The lane of the current thread.
#[inline]
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
