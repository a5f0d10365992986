//! The cache of each thread for the candidates it picks from, so that it need not ask the balancer for the same ones again.
//!
//! It holds them weakly: candidates that were replaced are freed by the end of the last call to one of them.

use std::cell::RefCell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use super::tier::Candidates;

/// A place in each thread's memory.
#[derive(Debug)]
pub(super) struct ThreadCache(usize);

/// How many places there are. Balancers that share one forget for each other, and that only costs time.
const SLOTS: usize = 8;

type Remembered = (u64, Weak<Candidates>);

thread_local! {
    static MEMORY: [RefCell<Remembered>; SLOTS] = const { [const { RefCell::new((0, Weak::new())) }; SLOTS] };
}

impl ThreadCache {
    /// The place of a new balancer.
    pub(super) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Relaxed) % SLOTS)
    }

    /// The candidates with this stamp, if the thread knows them.
    #[inline]
    pub(super) fn get(&self, stamp: u64) -> Option<Arc<Candidates>> {
        // A thread that ends remembers nothing.
        MEMORY
            .try_with(|memory| {
                let (known, candidates) = &*memory[self.0].borrow();
                if *known == stamp { candidates.upgrade() } else { None }
            })
            .ok()?
    }

    /// Remembers candidates by their stamp, which no others have.
    pub(super) fn put(&self, stamp: u64, candidates: &Arc<Candidates>) {
        // As above. Dropping what was remembered before frees memory, and runs nothing.
        let _ = MEMORY.try_with(|memory| memory[self.0].replace((stamp, Arc::downgrade(candidates))));
    }
}
