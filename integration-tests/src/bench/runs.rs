//! How often something is measured, and in which order: whatever is compared is interleaved, so that a machine that
//! becomes slower meanwhile does so for both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::samples::Samples;

/// The number of counted runs; one more of each contestant comes first and is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs(pub usize);

impl Runs {
    /// Measures one thing. A run returns a figure, or several.
    pub async fn alone<T>(self, mut ours: impl AsyncFnMut() -> T) -> Vec<T> {
        black_box(ours().await);
        let mut found = Vec::with_capacity(self.0);
        for _ in 0..self.0 {
            found.push(ours().await);
        }
        found
    }

    /// Measures two things in turn; who goes first changes with every round.
    pub async fn beside<T, U>(
        self,
        mut ours: impl AsyncFnMut() -> T,
        mut reference: impl AsyncFnMut() -> U,
    ) -> (Vec<T>, Vec<U>) {
        black_box((ours().await, reference().await));
        let (mut found, mut beside) = (Vec::with_capacity(self.0), Vec::with_capacity(self.0));
        for round in 0..self.0 {
            if round % 2 == 0 {
                found.push(ours().await);
                beside.push(reference().await);
            } else {
                beside.push(reference().await);
                found.push(ours().await);
            }
        }
        (found, beside)
    }
}

/// The latency of each of `calls` calls, one after the other, in nanoseconds.
pub async fn latencies(calls: usize, mut call: impl AsyncFnMut()) -> Samples {
    let mut taken = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        call().await;
        taken.push(start.elapsed().as_nanos() as f64);
    }
    taken.into_iter().collect()
}

/// The mean time of one of `calls` calls, in nanoseconds: for what is too short to be timed alone.
pub fn per_call<T>(calls: u32, mut call: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(call());
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// The processor time that this process has used so far, in user and system mode.
///
/// # Panics
///
/// When the kernel does not say.
pub fn processor_time() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;

    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    let used = usage.user_time() + usage.system_time();
    Duration::from_micros(used.num_microseconds().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[tokio::test]
    async fn contestants_take_turns_and_the_first_run_is_not_counted() {
        let order = RefCell::new(String::new());
        let run = |name: char| {
            order.borrow_mut().push(name);
            order.borrow().len()
        };
        let (ours, reference) = Runs(3).beside(async || run('a'), async || run('b')).await;
        assert_eq!(order.into_inner(), "ababbaab");
        assert_eq!((ours, reference), (vec![3, 6, 7], vec![4, 5, 8]));
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = processor_time();
        per_call(1, || (0..20_000_000_u64).fold(0, |sum, n| black_box(sum ^ n)));
        assert!(processor_time() > before);
    }
}
