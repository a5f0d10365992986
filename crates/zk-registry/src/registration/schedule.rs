//! When each registration is looked at again: in the next round, or at a time.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::holders::Key;

/// The registrations that are due now, and those that will be. One registration has at most one timer.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    due: BTreeSet<Key>,
    timers: BTreeSet<(Instant, Key)>,
    times: HashMap<Key, Instant>,
}

impl Schedule {
    /// Puts a registration into the next round. Its timer, if it has one, stays.
    pub(super) fn due(&mut self, key: Key) {
        self.due.insert(key);
    }

    /// Puts a registration into a round after `delay`, in place of its earlier timer.
    pub(super) fn later(&mut self, key: Key, delay: Duration) {
        let at = Instant::now() + delay;
        if let Some(before) = self.times.insert(key, at) {
            self.timers.remove(&(before, key));
        }
        self.timers.insert((at, key));
    }

    /// The next registration that is due.
    pub(super) fn pop(&mut self) -> Option<Key> {
        self.due.pop_first()
    }

    /// How many registrations are due.
    pub(super) fn count(&self) -> usize {
        self.due.len()
    }

    /// When the first timer ends.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Makes due whatever timer has ended.
    pub(super) fn wake(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, key));
            self.times.remove(&key);
            self.due.insert(key);
        }
    }

    /// Forgets a registration.
    pub(super) fn forget(&mut self, key: Key) {
        self.due.remove(&key);
        if let Some(at) = self.times.remove(&key) {
            self.timers.remove(&(at, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_later_time_replaces_the_one_before() {
        let mut schedule = Schedule::default();
        let key = Key::fresh();
        schedule.later(key, Duration::from_secs(1));
        schedule.later(key, Duration::from_secs(9));
        schedule.wake(Instant::now() + Duration::from_secs(5));
        assert_eq!(schedule.pop(), None);
        schedule.wake(Instant::now() + Duration::from_secs(9));
        assert_eq!((schedule.pop(), schedule.pop(), schedule.next_timer()), (Some(key), None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_registration_is_never_due() {
        let mut schedule = Schedule::default();
        let key = Key::fresh();
        schedule.later(key, Duration::ZERO);
        schedule.due(key);
        schedule.forget(key);
        schedule.wake(Instant::now());
        assert_eq!((schedule.pop(), schedule.next_timer()), (None, None));
    }
}
