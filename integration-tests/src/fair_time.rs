//! Time without the moments at which a busy machine did not let this process run.
//!
//! A bound of a test is what users are promised of a machine that has time for them. A thread of this process sleeps for 10
//! milliseconds, over and over, and adds up how much later it woke: while it gets no processor, what is tested gets none
//! either. Bounds do not count that time. On a machine that is not overloaded it is next to nothing.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// A clock of two hands: the time that has passed, and how much of it was fair.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    began: Instant,
    stalled_before: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self { began: Instant::now(), stalled_before: stalled() }
    }

    /// The time since the start, as a clock on the wall shows it.
    pub fn elapsed(self) -> Duration {
        self.began.elapsed()
    }

    /// The time since the start without the stalls of the machine: what a bound is compared with.
    pub fn fair(self) -> Duration {
        self.elapsed().saturating_sub(self.stalls())
    }

    /// The stalls of the machine between this start and a later one.
    pub fn stalls_until(self, later: Self) -> Duration {
        later.stalled_before.saturating_sub(self.stalled_before)
    }

    /// The stalls of the machine since the start.
    pub fn stalls(self) -> Duration {
        stalled().saturating_sub(self.stalled_before)
    }
}

/// The output of `future`, or `None` when that takes longer than `bound`, stalls apart.
pub fn fair_timeout<F: Future>(bound: Duration, future: F) -> impl Future<Output = Option<F::Output>> {
    // On the heap: scripts of many steps would overflow the stack of a test.
    let mut future = Box::pin(future);
    async move {
        // The clock of the runtime, which a test may have paused.
        let (start, watch) = (tokio::time::Instant::now(), Stopwatch::start());
        loop {
            let left = (bound + watch.stalls()).saturating_sub(start.elapsed());
            match timeout(left, &mut future).await {
                Ok(output) => return Some(output),
                Err(_) if start.elapsed() >= bound + watch.stalls() => return None,
                Err(_) => {}
            }
        }
    }
}

/// The output of `future`, which must not take longer than `bound`, stalls apart.
///
/// # Panics
///
/// When it does; the message begins with `what`.
pub fn within<F: Future>(bound: Duration, what: &str, future: F) -> impl Future<Output = F::Output> {
    let output = fair_timeout(bound, future);
    async move {
        let watch = Stopwatch::start();
        match output.await {
            Some(output) => output,
            None => panic!("{what}: not within {bound:?}, and {:?} of stalls", watch.stalls()),
        }
    }
}

/// The sum of all stalls of this process since the first call.
fn stalled() -> Duration {
    static MEASURING: LazyLock<()> = LazyLock::new(|| {
        thread::spawn(|| {
            loop {
                let asleep = Instant::now();
                thread::sleep(BEAT);
                STALLED.fetch_add(late(asleep.elapsed()), Ordering::Relaxed);
            }
        });
    });
    LazyLock::force(&MEASURING);
    Duration::from_nanos(STALLED.load(Ordering::Relaxed))
}

/// The stall, in nanoseconds, of a beat that took this long.
fn late(slept: Duration) -> u64 {
    slept.saturating_sub(BEAT + USUAL).as_nanos().try_into().unwrap_or(u64::MAX)
}

/// In nanoseconds.
static STALLED: AtomicU64 = AtomicU64::new(0);
const BEAT: Duration = Duration::from_millis(10);
/// How late a sleeper wakes on a machine with nothing else to do.
const USUAL: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_is_late_is_a_stall_and_the_usual_delay_is_none() {
        assert_eq!(late(Duration::from_micros(10_900)), 0);
        assert_eq!(late(Duration::from_millis(61)), 50_000_000);
    }

    #[tokio::test]
    async fn a_bound_does_not_count_stalls() {
        let watch = Stopwatch::start();
        let stall = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            STALLED.fetch_add(200_000_000, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        within(Duration::from_millis(100), "a stalled sleep", stall).await;
        assert!(watch.stalls() >= Duration::from_millis(200), "{watch:?}");
        assert!(watch.fair() < watch.elapsed(), "{watch:?}");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "an answer: not within 2s")]
    async fn a_bound_is_kept() {
        within(Duration::from_secs(2), "an answer", std::future::pending::<()>()).await;
    }
}
