//! Retries as decisions: whether to try again, after which pause, and at which instances not. Waiting and dialling are the
//! caller's.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::entropy::Entropy;
use super::hash;
use super::lease::Lease;
use super::outcome::Outcome;
use crate::instance::InstanceId;

/// The rules of retrying one call.
///
/// ```
/// use zk_registry::balance::{Balancer, Budget, Decision, Outcome, PickError, Retry, Safety, strategy::LeastLoaded};
/// # use zk_registry::{Instance, ServiceName, Snapshot};
/// # use std::{sync::Arc, time::Duration};
/// # use tokio::time::Instant;
/// # async fn call(_: String) -> Outcome { Outcome::Success }
/// # async fn example(balancer: Balancer) -> Result<(), Box<dyn std::error::Error>> {
/// let budget = Arc::new(Budget::default()); // one for all calls to the service
/// let mut attempts = Retry::default().begin(&budget, Safety::Idempotent, Some(Instant::now() + Duration::from_secs(1)));
/// loop {
///     let lease = match balancer.pick_avoiding(attempts.tried()) {
///         Err(PickError::AllExcluded) => { attempts.start_over(); continue }
///         picked => picked?,
///     };
///     let outcome = call(lease.instance().address()).await;
///     match attempts.finish(lease, outcome, Instant::now(), &mut rand::random::<u64>) {
///         Decision::Done => return Ok(()),
///         Decision::Retry { after } => tokio::time::sleep(after).await,
///         Decision::GiveUp(why) => return Err(why.into()),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Retry {
    /// The number of attempts of a call at most, over all instances, the first one included. Defaults to 3.
    pub attempts: u32,
    /// The pause before the second retry; it doubles from there on. There is none before the first retry, which goes
    /// elsewhere. Defaults to 10 milliseconds.
    pub pause: Duration,
    /// The longest pause. Defaults to 250 milliseconds.
    pub pause_cap: Duration,
    /// The time that must be left between the end of the pause and the deadline for a retry to begin. Defaults to 1
    /// millisecond.
    pub least: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 3,
            pause: Duration::from_millis(10),
            pause_cap: Duration::from_millis(250),
            least: Duration::from_millis(1),
        }
    }
}

/// The safety of repeating a call that may have been executed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Safety {
    /// Repeating does no harm: any failure may be retried.
    Idempotent,
    /// Repeating may do harm: only a call that was [refused](Outcome::Refused) or [never arrived](Outcome::Unreachable), so
    /// that nothing was done, is retried.
    Once,
}

/// The decision after an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Decision {
    /// The call succeeded, or was given up.
    Done,
    /// Give up; the last outcome stands.
    GiveUp(GiveUp),
    /// Try again after a pause, at an instance that was not tried while there is one.
    Retry {
        /// The pause.
        after: Duration,
    },
}

/// The reason for which a call is not tried again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum GiveUp {
    /// The call was tried as often as the rules allow.
    Attempts,
    /// Too many calls were retried lately.
    Budget,
    /// The deadline would pass first.
    Deadline,
    /// Part of the work may have been done, and doing it twice does harm.
    Unsafe,
}

impl std::fmt::Display for GiveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attempts => "tried as often as allowed",
            Self::Budget => "the retry budget is spent",
            Self::Deadline => "no time is left to try again",
            Self::Unsafe => "the call may have been executed and must not be repeated",
        })
    }
}

impl std::error::Error for GiveUp {}

/// The price of a retry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Price {
    Free,
    /// One retry of the budget.
    Paid,
}

/// One call and its attempts so far. Allocates nothing unless an attempt fails.
#[derive(Debug)]
pub struct Attempts {
    rules: Retry,
    budget: Arc<Budget>,
    safety: Safety,
    deadline: Option<Instant>,
    tried: Vec<InstanceId>,
    made: u32,
}

impl Retry {
    /// Never tries again.
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub const fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`pause`](Self::pause).
    #[must_use]
    pub const fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Sets [`pause_cap`](Self::pause_cap).
    #[must_use]
    pub const fn with_pause_cap(mut self, pause_cap: Duration) -> Self {
        self.pause_cap = pause_cap;
        self
    }

    /// Sets [`least`](Self::least).
    #[must_use]
    pub const fn with_least(mut self, least: Duration) -> Self {
        self.least = least;
        self
    }

    /// A call begins now: it pays into the budget.
    pub fn begin(&self, budget: &Arc<Budget>, safety: Safety, deadline: Option<Instant>) -> Attempts {
        self.begin_at(budget, safety, deadline, Instant::now())
    }

    /// A call begins at `now`.
    pub fn begin_at(
        &self,
        budget: &Arc<Budget>,
        safety: Safety,
        deadline: Option<Instant>,
        now: Instant,
    ) -> Attempts {
        budget.deposit(now);
        Attempts { rules: *self, budget: Arc::clone(budget), safety, deadline, tried: Vec::new(), made: 0 }
    }
}

impl Attempts {
    /// The instances to avoid: those that failed this call.
    pub fn tried(&self) -> &[InstanceId] {
        &self.tried
    }

    /// The number of attempts made.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Every instance was tried: forget them, so that one may be tried again.
    pub fn start_over(&mut self) {
        self.tried.clear();
    }

    /// An attempt ended at `now`: ends its lease with the outcome. A retry is paid from the budget, unless the attempt was a
    /// [probe](Lease::is_probe), which the balancer and not the caller wanted.
    pub fn finish(
        &mut self,
        lease: Lease,
        outcome: Outcome,
        now: Instant,
        rng: &mut dyn Entropy,
    ) -> Decision {
        let decision = self.judge(&lease, outcome, now, rng);
        lease.finish_at(outcome, now);
        decision
    }

