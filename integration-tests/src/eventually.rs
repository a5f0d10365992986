//! Waiting for a condition, so that no test sleeps and hopes.

use std::fmt::{Debug, Display};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fair_time::{Stopwatch, fair_timeout};

/// The answer of a probe: it holds (with a value), or not yet (with the reason).
pub trait ProbeAnswer {
    /// The value that the wait returns once the condition holds.
    type Value;

    /// The value, or why it does not hold yet.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl ProbeAnswer for bool {
    type Value = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".to_owned()) }
    }
}

impl<T> ProbeAnswer for Option<T> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing".to_owned())
    }
}

impl<T, E: Display> ProbeAnswer for Result<T, E> {
    type Value = T;

    fn outcome(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Polls `probe` until it holds and returns its value.
///
/// A probe answers with a `bool`, an `Option` or a `Result`; the last is best, because its error is what the panic
/// shows. Polls are 2 ms apart at first, 50 ms at last. Stalls of the machine do not count, see
/// [`fair_time`](crate::fair_time).
///
/// # Panics
///
/// When `within` has passed: the message says what was awaited, for how long, how often it was looked at, and the
/// last answer. A probe that does not return in time is abandoned and named as such.
pub async fn eventually<V: ProbeAnswer>(
    within: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> V,
) -> V::Value {
    let (start, watch) = (Instant::now(), Stopwatch::start());
    let left = || (within + watch.stalls()).saturating_sub(start.elapsed());
    let mut pause = Duration::from_millis(2);
    let mut last = "none".to_owned();
    let mut looks = 0_u32;
    loop {
        match fair_timeout(left(), probe()).await.map(ProbeAnswer::outcome) {
            Some(Ok(value)) => return value,
            Some(Err(reason)) => last = reason,
            None => {
                panic!(
                    "{what}: not within {within:?}; look {} had not returned; last answer: {last}",
                    looks + 1
                )
            }
        }
        looks += 1;
        if left().is_zero() {
            let (passed, stalls) = (start.elapsed(), watch.stalls());
            panic!(
                "{what}: not within {within:?} ({looks} looks, {passed:?}, {stalls:?} of them stalls); last answer: {last}"
            );
        }
        sleep(pause.min(left())).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Polls `probe` for the whole of `lasting` and wants it to hold at every look, 5 ms apart.
///
/// # Panics
///
/// At the first look at which it does not hold.
pub async fn always<V: ProbeAnswer<Value: Debug>>(
    lasting: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> V,
) {
    let start = Instant::now();
    while start.elapsed() < lasting {
        if let Err(reason) = probe().await.outcome() {
            panic!("{what}: no longer after {:?} of {lasting:?}: {reason}", start.elapsed());
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_condition_that_comes_true_ends_the_wait() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(1), "three looks", async || {
            looks += 1;
            (looks == 3).then_some("here")
        })
        .await;
        assert_eq!((value, looks), ("here", 3));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the answer: not within 1s")]
    async fn a_condition_that_stays_false_names_itself() {
        eventually(Duration::from_secs(1), "the answer", async || Err::<(), _>("still 41")).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "last answer: still 41")]
    async fn a_condition_that_stays_false_shows_the_last_answer() {
        eventually(Duration::from_secs(1), "the answer", async || Err::<(), _>("still 41")).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "look 1 had not returned; last answer: none")]
    async fn a_probe_that_hangs_does_not_hang_the_test() {
        eventually(Duration::from_secs(1), "a stuck probe", async || std::future::pending::<bool>().await)
            .await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "no longer after")]
    async fn a_condition_that_breaks_is_noticed() {
        let start = Instant::now();
        always(Duration::from_secs(1), "calm", async || start.elapsed() < Duration::from_millis(500)).await;
    }
}
