//! The health of a balancer's instances: what the outcome of a call means for the phase of its instance.
//!
//! All sets of one balancer share it. Phases change one at a time, under a lock; only failures, probes and updates take it, a
//! pick and a successful call never do.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::clock::{Clock, nanos};
use super::ejection::Cause;
use super::endpoint::Endpoint;
use super::event::{Event, PhaseChange};
use super::hash;
use super::options::{BalancerOptions, Tracking};
use super::outcome::{Outcome, PickedAs};
use super::phase::{Claim, Gate};

#[derive(Debug)]
pub(super) struct Health {
    pub(super) clock: Arc<Clock>,
    pub(super) options: BalancerOptions,
    pub(super) tracking: Tracking,
    /// Ejections are ignored, because too few instances are available.
    panic: AtomicBool,
    phases: Mutex<Phases>,
}

/// Changes of phase. The count is always that of the listed set.
#[derive(Debug, Default)]
struct Phases {
    listed: Option<Weak<[Endpoint]>>,
    total: usize,
    ejected: usize,
    /// When success rates may be compared again: that reads the whole set.
    next_comparison: u64,
    seed: u64,
    log: Throttle,
}

/// What the end of a call must know of its beginning.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) kind: PickedAs,
    /// When it began by our clock; 0 if that does not matter.
    pub(super) at: u64,
}

impl Health {
    pub(super) fn new(options: BalancerOptions, tracking: Tracking, epoch: Instant) -> Self {
        Self {
            clock: Arc::new(Clock::new(epoch, options.decay)),
            tracking,
            panic: AtomicBool::new(false),
            phases: Mutex::new(Phases {
                seed: options.seed.unwrap_or_else(rand::random),
                ..Phases::default()
            }),
            options,
        }
    }

    /// Whether ejections are ignored.
    pub(super) fn is_panic(&self) -> bool {
        self.panic.load(Relaxed)
    }

    /// `now` by our clock, if a call that begins then must know it; else 0.
    #[inline]
    pub(super) fn beginning(&self, now: Instant) -> u64 {
        if self.tracking.latency { self.clock.at(now) } else { 0 }
    }

    /// A call to `endpoint` begins.
    #[inline]
    pub(super) fn begin(&self, endpoint: &Endpoint) {
        if self.tracking.in_flight {
            endpoint.vitals.begin();
        }
    }

    /// The claim of a probe begun at `at`. It expires after `ejection.base`, so a hung probe does not block the next.
    pub(super) fn claim(&self, at: u64) -> Claim {
        Claim::until(at.saturating_add(nanos(self.options.ejection.base)))
    }

    /// A call to `endpoint` is over.
    pub(super) fn end(&self, endpoint: &Endpoint, call: Call, outcome: Outcome, now: Instant) {
        if self.tracking.in_flight {
            endpoint.vitals.end();
        }
        if endpoint.life != endpoint.vitals.life() {
            return; // the process that was called is no more: nothing is learned of its successor
        }
        if self.tracking.latency {
            let at = self.clock.at(now);
            let elapsed = at.saturating_sub(call.at) as f64;
            match outcome {
                Outcome::Success => endpoint.vitals.answered(*self.clock, at, elapsed),
                // A call given up soon says nothing of an instance that was never measured.
                Outcome::Cancelled if endpoint.vitals.latency(*self.clock, at).is_none() => {}
                _ => endpoint.vitals.outlasted(*self.clock, at, elapsed),
            }
        }
        match outcome {
            Outcome::Cancelled => self.released(endpoint, call, now),
            Outcome::Failure | Outcome::Refused => self.failed(endpoint, call, outcome, now),
            Outcome::Success => {
                endpoint.vitals.succeeded();
                if call.kind != PickedAs::Plain {
                    self.passed(endpoint, call, now);
                }
            }
        }
    }

    /// A call failed: that may be the one too many.
    #[cold]
    fn failed(&self, endpoint: &Endpoint, call: Call, outcome: Outcome, now: Instant) {
        let vitals = &endpoint.vitals;
        let streak = vitals.failed();
        if endpoint.suspect {
            if outcome == Outcome::Refused && vitals.gate() != Gate::DROPPED {
                vitals.drop_suspect();
                self.tell(now, PhaseChange::Dropped { instance: endpoint.id().clone() });
            }
            self.released(endpoint, call, now);
            return;
        }
        let rules = &self.options.ejection;
        let own = endpoint.success_rate();
        let probe = call.kind == PickedAs::Probe && vitals.is_claimed_by(self.claim(call.at));
        if !probe && !rules.is_streak(streak) && !rules.is_suspicious(own) {
            return;
        }
        let at = self.clock.at(now);
        let mut phases = self.lock();
        let cause = match vitals.gate() {
            Gate::OPEN if rules.is_streak(streak) => Cause::ConsecutiveFailures,
            Gate::OPEN
                if phases.may_compare(at) && rules.falls_behind(own, phases.success_of_others(endpoint)) =>
            {
                Cause::SuccessRate
            }
            _ if probe => Cause::FailedProbe,
            _ => return,
        };
        if cause != Cause::FailedProbe && !rules.has_room(phases.ejected, phases.total) {
            return;
        }
        let before = vitals.count_ejection(at);
        let chance = hash::unit(phases.chance());
        let until = at.saturating_add(nanos(rules.duration(before, chance)));
        vitals.eject(until);
        let change = PhaseChange::Ejected {
            instance: endpoint.id().clone(),
            cause,
            until: self.clock.instant(until),
            times: NonZeroU32::MIN.saturating_add(before),
        };
        self.changed(&mut phases, now, change);
    }