    /// An attempt ended at `now`, of which the lease is held until its answer is read. Paid as by [`finish`](Self::finish).
    pub fn judge(
        &mut self,
        lease: &Lease,
        outcome: Outcome,
        now: Instant,
        rng: &mut dyn Entropy,
    ) -> Decision {
        let price = if lease.is_probe() { Price::Free } else { Price::Paid };
        self.decide(lease.endpoint().id().clone(), outcome, price, now, rng)
    }

    /// An attempt at `instance` ended at `now`, of which the lease is over. A retry is paid from the budget.
    pub fn ended(
        &mut self,
        instance: InstanceId,
        outcome: Outcome,
        now: Instant,
        rng: &mut dyn Entropy,
    ) -> Decision {
        self.decide(instance, outcome, Price::Paid, now, rng)
    }

    fn decide(
        &mut self,
        instance: InstanceId,
        outcome: Outcome,
        price: Price,
        now: Instant,
        rng: &mut dyn Entropy,
    ) -> Decision {
        self.made += 1;
        if matches!(outcome, Outcome::Cancelled | Outcome::Success) {
            return Decision::Done;
        }
        self.tried.push(instance);
        let after = self.pause(rng);
        let needed = after.saturating_add(self.rules.least);
        let too_late = |deadline: Instant| needed > deadline.saturating_duration_since(now);
        if outcome == Outcome::Failure && self.safety == Safety::Once {
            Decision::GiveUp(GiveUp::Unsafe)
        } else if self.made >= self.rules.attempts {
            Decision::GiveUp(GiveUp::Attempts)
        } else if self.deadline.is_some_and(too_late) {
            Decision::GiveUp(GiveUp::Deadline)
        } else if price == Price::Paid && !self.budget.withdraw(now) {
            Decision::GiveUp(GiveUp::Budget)
        } else {
            Decision::Retry { after }
        }
    }

    /// None before the first retry, then doubling up to the cap; half of it is jitter.
    fn pause(&self, rng: &mut dyn Entropy) -> Duration {
        let Some(doublings) = self.made.checked_sub(2) else { return Duration::ZERO };
        let full = self.rules.pause.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        let full = full.min(self.rules.pause_cap);
        full.div_f64(2.0).saturating_add(full.mul_f64(hash::unit(rng.next_u64()) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::balance::BudgetOptions;

    fn id(n: u32) -> InstanceId {
        format!("i-{n}").parse().unwrap()
    }

    fn rng() -> impl Entropy {
        let mut rng = SmallRng::seed_from_u64(1);
        move || rng.next_u64()
    }

    #[test]
    fn the_first_retry_is_at_once_and_the_next_ones_wait_longer_and_longer() {
        let now = Instant::now();
        let rules = Retry { attempts: 12, ..Retry::default() };
        let mut attempts = rules.begin_at(&Arc::default(), Safety::Idempotent, None, now);
        let pauses: Vec<_> = (0..11)
            .map(|n| match attempts.ended(id(n), Outcome::Failure, now, &mut rng()) {
                Decision::Retry { after } => after,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses[0], Duration::ZERO);
        assert!(pauses[1] >= rules.pause / 2 && pauses[1] <= rules.pause);
        assert!(pauses.is_sorted() && pauses[10] <= rules.pause_cap, "{pauses:?}");
        assert_eq!(attempts.tried().len(), 11);
        assert_eq!(
            attempts.ended(id(11), Outcome::Failure, now, &mut rng()),
            Decision::GiveUp(GiveUp::Attempts)
        );
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_if_that_does_no_harm() {
        let now = Instant::now();
        let after = |safety, outcome| {
            Retry::default().begin_at(&Arc::default(), safety, None, now).ended(
                id(0),
                outcome,
                now,
                &mut rng(),
            )
        };
        let retry = Decision::Retry { after: Duration::ZERO };
        assert_eq!(after(Safety::Idempotent, Outcome::Failure), retry);
        assert_eq!(after(Safety::Once, Outcome::Refused), retry);
        assert_eq!(after(Safety::Once, Outcome::Unreachable), retry);
        assert_eq!(after(Safety::Once, Outcome::Failure), Decision::GiveUp(GiveUp::Unsafe));
        assert_eq!(after(Safety::Once, Outcome::Success), Decision::Done);
        assert_eq!(after(Safety::Once, Outcome::Cancelled), Decision::Done);
    }

    #[test]
    fn no_retry_begins_that_the_deadline_would_overtake() {
        let now = Instant::now();
        let until =
            |deadline| {
                Retry::default()
                    .begin_at(&Arc::default(), Safety::Idempotent, Some(now + deadline), now)
                    .ended(id(0), Outcome::Refused, now, &mut rng())
            };
        assert_eq!(until(Duration::from_micros(999)), Decision::GiveUp(GiveUp::Deadline));
        assert_eq!(until(Duration::from_millis(2)), Decision::Retry { after: Duration::ZERO });
    }

    #[test]
    fn a_spent_budget_ends_retries_of_all_calls() {
        let now = Instant::now();
        let budget = Arc::new(Budget::starting(
            BudgetOptions { floor: 0, share: 0.5, ..BudgetOptions::default() },
            now,
        ));
        let decisions: Vec<_> = (0..4)
            .map(|_| {
                Retry::default().begin_at(&budget, Safety::Idempotent, None, now).ended(
                    id(0),
                    Outcome::Refused,
                    now,
                    &mut rng(),
                )
            })
            .collect();
        let retry = Decision::Retry { after: Duration::ZERO };
        let spent = Decision::GiveUp(GiveUp::Budget);
        assert_eq!(decisions, [spent, retry, spent, retry]);
    }
}
