//! Pure: what befalls one of four equal servers, and how each call to it ends. Seeded, in virtual time.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

/// What befalls a server at [`BEGINS`]. Afterwards it is well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// So many calls in a row fail at once.
    Fails(u32),
    /// Calls get no answer for [`LASTS`].
    Hangs,
    /// Its process ends, and with it the calls under way; a second later another one is listed in its place.
    Restarts,
    /// Calls take twenty times as long for [`LASTS`], and half a second at least.
    Slow,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    Answered,
    Failed,
    NotReached,
}

/// Calls, how often they come, and how long a well server takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic {
    /// Calls a second.
    pub(super) rate: u32,
    pub(super) answer: Duration,
}

/// The servers of a history.
pub(super) const SERVERS: usize = 4;
/// When the trouble begins.
pub(super) const BEGINS: Duration = Duration::from_secs(5);
/// How long it lasts.
const LASTS: Duration = Duration::from_secs(10);
/// How long a process takes to come back.
const AWAY: Duration = Duration::from_secs(1);
/// How long a caller waits.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// A server in trouble.
#[derive(Debug)]
pub(super) struct Victim {
    trouble: Trouble,
    /// Calls that are still to fail.
    failing: u32,
    /// When the trouble ends, or ended.
    well_at: Duration,
}

impl Victim {
    pub(super) fn new(trouble: Trouble) -> Self {
        let failing = if let Trouble::Fails(times) = trouble { times } else { 0 };
        let lasts = if trouble == Trouble::Restarts { AWAY } else { LASTS };
        Self { trouble, failing, well_at: BEGINS + lasts }
    }

    pub(super) fn well_at(&self) -> Duration {
        self.well_at
    }

    /// When another process takes its place.
    pub(super) fn restarts_at(&self) -> Option<Duration> {
        (self.trouble == Trouble::Restarts).then_some(self.well_at)
    }

    /// How a call that arrives at `now` and would take `well` ends, and after which time.
    pub(super) fn serve(&mut self, now: Duration, well: Duration) -> (Duration, Ending) {
        if self.trouble == Trouble::Restarts && (BEGINS.saturating_sub(well)..BEGINS).contains(&now) {
            return (BEGINS - now, Ending::Failed);
        }
        if now < BEGINS || now >= self.well_at {
            return (well, Ending::Answered);
        }
        match self.trouble {
            Trouble::Fails(_) => {
                self.failing -= 1;
                if self.failing == 0 {
                    self.well_at = now;
                }
                (well, Ending::Failed)
            }
            Trouble::Hangs => (TIMEOUT, Ending::Failed),
            Trouble::Restarts => (Duration::from_millis(1), Ending::NotReached),
            Trouble::Slow => ((well * 20).max(TIMEOUT / 2), Ending::Answered),
        }
    }
}

impl Traffic {
    /// The time that a well server takes for the next call.
    pub(super) fn work(self, rng: &mut SmallRng) -> Duration {
        self.answer.mul_f64(0.8 + 0.4 * rng.random::<f64>())
    }

    /// The time until the next call comes, whatever became of the earlier ones.
    pub(super) fn pause(self, rng: &mut SmallRng) -> Duration {
        (Duration::from_secs(1) / self.rate).mul_f64(-(1.0 - rng.random::<f64>()).ln())
    }
}
