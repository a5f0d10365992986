//! The retry budget of a client: a share of all its calls, so that retries cannot multiply an outage. After Finagle's
//! `RetryBudget`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The rules of a [`Budget`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct BudgetOptions {
    /// Retries per call. With 0.2, five calls pay for one retry. Defaults to 0.2.
    pub share: f64,
    /// Retries per second that are allowed in any case, so that a client with few calls can retry at all. Defaults to 10.
    pub floor: u32,
    /// The time for which a call counts; what it paid and no retry took by then is lost. Defaults to 10 seconds.
    pub window: Duration,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { share: 0.2, floor: 10, window: Duration::from_secs(10) }
    }
}

impl BudgetOptions {
    /// Sets [`share`](Self::share).
    #[must_use]
    pub const fn with_share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// Sets [`floor`](Self::floor).
    #[must_use]
    pub const fn with_floor(mut self, floor: u32) -> Self {
        self.floor = floor;
        self
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }
}

/// A retry budget: calls pay in, retries take out. Share one among all calls to a service.
///
/// Within any window there are at most `share x calls + floor x window` retries, give or take a tenth of a window.
#[derive(Debug)]
pub struct Budget {
    options: BudgetOptions,
    purse: Mutex<Purse>,
}

/// The last window in ten slots: what calls paid in minus what retries took out, in thousandths of a retry.
#[derive(Debug)]
struct Purse {
    slots: [i64; SLOTS],
    current: usize,
    /// When the current slot began.
    since: Instant,
}

const SLOTS: usize = 10;
const RETRY: i64 = 1000;

impl Budget {
    /// A budget that begins with a window's floor.
    pub fn new(options: BudgetOptions) -> Self {
        Self::starting(options, Instant::now())
    }

    /// A budget whose first window begins at `now`.
    pub fn starting(options: BudgetOptions, now: Instant) -> Self {
        Self { options, purse: Mutex::new(Purse { slots: [0; SLOTS], current: 0, since: now }) }
    }

    /// A call began: it pays for its share of a retry. Retries do not pay.
    pub fn deposit(&self, now: Instant) {
        let paid = (self.options.share * RETRY as f64) as i64;
        let mut purse = self.at(now);
        *purse.slot() = purse.slot().saturating_add(paid);
    }

    /// Takes one retry out, if there is one.
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut purse = self.at(now);
        let affordable = self.balance(&purse) >= RETRY;
        if affordable {
            *purse.slot() -= RETRY;
        }
        affordable
    }

    /// The number of retries left at `now`.
    pub fn left(&self, now: Instant) -> u64 {
        let purse = self.at(now);
        (self.balance(&purse).max(0) / RETRY).cast_unsigned()
    }

    fn balance(&self, purse: &Purse) -> i64 {
        let floor = f64::from(self.options.floor) * self.options.window.as_secs_f64() * RETRY as f64;
        (floor as i64).saturating_add(purse.slots.iter().fold(0, |sum, slot| i64::saturating_add(sum, *slot)))
    }

    /// The purse as it is at `now`: slots that ended long ago are emptied.
    fn at(&self, now: Instant) -> MutexGuard<'_, Purse> {
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner); // numbers are always whole
        let slot = (self.options.window / SLOTS as u32).max(Duration::from_nanos(1));
        let since = now.saturating_duration_since(purse.since);
        if since < slot {
            return purse; // nearly always: every call comes here, and dividing such numbers takes longer than all the rest
        }
        let passed = since.as_nanos() / slot.as_nanos();
        if passed >= SLOTS as u128 {
            *purse = Purse { slots: [0; SLOTS], current: 0, since: now };
        } else {
            for _ in 0..passed {
                purse.current = (purse.current + 1) % SLOTS;
                *purse.slot() = 0;
                purse.since += slot;
            }
        }
        purse
    }
}

impl Purse {
    fn slot(&mut self) -> &mut i64 {
        &mut self.slots[self.current]
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BudgetOptions::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &Budget, now: Instant) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now)).take_while(|&allowed| allowed).count()
    }

    #[test]
    fn five_calls_pay_for_one_retry_on_top_of_the_floor() {
        let now = Instant::now();
        let budget = Budget::starting(BudgetOptions::default(), now);
        assert_eq!(retries(&budget, now), 100);
        for _ in 0..50 {
            budget.deposit(now);
        }
        assert_eq!(budget.left(now), 10);
        assert_eq!(retries(&budget, now), 10);
    }

    #[test]
    fn savings_are_lost_and_debts_forgotten_after_a_window() {
        let now = Instant::now();
        let budget = Budget::starting(BudgetOptions { floor: 0, ..BudgetOptions::default() }, now);
        for _ in 0..50 {
            budget.deposit(now);
        }
        assert_eq!(budget.left(now + Duration::from_secs(9)), 10);
        assert_eq!(budget.left(now + Duration::from_secs(11)), 0);
        assert_eq!(budget.left(now + Duration::from_secs(3600)), 0);
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        let start = Instant::now();
        let budget = Budget::starting(BudgetOptions::default(), start);
        let (mut calls, mut retried) = (0, 0);
        for millisecond in 0..60_000 {
            let now = start + Duration::from_millis(millisecond);
            calls += 1;
            budget.deposit(now);
            retried += retries(&budget, now); // everything fails, everything is retried as often as allowed
        }
        let most = calls / 5 + 10 * 60 + 100 + calls / 5 / 60;
        assert!(retried <= most, "{retried} retries of {calls} calls, allowed {most}");
    }
}
