//! One contestant against one fleet: calls arrive at random, whatever happened to the earlier ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::fleet::Fleet;

/// Chooses a server for each call, and learns how it went.
pub(crate) trait Contestant {
    /// A call begins: which server?
    fn begin(&mut self, call: usize) -> usize;
    /// The call is over.
    fn end(&mut self, call: usize, succeeded: bool);
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    /// Failed calls in a million.
    pub(super) errors: f64,
}

/// Calls of one race.
const CALLS: usize = 100_000;
/// Mean time between two arrivals: about half of what the well servers can do.
const BETWEEN: Duration = Duration::from_micros(400);
/// A call that fails is as bad as one that takes this long: otherwise whoever sends much to a server that fails would
/// look fast.
const DEADLINE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Event {
    Arrive,
    Leave { call: usize, server: usize },
}

/// Runs a race under tokio's paused clock, which is everybody's clock.
pub(super) async fn race(fleet: Fleet, seed: u64, contestant: &mut dyn Contestant) -> Outcome {
    let mut servers = fleet.servers();
    let mut arrivals = SmallRng::seed_from_u64(seed);
    let mut events = BinaryHeap::from([Reverse((Duration::ZERO, 0_usize, Event::Arrive))]);
    let (mut now, mut order) = (Duration::ZERO, 0);
    let mut began = Vec::with_capacity(CALLS);
    let mut taken = Vec::with_capacity(CALLS);
    let mut errors = 0;

    while let Some(Reverse((at, _, event))) = events.pop() {
        tokio::time::advance(at - now).await;
        now = at;
        let mut push = |at, event| {
            order += 1;
            events.push(Reverse((at, order, event)));
        };
        match event {
            Event::Arrive => {
                let call = began.len();
                began.push(now);
                let server = contestant.begin(call);
                if servers[server].arrive(call) {
                    push(now + servers[server].work(seed, call), Event::Leave { call, server });
                }
                if began.len() < CALLS {
                    push(now + BETWEEN.mul_f64(-(1.0 - arrivals.random::<f64>()).ln()), Event::Arrive);
                }
            }
            Event::Leave { call, server } => {
                let succeeded = !servers[server].fails();
                contestant.end(call, succeeded);
                errors += usize::from(!succeeded);
                let time = now - began[call];
                taken.push(if succeeded { time } else { time.max(DEADLINE) });
                if let Some(call) = servers[server].leave() {
                    push(now + servers[server].work(seed, call), Event::Leave { call, server });
                }
            }
        }
    }
    taken.sort_unstable();
    let at = |part: f64| taken[(taken.len() as f64 * part) as usize].as_nanos() as f64;
    Outcome { p50: at(0.5), p99: at(0.99), p999: at(0.999), errors: 1e6 * errors as f64 / CALLS as f64 }
}
