//! The least-loaded strategy: the less loaded of two at random.

use std::cmp::Ordering;
use std::sync::Arc;

use super::alias::Alias;
use crate::balance::places::Places;
use crate::balance::{Endpoint, EndpointSet, Index, Pick, Picker, Strategy, Tracking};

/// A strategy that draws two instances by weight and picks the one with fewer calls in flight, in proportion to its weight. If both are busy
/// alike it looks at a third.
///
/// The default choice: it follows real load, needs no tuning and cannot stampede, because two clients rarely draw the same
/// pair. The most loaded of n instances has O(log log n) more than the average instead of O(log n) (Mitzenmacher, "The
/// Power of Two Choices in Randomized Load Balancing", 2001). An instance that fails fast looks idle to it: leave
/// [ejection](crate::balance::Ejection) on. One random number and two counters per pick, half as much again on a tie.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastLoaded;

impl Strategy for LeastLoaded {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(TwoChoices {
            draw: Alias::of(set),
            endpoints: set.endpoints().clone(),
            set: Arc::clone(set),
        })
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        Alias::has_table(set)
    }

    fn tracking(&self) -> Tracking {
        Tracking::NOTHING.with_in_flight()
    }
}

struct TwoChoices {
    draw: Alias,
    endpoints: Places<Endpoint>,
    set: Arc<EndpointSet>,
}

impl Picker for TwoChoices {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let (a, b) = self.draw.draw_two(pick);
        let (a, b) = (Index::new(a), Index::new(b));
        // None has less than nothing to do: the other need not be looked at.
        if !pick.is_last_try() && self.endpoints[a].in_flight() == 0 {
            return a;
        }
        match self.compare(a, b, pick) {
            Ordering::Less => a,
            Ordering::Greater => b,
            Ordering::Equal if self.endpoints[a].in_flight() == 0 => a,
            Ordering::Equal => {
                let third = Index::new(self.draw.draw(pick));
                if self.compare(third, a, pick).is_lt() { third } else { a }
            }
        }
    }
}

impl TwoChoices {
    /// Compares calls in flight per weight. One that takes no calls is idle and wins: then two others are drawn, so that an
    /// instance which takes calls gets none for having been drawn beside it. In the last try it loses.
    fn compare(&self, a: Index, b: Index, pick: &Pick<'_>) -> Ordering {
        let (a, b) = (&self.endpoints[a], &self.endpoints[b]);
        let load =
            |of: &Endpoint, other: &Endpoint| u64::from(of.in_flight()) * u64::from(other.weight().get());
        let by_load = load(a, b).cmp(&load(b, a));
        if pick.is_last_try() {
            let is_out = |one: &Endpoint| !self.set.takes_calls(one);
            return is_out(a).cmp(&is_out(b)).then(by_load);
        }
        by_load
    }
}
