//! The vitals of one instance: its load, its answer times, its success and its phase, as this client has learned them.
//!
//! One cache line of atomics per instance id. Counting is exact; the averages are read and written without a
//! read-modify-write, so that two calls which end at the same instant may count as one. Nothing here decides anything.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::clock::Clock;
use super::phase::{Claim, Gate, Phase};

/// The load and the health of one instance. Times are nanoseconds since the balancer's epoch.
#[derive(Debug)]
#[repr(align(64))] // one line: neighbours on the heap do not slow each other down
pub(super) struct Vitals {
    /// Calls under way. Survives a new incarnation.
    in_flight: AtomicU32,
    /// Counts the incarnations seen.
    life: AtomicU32,
    /// The phase: see [`Gate`].
    gate: AtomicU64,
    /// When its slow start ends; 0 = it has none.
    ramp_end: AtomicU64,
    /// The moving average of answer times: f64 bits, nanoseconds.
    latency: AtomicU64,
    /// When `latency` was last written; 0 = never.
    stamp: AtomicU64,
    /// When the count of ejections is forgotten.
    forgiven_at: AtomicU64,
    /// The moving share of successes: f32 bits.
    success: AtomicU32,
    /// Failures since the last success.
    failures: AtomicU32,
    /// Ejections in this life that are not forgotten.
    ejections: AtomicU32,
    /// Probes in a row that succeeded.
    probes: AtomicU32,
}

