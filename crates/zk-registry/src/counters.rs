//! What a registry counts as it goes: read when somebody asks, never reset.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The ends of sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionCounters {
    pub(crate) expired: Counter,
    pub(crate) lost: Counter,
    pub(crate) refused: Counter,
    pub(crate) closed: Counter,
}

/// The writes that ZooKeeper acknowledged, by operation.
#[derive(Debug, Default)]
pub(crate) struct WriteCounters {
    pub(crate) created: Counter,
    pub(crate) written: Counter,
    pub(crate) moved: Counter,
    pub(crate) deleted: Counter,
}

/// What one registry counts, over all its sessions.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) sessions: SessionCounters,
    pub(crate) writes: WriteCounters,
    /// The foreign writes of our nodes of which something was adopted, and of which nothing was.
    pub(crate) adopted: Counter,
    pub(crate) written_over: Counter,
}

/// What the views of one service came to.
#[derive(Debug, Default)]
pub(crate) struct ViewCounters {
    pub(crate) changes: Counter,
    pub(crate) resyncs: Counter,
    pub(crate) repairs: Counter,
}

/// The states of things that come and go, such as registrations, each told by the thing itself.
#[derive(Debug)]
pub(crate) struct Census<T> {
    states: Mutex<Vec<watch::Receiver<T>>>,
}

impl<T> Default for Census<T> {
    fn default() -> Self {
        Self { states: Mutex::default() }
    }
}

impl<T> Census<T> {
    /// Counts it in, until its sender is gone.
    pub(crate) fn enter(&self, state: watch::Receiver<T>) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are gone are let go of before the list has to grow, so that each entry costs a constant time.
        if states.len() == states.capacity() {
            states.retain(is_there);
            let room = states.len().max(16);
            states.reserve(room);
        }
        states.push(state);
    }

    /// Looks at the state of each that is there.
    pub(crate) fn each(&self, mut look: impl FnMut(&T)) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.retain(is_there);
        states.iter().for_each(|state| look(&state.borrow()));
    }
}

fn is_there<T>(state: &watch::Receiver<T>) -> bool {
    state.has_changed().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_counts_those_that_are_there_and_keeps_no_others() {
        let census = Census::default();
        let stays = watch::Sender::new(7);
        census.enter(stays.subscribe());
        for gone in 0..10_000 {
            census.enter(watch::Sender::new(gone).subscribe());
        }
        assert!(census.states.lock().unwrap().capacity() < 100);
        let mut seen = Vec::new();
        census.each(|state| seen.push(*state));
        assert_eq!(seen, [7]);
    }
}