    /// A call to an instance that was not available succeeded: so many of them, and the instance is back.
    #[cold]
    fn passed(&self, endpoint: &Endpoint, call: Call, now: Instant) {
        let at = self.clock.at(now);
        let mut phases = self.lock();
        if endpoint.vitals.gate() == Gate::OPEN {
            return; // another call was faster
        }
        if endpoint.vitals.probe_passed() < self.options.ejection.probes.get() {
            self.released(endpoint, call, now);
            return;
        }
        // Its record is clean once it has been well for as long as it was ejected.
        let last = self.options.ejection.duration(endpoint.vitals.ejections().saturating_sub(1), 1.0);
        endpoint.vitals.readmit(at.saturating_add(nanos(last)));
        self.changed(&mut phases, now, PhaseChange::Available { instance: endpoint.id().clone() });
    }

    /// A probe found nothing out, or not enough: the next call may try.
    fn released(&self, endpoint: &Endpoint, call: Call, now: Instant) {
        if call.kind == PickedAs::Probe {
            endpoint.vitals.release_probe(self.claim(call.at), self.clock.at(now));
        }
    }

    /// A probe begins.
    #[cold]
    pub(super) fn probing(&self, endpoint: &Endpoint, now: Instant) {
        debug!(instance = %endpoint.id(), "probing an ejected instance");
        self.tell(now, PhaseChange::Probing { instance: endpoint.id().clone() });
    }

    /// `listed` are the instances from now on; `changes` came with them.
    pub(super) fn adopt(&self, listed: Option<&Arc<[Endpoint]>>, changes: Vec<PhaseChange>, now: Instant) {
        let mut phases = self.lock();
        phases.listed = listed.map(Arc::downgrade);
        for change in changes {
            self.tell(now, change);
        }
        self.count(&mut phases, now);
    }

    fn changed(&self, phases: &mut Phases, now: Instant, change: PhaseChange) {
        if let Some(left_out) = phases.log.admit(self.clock.at(now)) {
            info!(?change, left_out, "an instance changed phase");
        }
        self.tell(now, change);
        self.count(phases, now);
    }

    /// Counts the ejected, and judges whether too few are left.
    fn count(&self, phases: &mut Phases, now: Instant) {
        let listed = phases.listed.as_ref().and_then(Weak::upgrade);
        phases.total = listed.as_ref().map_or(0, |set| set.len());
        phases.ejected =
            listed.map_or(0, |set| set.iter().filter(|one| one.vitals.gate() != Gate::OPEN).count());
        let available = phases.total - phases.ejected;
        let panic = self.options.ejection.is_panic(available, phases.total);
        if self.panic.swap(panic, Relaxed) != panic {
            let total = phases.total;
            info!(available, total, panic, "ejections are ignored while too few instances are available");
            self.tell(
                now,
                if panic { PhaseChange::PanicBegan { available, total } } else { PhaseChange::PanicEnded },
            );
        }
    }

    fn tell(&self, at: Instant, change: PhaseChange) {
        if let Some(observer) = &self.options.observer {
            observer.observe(&Event { at, change });
        }
    }

    /// A panic of an observer leaves nothing half done that matters: counts are taken anew.
    fn lock(&self) -> std::sync::MutexGuard<'_, Phases> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phases {
    /// Allows one comparison in 50 ms.
    fn may_compare(&mut self, at: u64) -> bool {
        let due = at >= self.next_comparison;
        if due {
            self.next_comparison = at + Duration::from_millis(50).as_nanos() as u64;
        }
        due
    }

    /// The average success rate of the other available instances; 0 when there is none.
    fn success_of_others(&self, one: &Endpoint) -> f64 {
        let Some(listed) = self.listed.as_ref().and_then(Weak::upgrade) else { return 0.0 };
        let (count, sum) = listed
            .iter()
            .filter(|other| other.vitals.gate() == Gate::OPEN && !Arc::ptr_eq(&other.vitals, &one.vitals))
            .fold((0_u32, 0.0), |(count, sum), other| (count + 1, sum + other.success_rate()));
        sum / f64::from(count.max(1))
    }

    fn chance(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        hash::nth(self.seed, 0)
    }
}

/// Lets ten lines a second through and counts the others.
#[derive(Debug, Default)]
struct Throttle {
    second: u64,
    lines: u64,
    left_out: u64,
}

impl Throttle {
    /// Whether a line may be written at `at`, and if so how many were left out since the last one.
    fn admit(&mut self, at: u64) -> Option<u64> {
        let second = at / 1_000_000_000;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        self.lines += 1;
        if self.lines > 10 {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}
