//! The health of a balancer's instances: what the outcome of a call means for the phase of its instance.
//!
//! All sets of one balancer share it. Phases change one at a time, under a lock: only failures, probes and updates take it, a
//! plain pick and a successful call never do. Whether an instance is still listed, and still the process that was called, is
//! asked under the same lock, so that an outcome which comes late changes nothing.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info};

use super::clock::{Clock, nanos};
use super::ejection::Cause;
use super::endpoint::{Endpoint, Index};
use super::event::{Event, PhaseChange};
use super::hash;
use super::options::{BalancerOptions, Tracking};
use super::outcome::{Outcome, PickedAs};
use super::phase::{Claim, Gate, Reach};
use super::places::Spine;
use super::sites::{Key, Passed, Role, Sites};
use super::stripe::CachePadded;

#[derive(Debug)]
pub(super) struct Health {
    pub(super) clock: Arc<Clock>,
    pub(super) options: BalancerOptions,
    pub(super) tracking: Tracking,
    /// Ejections are ignored, because too few instances are available.
    panic: AtomicBool,
    /// The earliest time at which an ejected instance may be probed; `u64::MAX` = none is ejected.
    next_due: AtomicU64,
    /// The calls that began while a probe was due: every twentieth of them is one.
    turns: CachePadded<AtomicU32>,
    /// When success rates may be compared again: that reads the whole set.
    next_comparison: AtomicU64,
    phases: CachePadded<Mutex<Phases>>,
}

/// Changes of phase.
#[derive(Debug, Default)]
struct Phases {
    sites: Sites,
    /// The set that picks see, to compare success rates in.
    listed: Option<Weak<[Arc<[Endpoint]>]>>,
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

/// At most one call of so many is a probe.
const CALLS_PER_PROBE: u32 = 20;
/// So many sites that are due are looked at for one that is in the set.
const LOOKS: usize = 8;

impl Health {
    pub(super) fn new(options: BalancerOptions, tracking: Tracking, epoch: Instant) -> Self {
        let seed = options.seed.unwrap_or_else(rand::random);
        Self {
            clock: Arc::new(Clock::new(epoch, options.decay)),
            tracking,
            panic: AtomicBool::new(false),
            next_due: AtomicU64::new(u64::MAX),
            turns: CachePadded::default(),
            next_comparison: AtomicU64::new(0),
            phases: CachePadded(Mutex::new(Phases { seed, ..Phases::default() })),
            options,
        }
    }

    /// Whether ejections are ignored.
    pub(super) fn is_panic(&self) -> bool {
        self.panic.load(Relaxed)
    }

    /// `now` by our clock, if a call that begins then must know it; else 0.
    #[inline]
    pub(super) fn beginning(&self, now: impl FnOnce() -> Instant) -> u64 {
        if self.tracking.latency { self.clock.at(now()) } else { 0 }
    }

    /// A call to `endpoint` begins.
    #[inline]
    pub(super) fn begin(&self, endpoint: &Endpoint) {
        if self.tracking.in_flight {
            endpoint.vitals.begin();
        }
    }

    /// A call to `endpoint` begins, unless it is full.
    pub(super) fn begin_if_free(&self, endpoint: &Endpoint) -> bool {
        match self.options.max_in_flight {
            Some(limit) => endpoint.vitals.begin_below(limit.get()),
            None => {
                self.begin(endpoint);
                true
            }
        }
    }

    /// Whether as many calls are under way to `endpoint` as may be.
    pub(super) fn is_full(&self, endpoint: &Endpoint) -> bool {
        self.options.max_in_flight.is_some_and(|limit| endpoint.in_flight() >= limit.get())
    }

    /// The claim of a probe begun at `at`. It expires after `ejection.base`, so a hung probe does not block the next.
    fn claim(&self, at: u64) -> Claim {
        Claim::until(at.saturating_add(nanos(self.options.ejection.base)))
    }

    /// The earliest time at which an ejected instance may be probed; `u64::MAX` when none is ejected.
    #[inline]
    pub(super) fn next_due(&self) -> u64 {
        self.next_due.load(Relaxed)
    }

