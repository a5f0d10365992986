//! The peak-EWMA strategy: the cheaper of two at random, by answer time, failures and calls in flight.

use std::sync::Arc;
use std::time::Duration;

use super::alias::Alias;
use crate::balance::clock::Clock;
use crate::balance::places::Places;
use crate::balance::vitals::Cost;
use crate::balance::{Endpoint, EndpointSet, Index, Pick, Picker, Strategy, Tracking};

/// A strategy that draws two instances by weight and picks the one where a call is expected to be over sooner.
///
/// Use it when instances differ in speed, or when one may turn slow. The expected time is Finagle's peak EWMA: a slow answer
/// counts at once, fast ones bring the average back gradually, and without news it fades. Multiplied by the calls in flight.
///
/// Unlike there, a slow spell is over soon: an average that no answer came near to (three quarters of it) for half the time
/// constant is replaced by the next answer, and an instance that has no call under way gets one then, whatever it is held to cost.
/// And a failure never counts as a fast answer: each one to be expected adds [`penalty`](Self::penalty), and a call that failed or
/// was given up counts as at least as long as it took. One that was never measured gets one call first.
///
/// Two random choices as in [`LeastLoaded`](super::LeastLoaded); a few divisions more. The time constant is
/// [`BalancerOptions::decay`](crate::balance::BalancerOptions).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PeakEwma {
    /// The cost of a failure: an instance that always fails is worth as much as one that takes this long. Defaults to 1 second.
    pub penalty: Duration,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { penalty: Duration::from_secs(1) }
    }
}

impl PeakEwma {
    /// Sets [`penalty`](Self::penalty).
    #[must_use]
    pub const fn with_penalty(mut self, penalty: Duration) -> Self {
        self.penalty = penalty;
        self
    }
}

impl Strategy for PeakEwma {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Cheaper {
            draw: Alias::of(set),
            penalty: self.penalty.as_nanos() as f64,
            mean_weight: (!set.has_equal_weights()).then(|| set.total_weight() as f64 / set.len() as f64),
            endpoints: set.endpoints().clone(),
            set: Arc::clone(set),
        })
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        Alias::has_table(set)
    }

    fn tracking(&self) -> Tracking {
        Tracking::NOTHING.with_in_flight().with_latency()
    }
}

struct Cheaper {
    draw: Alias,
    penalty: f64,
    /// `None` when all weights are the same.
    mean_weight: Option<f64>,
    endpoints: Places<Endpoint>,
    set: Arc<EndpointSet>,
}

impl Cheaper {
    #[inline]
    fn cost(&self, endpoint: &Endpoint, clock: Clock, at: u64) -> f64 {
        let queue = f64::from(endpoint.in_flight());
        let queue = self.mean_weight.map_or(queue, |mean| queue * mean / f64::from(endpoint.weight().get()));
        match endpoint.vitals.cost(clock, at, self.penalty) {
            Cost::Known(cost) => cost * (queue + 1.0),
            Cost::Unknown(waited) => waited + self.penalty * queue,
        }
    }
}

impl Picker for Cheaper {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let (a, b) = self.draw.draw_two(pick);
        let (a, b) = (Index::new(a), Index::new(b));
        let (one, other) = (&self.endpoints[a], &self.endpoints[b]);
        // One that takes no calls and has failed costs much: only the last try must not propose it.
        if pick.is_last_try() {
            let (one, other) = (self.set.takes_calls(one), self.set.takes_calls(other));
            if one != other {
                return if one { a } else { b };
            }
        }
        let clock = *self.set.health.clock;
        let at = pick.at(clock);
        let (cheaper, dearer) =
            if self.cost(one, clock, at) <= self.cost(other, clock, at) { (a, b) } else { (b, a) };
        let is_worth = |index: Index| self.endpoints[index].vitals.is_worth_a_call(clock, at);
        if is_worth(dearer) && !is_worth(cheaper) { dearer } else { cheaper }
    }
}
