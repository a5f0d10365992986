//! How to be patient with the system, and brief about it.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

/// Delays that double from 10 ms to 1 s. The delay is a value; the sleeping is elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let delay = Duration::from_millis(10) * 2_u32.pow(self.failures.min(7));
        self.failures += 1;
        delay.min(Duration::from_secs(1))
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// At most one line in ten seconds, however much there is to say; the line tells how many were left out.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    left_out: u64,
}

impl Throttle {
    pub(crate) fn warn(&mut self, error: &dyn Display) {
        if let Some(left_out) = self.may_speak(Instant::now()) {
            warn!(%error, left_out, "cannot accept connections; still trying");
        }
    }

    /// Whether it is time to speak, and how many times it was not since the last time.
    fn may_speak(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + Duration::from_secs(10)) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_second_and_start_again() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = std::iter::repeat_with(|| backoff.next().as_millis()).take(10).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_millis(10));
    }

    #[test]
    fn a_flood_of_errors_is_a_line_in_ten_seconds() {
        let (mut log, start) = (Throttle::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.may_speak(at(0)), Some(0));
        assert_eq!(log.may_speak(at(1)), None);
        assert_eq!(log.may_speak(at(9)), None);
        assert_eq!(log.may_speak(at(10)), Some(2));
    }
}