    /// Claims the probe that has been due for longest at `at`, if it is the turn of one: its place, by `place_of`. Another call
    /// that holds the lock is not waited for.
    #[cold]
    pub(super) fn claim_due(
        &self,
        place_of: impl Fn(&Endpoint) -> Option<Index>,
        at: u64,
        now: Instant,
    ) -> Option<Index> {
        if self.is_panic() || !self.turns.0.fetch_add(1, Relaxed).is_multiple_of(CALLS_PER_PROBE) {
            return None;
        }
        let mut phases = match self.phases.0.try_lock() {
            Ok(phases) => phases,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let (key, index, endpoint) = phases.sites.due(at).take(LOOKS).find_map(|key| {
            let place = |endpoint| place_of(endpoint).map(|index| (key, index, endpoint.clone()));
            phases.sites.residents(key).iter().find_map(|one| place(&one.endpoint))
        })?;
        self.probe(&mut phases, key, &endpoint, at, now);
        Some(index)
    }

    /// Claims the probe of this instance, if one is due at `at`.
    #[cold]
    pub(super) fn claim_probe(&self, endpoint: &Endpoint, at: u64, now: Instant) -> bool {
        let mut phases = self.lock();
        let site = phases.sites.find(endpoint).filter(|_| Gate::is_due(endpoint.vitals.gate(), at));
        if let Some((key, _)) = site {
            self.probe(&mut phases, key, endpoint, at, now);
        }
        site.is_some()
    }

    /// A probe begins.
    fn probe(&self, phases: &mut Phases, key: Key, endpoint: &Endpoint, at: u64, now: Instant) {
        let word = self.claim(at).word(phases.sites.word(key));
        phases.sites.set(key, word);
        self.publish(phases, now);
        debug!(instance = %endpoint.id(), "probing an ejected instance");
        self.tell(now, PhaseChange::Probing { instance: endpoint.id().clone() });
    }

    /// Whether it matters at which time a call ends: always, but for the success of a plain call when no latency is tracked.
    #[inline]
    pub(super) fn learns_time(&self, kind: PickedAs, outcome: Outcome) -> bool {
        self.tracking.latency || kind != PickedAs::Plain || outcome != Outcome::Success
    }

    /// Ends a call to `endpoint` whose time [does not matter](Self::learns_time).
    #[inline]
    pub(super) fn succeed(&self, endpoint: &Endpoint) {
        self.leave(endpoint);
        if endpoint.life == endpoint.vitals.life() {
            endpoint.vitals.succeeded();
        }
    }

    /// A call to `endpoint` is over.
    #[inline]
    pub(super) fn end(&self, endpoint: &Endpoint, call: Call, outcome: Outcome, now: Instant) {
        self.leave(endpoint);
        self.learn(endpoint, call, outcome, now);
    }

    /// A call to `endpoint` is under way no more.
    #[inline]
    pub(super) fn leave(&self, endpoint: &Endpoint) {
        if self.tracking.in_flight {
            endpoint.vitals.end();
        }
    }

    /// What the outcome of a call says of `endpoint`.
    pub(super) fn learn(&self, endpoint: &Endpoint, call: Call, outcome: Outcome, now: Instant) {
        if endpoint.life != endpoint.vitals.life() {
            return; // the process that was called is no more: nothing is learned of its successor
        }
        if self.tracking.latency {
            let at = self.clock.at(now);
            let elapsed = at.saturating_sub(call.at) as f64;
            match outcome {
                Outcome::Success => endpoint.vitals.answered(*self.clock, at, elapsed),
                Outcome::Cancelled => endpoint.vitals.given_up(*self.clock, at, elapsed),
                _ => endpoint.vitals.outlasted(*self.clock, at, elapsed),
            }
        }
        match outcome {
            Outcome::Cancelled => self.released(endpoint, call, now),
            Outcome::Failure | Outcome::Refused | Outcome::Unreachable => {
                self.failed(endpoint, call, outcome, now);
            }
            Outcome::Overloaded { retry_after } => self.overloaded(endpoint, call, retry_after, now),
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
        let (vitals, rules, at) = (&endpoint.vitals, &self.options.ejection, self.clock.at(now));
        let streak = vitals.failed(*self.clock, at);
        let own = endpoint.success_rate();
        let is_probe = call.kind == PickedAs::Probe;
        let is_dial = outcome == Outcome::Unreachable;
        if !is_probe && !is_dial && !rules.is_streak(streak) && !rules.is_suspicious(own) {
            return;
        }
        let falls_behind = !is_dial && !rules.is_streak(streak) && self.falls_behind(endpoint, own, at);

        let mut phases = self.lock();
        let Some((key, role)) = phases.sites.find(endpoint) else { return };
        if role == Role::Suspect || endpoint.suspect {
            // A dial begun before the instance was listed again says nothing of it.
            if role == Role::Suspect && is_dial && vitals.gate() != Gate::DROPPED {
                phases.sites.drop_suspect(endpoint);
                self.tell(now, PhaseChange::Dropped { instance: endpoint.id().clone() });
            }
            self.release(&mut phases, key, call, now);
            return;
        }
        let word = phases.sites.word(key);
        let cause = match word {
            Gate::OPEN if rules.is_off() => return,
            Gate::OPEN if is_dial => Cause::FailedDial,
            Gate::OPEN if rules.is_streak(streak) => Cause::ConsecutiveFailures,
            Gate::OPEN if falls_behind => Cause::SuccessRate,
            word if is_probe && self.claim(call.at).holds(word) => Cause::FailedProbe,
            _ => return,
        };
        let tally = phases.sites.tally();
        let residents = phases.sites.residents(key);
        let listed = residents.iter().filter(|one| one.role == Role::Listed).count();
        let has_room = |total| rules.has_room((tally.ejected + listed).saturating_sub(1), total);
        let reach = match cause {
            Cause::FailedDial => Reach::Unreachable,
            Cause::FailedProbe if is_dial => Reach::Unreachable,
            // It answers now. Where no more may be ejected for that, it still counts as before.
            Cause::FailedProbe => match Gate::reach(word) {
                Reach::Unreachable if !has_room(tally.reachable() + listed) => Reach::Unreachable,
                _ => Reach::Answers,
            },
            _ if has_room(tally.reachable()) => Reach::Answers,
            _ => return,
        };
        let chance = hash::unit(phases.chance());
        let mut until = at;
        let before = phases.sites.eject(key, at, reach, |before| {
            let time = nanos(rules.duration(before, chance));
            until = at.saturating_add(time);
            time
        });
        let times = NonZeroU32::MIN.saturating_add(before);
        let until = self.clock.instant(until);
        let change = |instance| PhaseChange::Ejected { instance, cause, until, times };
        let ids =
            phases.sites.residents(key).iter().filter(|one| one.endpoint.vitals.gate() != Gate::DROPPED);
        for change in ids.map(|one| change(one.endpoint.id().clone())).collect::<Vec<_>>() {
            self.changed(&mut phases, now, change);
        }
        self.publish(&mut phases, now);
    }

    /// An instance said that it has too much to do: it is left alone for as long as it asked, unless too many are already.
    #[cold]
    fn overloaded(&self, endpoint: &Endpoint, call: Call, retry_after: Duration, now: Instant) {
        let mut phases = self.lock();
        let Some((key, role)) = phases.sites.find(endpoint) else { return };
        if role != Role::Suspect
            && phases.sites.word(key) == Gate::OPEN
            && !self.options.ejection.is_off()
            && self.has_room(&phases, key)
        {
            let time = retry_after.min(self.options.ejection.cap);
            self.eject(&mut phases, key, Cause::Overloaded, time, now);
        } else {
            self.release(&mut phases, key, call, now);
        }
    }

    /// Whether the site may be ejected beside those that are.
    fn has_room(&self, phases: &Phases, key: Key) -> bool {
        let tally = phases.sites.tally();
        let listed = phases.sites.residents(key).iter().filter(|one| one.role == Role::Listed).count();
        self.options.ejection.has_room((tally.ejected + listed).saturating_sub(1), tally.reachable())
    }

    /// Ejects a site for a time that was asked for: one good call afterwards, and it is back.
    fn eject(&self, phases: &mut Phases, key: Key, cause: Cause, time: Duration, now: Instant) {
        let at = self.clock.at(now);
        let until = at.saturating_add(nanos(time));
        phases.sites.rest(key, until);
        let (until, times) = (self.clock.instant(until), NonZeroU32::MIN);
        let residents = phases.sites.residents(key).to_vec();
        for one in residents.iter().filter(|one| one.endpoint.vitals.gate() != Gate::DROPPED) {
            let instance = one.endpoint.id().clone();
            self.changed(phases, now, PhaseChange::Ejected { instance, cause, until, times });
        }
        self.publish(phases, now);
    }

    /// Ejects a listed instance, and all with its address, because the caller says so. `false`: it is not listed any more.
    pub(super) fn eject_as_asked(&self, endpoint: &Endpoint, time: Duration, now: Instant) -> bool {
        let mut phases = self.lock();
        let site = phases.sites.find(endpoint);
        if let Some((key, _)) = site {
            self.eject(&mut phases, key, Cause::Asked, time, now);
        }
        site.is_some()
    }

    /// Readmits an instance, and all with its address, because the caller says so. `false`: it is not ejected.
    pub(super) fn restore_as_asked(&self, endpoint: &Endpoint, now: Instant) -> bool {
        let mut phases = self.lock();
        let Some((key, _)) = phases.sites.find(endpoint) else { return false };
        let back = phases.sites.readmit(key, self.clock.at(now));
        let is_back = !back.is_empty();
        for instance in back {
            self.changed(&mut phases, now, PhaseChange::Available { instance });
        }
        self.publish(&mut phases, now);
        is_back
    }

    /// A call to an instance that was not available succeeded: so many of them, and the instance is back.
    #[cold]
    fn passed(&self, endpoint: &Endpoint, call: Call, now: Instant) {
        let at = self.clock.at(now);
        let mut phases = self.lock();
        let Some((key, _)) = phases.sites.find(endpoint) else { return };
        if !Gate::is_out(endpoint.vitals.gate()) {
            return; // another call was faster
        }
        if phases.sites.pass(key, &self.options.ejection) == Passed::Once {
            self.release(&mut phases, key, call, now);
            return;
        }
        // Its record is clean once it has been well for as long as it was ejected.
        let last = self.options.ejection.duration(phases.sites.ejections(key).saturating_sub(1), 1.0);
        for instance in phases.sites.readmit(key, at.saturating_add(nanos(last))) {
            self.changed(&mut phases, now, PhaseChange::Available { instance });
        }
        self.publish(&mut phases, now);
    }

    /// A probe found nothing out: the next call may try.
    fn released(&self, endpoint: &Endpoint, call: Call, now: Instant) {
        if call.kind == PickedAs::Probe {
            let mut phases = self.lock();
            if let Some((key, _)) = phases.sites.find(endpoint) {
                self.release(&mut phases, key, call, now);
            }
        }
    }

    /// Ends the claim of a probe, if it is still the one that counts.
    fn release(&self, phases: &mut Phases, key: Key, call: Call, now: Instant) {
        let word = phases.sites.word(key);
        if call.kind == PickedAs::Probe && self.claim(call.at).holds(word) {
            phases.sites.set(key, Gate::ejected(self.clock.at(now), Gate::reach(word)));
            self.publish(phases, now);
        }
    }

    /// Adopts what a snapshot changes; `adopt` says what came of it.
    pub(super) fn adopt<T>(
        &self,
        now: Instant,
        adopt: impl FnOnce(&mut Sites, &mut Vec<PhaseChange>) -> T,
    ) -> T {
        let mut phases = self.lock();
        let mut changes = Vec::new();
        let adopted = adopt(&mut phases.sites, &mut changes);
        for change in changes {
            self.tell(now, change);
        }
        self.publish(&mut phases, now);
        adopted
    }

    /// The counts.
    #[cfg(test)]
    pub(super) fn tally(&self) -> super::sites::Tally {
        self.lock().sites.tally()
    }

    /// The set that picks see from now on.
    pub(super) fn listed(&self, listed: Option<&Spine<Endpoint>>) {
        self.lock().listed = listed.map(Arc::downgrade);
    }

    fn changed(&self, phases: &mut Phases, now: Instant, change: PhaseChange) {
        if let Some(left_out) = phases.log.admit(self.clock.at(now)) {
            info!(?change, left_out, "an instance changed phase");
        }
        self.tell(now, change);
    }

    /// Shows picks what they must know of all instances, and judges whether too few are left.
    fn publish(&self, phases: &mut Phases, now: Instant) {
        self.next_due.store(phases.sites.next_due(), Relaxed);
        let tally = phases.sites.tally();
        let (available, total) = (tally.available(), tally.reachable());
        let panic = self.options.ejection.is_panic(available, total);
        if self.panic.swap(panic, Relaxed) != panic {
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

    /// Whether a success rate of `own` is too far below that of the others. Compares once in 50 ms, outside the lock.
    fn falls_behind(&self, endpoint: &Endpoint, own: f64, at: u64) -> bool {
        let rules = &self.options.ejection;
        let due = self.next_comparison.load(Relaxed);
        let next = at.saturating_add(nanos(Duration::from_millis(50)));
        if !rules.is_suspicious(own)
            || at < due
            || self.next_comparison.compare_exchange(due, next, Relaxed, Relaxed).is_err()
        {
            return false;
        }
        let listed = self.lock().listed.as_ref().and_then(Weak::upgrade);
        listed.is_some_and(|listed| rules.falls_behind(own, success_of_others(&listed, endpoint)))
    }

    /// An observer that panicked has heard of a change that stands.
    fn lock(&self) -> MutexGuard<'_, Phases> {
        self.phases.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The average success rate of the other available instances; 0 when there is none.
fn success_of_others(listed: &[Arc<[Endpoint]>], one: &Endpoint) -> f64 {
    let (count, sum) = listed
        .iter()
        .flat_map(|chunk| chunk.iter())
        .filter(|other| other.vitals.gate() == Gate::OPEN && !Arc::ptr_eq(&other.vitals, &one.vitals))
        .fold((0_u32, 0.0), |(count, sum), other| (count + 1, sum + other.success_rate()));
    sum / f64::from(count.max(1))
}

impl Phases {
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
