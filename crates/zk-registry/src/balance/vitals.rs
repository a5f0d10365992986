//! The vitals of one instance: its load, its answer times, its success and its phase, as this client has learned them.
//!
//! At most one cache line of atomics per instance id. Counting is exact; the averages are read and written without a
//! read-modify-write, so that two calls which end at the same instant may count as one. Nothing here decides anything.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::clock::Clock;
use super::phase::{Gate, Phase};

/// The load and the health of one instance. Times are nanoseconds since the balancer's epoch.
#[derive(Debug)]
#[repr(align(64))] // one line: neighbours on the heap do not slow each other down
pub(super) struct Vitals {
    /// Calls under way. Survives a new incarnation.
    in_flight: AtomicU32,
    /// Counts the incarnations seen.
    life: AtomicU32,
    /// The phase: see [`Gate`]. Written under the lock of the [`Health`](super::health::Health) alone.
    gate: AtomicU64,
    /// When its slow start ends; 0 = it has none.
    ramp_end: AtomicU64,
    /// When `latency` was last written.
    stamp: AtomicU64,
    /// When a call last took about as long as `latency` says, or longer.
    confirmed: AtomicU64,
    /// When it failed last. A success does not touch it: what a failure is held to cost fades from the failure on.
    failed_at: AtomicU64,
    /// The moving average of answer times: f32 bits, nanoseconds. Below 0: never measured, and the longest wait that was
    /// given up; 0: nothing is known.
    latency: AtomicU32,
    /// The moving share of successes: f32 bits.
    success: AtomicU32,
    /// Failures since the last success.
    failures: AtomicU32,
}

/// An answer that takes at least this part of an average confirms it. The third by which an average can then exceed the answers
/// fades to a tenth within the time constant.
const CONFIRMS: f64 = 0.75;

/// How much one outcome moves the success rate. Five failures in a row take it from 1 to 0.72.
const SUCCESS_GAIN: f32 = 1.0 / 16.0;

