//! Pure: the servers that are called, and how long each takes. Seeded, in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// How a fleet is made up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fleet {
    /// One that takes twenty times as long.
    pub(super) slow: bool,
    /// One that fails at once.
    pub(super) failing: bool,
}

/// One server: so many calls at a time, the others wait in line.
#[derive(Debug)]
pub(super) struct Server {
    median: Duration,
    fails: bool,
    busy: usize,
    line: VecDeque<usize>,
}

/// Servers of every fleet.
pub(super) const SERVERS: usize = 10;
/// Calls that a server handles at a time.
const WORKERS: usize = 8;
/// Of the logarithm of the time that a call takes: its 99th percentile is four times the median.
const SIGMA: f64 = 0.6;

impl Fleet {
    /// The servers: medians from 4 to 13 ms, but for the slow and the failing one.
    pub(super) fn servers(self) -> Vec<Server> {
        (0..SERVERS)
            .map(|n| {
                let slower = if self.slow && n == 0 { 20 } else { 1 };
                Server {
                    median: Duration::from_millis(4 + shuffled(n)) * slower,
                    fails: self.failing && n == 1,
                    busy: 0,
                    line: VecDeque::new(),
                }
            })
            .collect()
    }
}

/// No place in the list is better than another.
fn shuffled(n: usize) -> u64 {
    (n as u64 * 7 + 3) % SERVERS as u64
}

impl Server {
    /// Takes the call, or lets it wait. Returns whether work on it begins.
    pub(super) fn arrive(&mut self, call: usize) -> bool {
        let free = self.busy < WORKERS;
        if free {
            self.busy += 1;
        } else {
            self.line.push_back(call);
        }
        free
    }

    /// Ends a call and returns the next in line, on which work begins.
    pub(super) fn leave(&mut self) -> Option<usize> {
        let next = self.line.pop_front();
        if next.is_none() {
            self.busy -= 1;
        }
        next
    }

    /// Whether calls fail here.
    pub(super) fn fails(&self) -> bool {
        self.fails
    }

    /// How long work on the call takes: the same for every contestant, because it depends on the call alone.
    pub(super) fn work(&self, seed: u64, call: usize) -> Duration {
        if self.fails {
            return Duration::from_millis(1);
        }
        let mut rng = SmallRng::seed_from_u64(seed ^ (call as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos(); // Box and Muller
        self.median.mul_f64((SIGMA * normal).exp())
    }
}