/// How much one outcome moves the success rate. Five failures in a row take it from 1 to 0.72.
const SUCCESS_GAIN: f32 = 1.0 / 16.0;

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            life: AtomicU32::new(0),
            gate: AtomicU64::new(Gate::OPEN),
            ramp_end: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
            forgiven_at: AtomicU64::new(0),
            success: AtomicU32::new(1_f32.to_bits()),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            probes: AtomicU32::new(0),
        }
    }

    /// Begins a new incarnation: load stays, health starts clean. Returns its number.
    pub(super) fn reborn(&self) -> u32 {
        self.gate.store(Gate::OPEN, Relaxed);
        self.ramp_end.store(0, Relaxed);
        self.latency.store(0, Relaxed);
        self.stamp.store(0, Relaxed);
        self.forgiven_at.store(0, Relaxed);
        self.success.store(1_f32.to_bits(), Relaxed);
        self.failures.store(0, Relaxed);
        self.ejections.store(0, Relaxed);
        self.probes.store(0, Relaxed);
        self.life.fetch_add(1, Relaxed) + 1
    }

    #[inline]
    pub(super) fn life(&self) -> u32 {
        self.life.load(Relaxed)
    }

    // Load.

    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    #[inline]
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    // Speed.

    /// A call was answered after `elapsed` nanoseconds.
    pub(super) fn answered(&self, clock: Clock, at: u64, elapsed: f64) {
        let known = f64::from_bits(self.latency.load(Relaxed));
        let stamp = self.stamp.load(Relaxed);
        let next = if elapsed >= known || stamp == 0 {
            elapsed
        } else {
            let kept = clock.left(stamp, at);
            known * kept + elapsed * (1.0 - kept)
        };
        self.latency.store(next.to_bits(), Relaxed);
        self.stamp.store(at.max(1), Relaxed);
    }

    /// A call got no answer within `elapsed` nanoseconds: raises the latency to that if it was lower.
    pub(super) fn outlasted(&self, clock: Clock, at: u64, elapsed: f64) {
        if self.latency(clock, at).is_none_or(|known| elapsed > known) {
            self.latency.store(elapsed.to_bits(), Relaxed);
            self.stamp.store(at.max(1), Relaxed);
        }
    }

    /// The average answer time in nanoseconds, decayed up to `at`; `None` before anything was measured.
    pub(super) fn latency(&self, clock: Clock, at: u64) -> Option<f64> {
        let stamp = self.stamp.load(Relaxed);
        let known = f64::from_bits(self.latency.load(Relaxed));
        (stamp != 0).then(|| known * clock.roughly_left(stamp, at))
    }

    /// What a call is expected to cost at `at`, in nanoseconds: the answer time plus `penalty` for each failure to be expected.
    /// Both fade without news, so that what was bad long ago is tried again. `None` before anything was measured.
    #[inline]
    pub(super) fn cost(&self, clock: Clock, at: u64, penalty: f64) -> Option<f64> {
        let stamp = self.stamp.load(Relaxed);
        let known = f64::from_bits(self.latency.load(Relaxed)) + penalty * f64::from(1.0 - self.success());
        (stamp != 0).then(|| known * clock.roughly_left(stamp, at))
    }

    // Success.

    #[inline]
    pub(super) fn success(&self) -> f32 {
        f32::from_bits(self.success.load(Relaxed))
    }

    #[inline]
    pub(super) fn succeeded(&self) {
        let rate = self.success();
        if rate < 1.0 {
            let next = rate + (1.0 - rate) * SUCCESS_GAIN;
            self.success.store(if next > 0.999 { 1.0 } else { next }.to_bits(), Relaxed);
        }
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Counts a failure; returns how many there are since the last success.
    pub(super) fn failed(&self) -> u32 {
        let rate = self.success();
        self.success.store((rate - rate * SUCCESS_GAIN).to_bits(), Relaxed);
        self.failures.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// Its slow start, which was to end at `end`, is over.
    pub(super) fn ramp_over(&self, end: u64) {
        // Losing the race means that another one began.
        let _ = self.ramp_end.compare_exchange(end, 0, Relaxed, Relaxed);
    }

    // Phase.

    /// Whether it takes calls like any other: it is neither out nor in its slow start.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.gate() == Gate::OPEN && self.ramp_end() == 0
    }

    #[inline]
    pub(super) fn gate(&self) -> u64 {
        self.gate.load(Relaxed)
    }

    #[inline]
    pub(super) fn ramp_end(&self) -> u64 {
        self.ramp_end.load(Relaxed)
    }

    pub(super) fn ramp_until(&self, end: u64) {
        self.ramp_end.store(end, Relaxed);
    }

    /// Whether a probe may go out at `at`.
    pub(super) fn is_due(&self, at: u64) -> bool {
        Gate::is_due(self.gate(), at)
    }

    /// Claims the single probe allowed once the ejection expired or the last probe timed out. `false`: another call claimed
    /// it.
    pub(super) fn claim_probe(&self, seen: u64, at: u64, claim: Claim) -> bool {
        Gate::is_due(seen, at) && self.gate.compare_exchange(seen, claim.0, Relaxed, Relaxed).is_ok()
    }

    /// Whether this claim is the one that counts.
    pub(super) fn is_claimed_by(&self, claim: Claim) -> bool {
        self.gate() == claim.0
    }

    /// Lets the next call probe from `at` on.
    pub(super) fn release_probe(&self, claim: Claim, at: u64) {
        // Losing the race means that the phase changed meanwhile; the change stands.
        let _ = self.gate.compare_exchange(claim.0, Gate::ejected(at), Relaxed, Relaxed);
    }

    /// Counts a probe that succeeded; returns how many did in a row.
    pub(super) fn probe_passed(&self) -> u32 {
        self.probes.fetch_add(1, Relaxed) + 1
    }

    /// Ejects until `until`.
    pub(super) fn eject(&self, until: u64) {
        self.probes.store(0, Relaxed);
        self.gate.store(Gate::ejected(until), Relaxed);
    }

    /// Counts an ejection at `at`; returns how many there were before it that are not forgotten.
    pub(super) fn count_ejection(&self, at: u64) -> u32 {
        let forgiven_at = self.forgiven_at.load(Relaxed);
        let before = if forgiven_at != 0 && at >= forgiven_at { 0 } else { self.ejections.load(Relaxed) };
        self.ejections.store(before.saturating_add(1), Relaxed);
        self.forgiven_at.store(0, Relaxed);
        before
    }

    /// How many ejections are not forgotten, as of the last one.
    pub(super) fn ejections(&self) -> u32 {
        self.ejections.load(Relaxed)
    }

    /// Picks it again. Earlier ejections are forgotten at `forgiven_at`.
    pub(super) fn readmit(&self, forgiven_at: u64) {
        self.success.store(1_f32.to_bits(), Relaxed);
        self.failures.store(0, Relaxed);
        self.forgiven_at.store(forgiven_at.max(1), Relaxed);
        self.gate.store(Gate::OPEN, Relaxed);
    }

    /// Never picks it again, until it is listed.
    pub(super) fn drop_suspect(&self) {
        self.gate.store(Gate::DROPPED, Relaxed);
    }

    /// It is listed again: a failed dial of the time when it was not is forgotten.
    pub(super) fn relisted(&self) {
        // Any other phase than dropped stays.
        let _ = self.gate.compare_exchange(Gate::DROPPED, Gate::OPEN, Relaxed, Relaxed);
    }

    pub(super) fn phase(&self, clock: Clock) -> Phase {
        Gate::phase(self.gate(), clock)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn clock() -> Clock {
        Clock::new(Instant::now(), Duration::from_secs(10))
    }

    #[test]
    fn a_slower_answer_counts_at_once_and_a_faster_one_gradually() {
        let vitals = Vitals::new();
        assert_eq!(vitals.latency(clock(), 0), None);
        vitals.answered(clock(), 1, 10.0);
        vitals.answered(clock(), 2, 100.0);
        assert_eq!(vitals.latency(clock(), 2), Some(100.0));
        vitals.answered(clock(), 1_000_000_002, 10.0);
        let known = vitals.latency(clock(), 1_000_000_002).unwrap();
        assert!((85.0..95.0).contains(&known), "{known}");
    }

    #[test]
    fn a_call_without_answer_is_never_a_fast_one() {
        let vitals = Vitals::new();
        vitals.answered(clock(), 1, 100.0);
        vitals.outlasted(clock(), 2, 5.0);
        assert!(vitals.latency(clock(), 2).unwrap() > 99.0);
        vitals.outlasted(clock(), 3, 500.0);
        assert!(vitals.latency(clock(), 3).unwrap() > 499.0);
    }

    #[test]
    fn a_restarted_process_keeps_its_load_and_loses_its_record() {
        let vitals = Vitals::new();
        vitals.begin();
        vitals.failed();
        vitals.eject(77);
        assert_eq!(vitals.reborn(), 1);
        assert_eq!((vitals.in_flight(), vitals.gate(), vitals.success()), (1, Gate::OPEN, 1.0));
    }

    #[test]
    fn vitals_fill_one_cache_line() {
        assert_eq!(size_of::<Vitals>(), 64);
    }
}
