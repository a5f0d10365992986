//! The load generator: who asks when, and how many at once.
//!
//! It knows nothing of ZooKeeper or of time servers. Each worker keeps what it learns to itself, so that counting costs no
//! coordination, and hands it back at the end.
//!
//! With [`Pace::Rate`] the schedule does not depend on the answers (an open loop): a turn that begins late, because all
//! workers were waiting, still carries the moment at which it was *due*, and a latency counted from there includes the
//! wait. Counting from the actual start would hide exactly the queries that suffered most ("coordinated omission",
//! Gil Tene, "How NOT to measure latency").

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many turns are under way at most. Defaults to 1.
    pub concurrency: NonZeroUsize,
    /// When turns begin. Defaults to [`Pace::Every`] second.
    pub pace: Pace,
    /// How many turns there are; `None` for no limit. Defaults to 100.
    pub count: Option<u64>,
    /// For how long turns begin; those under way then still end. `None` for no limit, the default.
    pub duration: Option<Duration>,
}

/// When turns begin.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// A closed loop: each worker begins a turn that long after it began the one before, or when that ends, whichever is
    /// later. [`Duration::ZERO`] is as fast as it goes.
    Every(Duration),
    /// An open loop: that many turns a second over all workers, whatever the answers do.
    Rate(f64),
}

/// One turn of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Counts the turns of all workers, from 1.
    pub n: u64,
    /// When it should have begun: what its latency is counted from.
    pub due: Instant,
}

/// What a worker does in each turn.
pub trait Work: Send + 'static {
    /// Does the work of one turn.
    ///
    /// # Cancel safety
    ///
    /// When the load is stopped, the future is dropped.
    fn turn(&mut self, turn: Turn) -> impl Future<Output = ()> + Send;
}

impl Default for Load {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::MIN,
            pace: Pace::Every(Duration::from_secs(1)),
            count: Some(100),
            duration: None,
        }
    }
}

impl Load {
    /// Runs until all turns are done or `stop` is cancelled, and gives the workers back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops all workers.
    pub async fn run<W: Work>(self, stop: CancellationToken, mut worker: impl FnMut() -> W) -> Vec<W> {
        let start = Instant::now();
        let tickets = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..self.concurrency.get() {
            running.spawn(self.work(start, tickets.clone(), stop.clone(), worker()));
        }
        // Join errors are panics of a worker, which are the caller's to see.
        running.join_all().await
    }

    async fn work<W: Work>(
        self,
        start: Instant,
        tickets: Arc<AtomicU64>,
        stop: CancellationToken,
        mut work: W,
    ) -> W {
        let mut earliest = start;
        loop {
            let n = tickets.fetch_add(1, Ordering::Relaxed);
            let due = match self.pace {
                Pace::Every(_) => earliest.max(Instant::now()),
                // Not a sum of periods: rounding must not add up.
                Pace::Rate(rate) => start + Duration::from_secs_f64(n as f64 / rate),
            };
            if !self.allows(n, due.duration_since(start)) {
                return work;
            }
            let turn = async {
                let due = match self.pace {
                    Pace::Every(_) => reached(due).await,
                    // Whatever makes a turn late, our own timers included, made a user wait.
                    Pace::Rate(_) => {
                        sleep_until(due).await;
                        due
                    }
                };
                work.turn(Turn { n: n + 1, due }).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return work,
                () = turn => {}
            }
            if let Pace::Every(interval) = self.pace {
                earliest = due + interval;
            }
        }
    }

    /// Whether the `n`th turn, counted from 0, may begin that long after the start.
    fn allows(self, n: u64, at: Duration) -> bool {
        self.count.is_none_or(|count| n < count) && self.duration.is_none_or(|duration| at < duration)
    }
}

/// Waits until `due`, and returns the moment that a turn of a closed loop counts from: `due` for one that is late, else the
/// moment of waking up, because a timer that is a little late (tokio's up to two milliseconds) is no property of what is
/// measured. More than that, such as a frozen process, is counted.
async fn reached(due: Instant) -> Instant {
    if Instant::now() >= due {
        return due;
    }
    sleep_until(due).await;
    Instant::now().min(due + TIMER_SLACK)
}

/// How late a timer may be without being counted.
const TIMER_SLACK: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Notes how late it is told to begin and how long after `due` it is done.
    #[derive(Default)]
    struct Slow {
        takes: Duration,
        latencies: Vec<Duration>,
        turns: Vec<u64>,
    }

    impl Work for Slow {
        async fn turn(&mut self, turn: Turn) {
            sleep(self.takes).await;
            self.turns.push(turn.n);
            self.latencies.push(turn.due.elapsed());
        }
    }

    fn slow(takes: u64) -> impl FnMut() -> Slow {
        move || Slow { takes: Duration::from_millis(takes), ..Slow::default() }
    }

    fn load(concurrency: usize, pace: Pace, count: Option<u64>) -> Load {
        let concurrency = NonZeroUsize::new(concurrency).unwrap();
        Load { concurrency, pace, count, duration: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_counts_the_time_that_a_turn_had_to_wait() {
        // Ten a second are due, one at a time takes 300 ms: the fourth is done at 1.2 s and was due at 0.3 s.
        let load = load(1, Pace::Rate(10.0), Some(4));
        let workers = load.run(CancellationToken::new(), slow(300)).await;
        let expected = [300, 500, 700, 900].map(Duration::from_millis);
        assert_eq!(workers[0].latencies, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_counts_the_lateness_of_its_own_timers() {
        // Due at 0, 0.4, 0.8 ms; a timer of the runtime wakes up at whole milliseconds.
        let workers = load(1, Pace::Rate(2_500.0), Some(3)).run(CancellationToken::new(), slow(0)).await;
        let expected = [0, 600, 200].map(Duration::from_micros);
        assert_eq!(workers[0].latencies, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_loop_keeps_its_rate_while_workers_are_free() {
        let start = Instant::now();
        let load = load(4, Pace::Rate(10.0), Some(31));
        let workers = load.run(CancellationToken::new(), slow(300)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(3300));
        assert!(
            workers.iter().flat_map(|worker| &worker.latencies).all(|latency| latency.as_millis() == 300)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_loop_waits_for_the_answer_and_then_for_the_rest_of_the_interval() {
        let start = Instant::now();
        let every = Pace::Every(Duration::from_millis(200));
        load(1, every, Some(3)).run(CancellationToken::new(), slow(50)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(450));

        let start = Instant::now();
        load(1, every, Some(3)).run(CancellationToken::new(), slow(300)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn every_turn_happens_once() {
        let workers =
            load(7, Pace::Every(Duration::ZERO), Some(100)).run(CancellationToken::new(), slow(3)).await;
        let mut turns: Vec<_> = workers.into_iter().flat_map(|worker| worker.turns).collect();
        turns.sort_unstable();
        assert_eq!(turns, (1..=100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_duration_or_a_stop_ends_it() {
        let start = Instant::now();
        let mut load = load(2, Pace::Every(Duration::from_millis(100)), None);
        load.duration = Some(Duration::from_secs(1));
        let workers = load.run(CancellationToken::new(), slow(1)).await;
        assert_eq!(workers.iter().map(|worker| worker.turns.len()).sum::<usize>(), 20);
        assert!(start.elapsed() <= Duration::from_secs(1));

        let stop = CancellationToken::new();
        load.duration = None;
        let running = tokio::spawn(load.run(stop.clone(), slow(60_000)));
        sleep(Duration::from_millis(10)).await;
        stop.cancel();
        let workers = running.await.unwrap();
        assert!(workers.iter().all(|worker| worker.turns.is_empty()));
    }
}