/// What is known of the time of a call, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cost {
    /// The time that a call is expected to cost.
    Known(f64),
    /// No call was ever answered; this is the longest wait that was given up, 0 if none was.
    Unknown(f64),
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            life: AtomicU32::new(0),
            gate: AtomicU64::new(Gate::OPEN),
            ramp_end: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
            latency: AtomicU32::new(0),
            success: AtomicU32::new(1_f32.to_bits()),
            failures: AtomicU32::new(0),
        }
    }

    /// Begins a new incarnation: load stays, health starts clean. Returns its number.
    pub(super) fn reborn(&self) -> u32 {
        self.gate.store(Gate::OPEN, Relaxed);
        self.ramp_end.store(0, Relaxed);
        self.stamp.store(0, Relaxed);
        self.confirmed.store(0, Relaxed);
        self.failed_at.store(0, Relaxed);
        self.latency.store(0, Relaxed);
        self.success.store(1_f32.to_bits(), Relaxed);
        self.failures.store(0, Relaxed);
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

    /// Begins a call unless `limit` calls are under way. However many threads ask, there are never more.
    pub(super) fn begin_below(&self, limit: u32) -> bool {
        self.in_flight.fetch_update(Relaxed, Relaxed, |calls| (calls < limit).then(|| calls + 1)).is_ok()
    }

    #[inline]
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    // Speed.

    /// A call was answered after `elapsed` nanoseconds. Nothing is left of an average that no call has confirmed for long: of one
    /// that is renewed with each fast answer a slow spell would be left for many times the time constant.
    pub(super) fn answered(&self, clock: Clock, at: u64, elapsed: f64) {
        let known = self.latency_word();
        if elapsed >= known || known <= 0.0 || self.is_stale(clock, at) {
            return self.measured(elapsed, at);
        }
        let kept = clock.left(self.stamp.load(Relaxed), at);
        let next = known * kept + elapsed * (1.0 - kept);
        self.average(next, at);
        if elapsed >= CONFIRMS * next {
            self.confirmed.store(at, Relaxed);
        }
    }

    /// A call failed after `elapsed` nanoseconds: raises the latency to that if it was lower.
    pub(super) fn outlasted(&self, clock: Clock, at: u64, elapsed: f64) {
        if self.latency(clock, at).is_none_or(|known| elapsed > known) {
            self.measured(elapsed, at);
        }
    }

    /// A call was given up after `elapsed` nanoseconds. Where nothing was ever measured that is no measurement either: the
    /// wait is remembered, so that an instance which never answers costs as much as was waited for it.
    pub(super) fn given_up(&self, clock: Clock, at: u64, elapsed: f64) {
        match self.cost(clock, at, 0.0) {
            Cost::Known(known) if elapsed > known => self.measured(elapsed, at),
            Cost::Unknown(waited) if elapsed > waited => {
                self.latency.store((-elapsed as f32).to_bits(), Relaxed);
                self.stamp.store(at, Relaxed);
                self.confirmed.store(at, Relaxed);
            }
            _ => {}
        }
    }

    /// Keeps the time of a call instead of an average.
    fn measured(&self, latency: f64, at: u64) {
        self.average(latency, at);
        self.confirmed.store(at, Relaxed);
    }

    /// Keeps an average, which is never 0.
    fn average(&self, latency: f64, at: u64) {
        self.latency.store((latency.max(1.0) as f32).to_bits(), Relaxed);
        self.stamp.store(at, Relaxed);
    }

    /// Whether no call has confirmed the average for so long that one call is worth more than it.
    #[inline]
    fn is_stale(&self, clock: Clock, at: u64) -> bool {
        clock.is_stale(self.confirmed.load(Relaxed), at)
    }

    fn latency_word(&self) -> f64 {
        f64::from(f32::from_bits(self.latency.load(Relaxed)))
    }

    /// Whether one call is worth more than what is known of its answer times, and none is under way to find out.
    #[inline]
    pub(super) fn is_worth_a_call(&self, clock: Clock, at: u64) -> bool {
        self.is_stale(clock, at) && self.in_flight() == 0
    }

    /// The average answer time in nanoseconds, decayed up to `at`; `None` before anything was measured.
    pub(super) fn latency(&self, clock: Clock, at: u64) -> Option<f64> {
        match self.cost(clock, at, 0.0) {
            Cost::Known(known) => Some(known),
            Cost::Unknown(_) => None,
        }
    }

    /// What a call is expected to cost at `at`: the answer time plus `penalty` for each failure to be expected. Both fade
    /// without news, so that what was bad long ago is tried again; the penalty fades from the last failure on, twenty times
    /// as fast.
    #[inline]
    pub(super) fn cost(&self, clock: Clock, at: u64, penalty: f64) -> Cost {
        let latency = self.latency_word();
        let faded = latency * clock.roughly_left(self.stamp.load(Relaxed), at);
        if latency <= 0.0 {
            return Cost::Unknown(-faded);
        }
        let success = self.success();
        if success < 1.0 {
            let failing = penalty * f64::from(1.0 - success);
            return Cost::Known(faded + failing * clock.unforgiven(self.failed_at.load(Relaxed), at));
        }
        Cost::Known(faded)
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

    /// Counts a failure at `at`; returns how many there are since the last success. Earlier failures count for less the
    /// longer ago the last of them was.
    pub(super) fn failed(&self, clock: Clock, at: u64) -> u32 {
        let left = clock.left(self.failed_at.load(Relaxed), at) as f32;
        let rate = 1.0 - (1.0 - self.success()) * left;
        self.success.store((rate - rate * SUCCESS_GAIN).to_bits(), Relaxed);
        self.failed_at.store(at, Relaxed);
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

    /// Changes the phase.
    pub(super) fn set_gate(&self, word: u64) {
        self.gate.store(word, Relaxed);
    }

    /// Picks it again, with a clean record. Its answer times are those of its trouble: the next call measures them anew.
    pub(super) fn readmit(&self) {
        self.latency.store(0, Relaxed);
        self.success.store(1_f32.to_bits(), Relaxed);
        self.failures.store(0, Relaxed);
        self.gate.store(Gate::OPEN, Relaxed);
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
    fn nothing_is_left_of_an_average_that_was_not_renewed_for_long() {
        const SECOND: u64 = 1_000_000_000;
        let vitals = Vitals::new();
        vitals.answered(clock(), 1, 1e9);
        assert!(!vitals.is_worth_a_call(clock(), 4 * SECOND));
        assert!(vitals.is_worth_a_call(clock(), 6 * SECOND));
        vitals.answered(clock(), 6 * SECOND, 1e6);
        assert_eq!(vitals.latency(clock(), 6 * SECOND), Some(1e6));
    }

    #[test]
    fn nothing_is_left_of_an_average_to_which_no_answer_came_near_for_long_however_many_came() {
        const MILLISECOND: u64 = 1_000_000;
        let vitals = Vitals::new();
        let answers = |seconds: std::ops::Range<u64>, elapsed| {
            for at in seconds.start * 1000..seconds.end * 1000 {
                vitals.answered(clock(), at * MILLISECOND, elapsed);
            }
            vitals.latency(clock(), seconds.end * 1000 * MILLISECOND).unwrap()
        };
        answers(0..1, 500e6);
        assert!(answers(1..4, 20e6) > 300e6);
        assert!(answers(4..7, 20e6) < 21e6);
        // What an answer came near to fades by the time constant alone.
        assert!(answers(7..17, 16e6) > 17e6);
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
    fn what_a_failure_costs_fades_from_the_failure_on_whatever_succeeds_meanwhile() {
        const SECOND: u64 = 1_000_000_000;
        let vitals = Vitals::new();
        vitals.answered(clock(), 1, 1e6);
        vitals.failed(clock(), 1);
        let cost = |at| match vitals.cost(clock(), at, 1e9) {
            Cost::Known(cost) => cost,
            Cost::Unknown(_) => unreachable!("it was measured"),
        };
        assert!(cost(2) > 60e6, "{}", cost(2));
        vitals.answered(clock(), 6 * SECOND, 1e6);
        vitals.succeeded();
        assert!(cost(6 * SECOND) < 1.3e6, "{}", cost(6 * SECOND));
    }

    #[test]
    fn a_wait_in_vain_is_what_a_call_costs_where_nothing_was_ever_measured() {
        let vitals = Vitals::new();
        vitals.given_up(clock(), 1, 5e8);
        assert_eq!(vitals.cost(clock(), 1, 1e9), Cost::Unknown(5e8));
        assert_eq!(vitals.latency(clock(), 1), None);
        vitals.given_up(clock(), 2, 1e6);
        assert_eq!(vitals.cost(clock(), 2, 1e9), Cost::Unknown(5e8));
        vitals.answered(clock(), 3, 1e6);
        assert_eq!(vitals.latency(clock(), 3), Some(1e6));
    }

    #[test]
    fn a_restarted_process_keeps_its_load_and_loses_its_record() {
        let vitals = Vitals::new();
        vitals.begin();
        vitals.failed(clock(), 5);
        vitals.set_gate(77);
        assert_eq!(vitals.reborn(), 1);
        assert_eq!((vitals.in_flight(), vitals.gate(), vitals.success()), (1, Gate::OPEN, 1.0));
    }

    #[test]
    fn vitals_fill_one_cache_line() {
        assert_eq!(size_of::<Vitals>(), 64);
    }
}
