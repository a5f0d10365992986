//! The consistent-hash strategy: the same key to the same instance, from every client.

use std::any::Any;
use std::sync::Arc;

use super::load::Load;
use super::owner_table::OwnerTable;
use crate::balance::places::Places;
use crate::balance::{Endpoint, EndpointSet, Index, Key, Pick, Picker, Strategy, Tracking};

/// A strategy that picks by the key of the call, so that calls with the same key meet the same instance, from every client.
///
/// Use it for caches and for work that is cheaper where it was done before. When an instance comes, goes or changes its weight,
/// only the keys that it gets or had move (consistent hashing: Karger et al. 1997); while it is ejected or starts slowly, the
/// keys that it does not take are where they would be without it. No instance gets more than about
/// [`bound`](Self::bound) times its fair share of this client's calls in flight: the rest goes to a second choice of the
/// key, and so on (after "Consistent Hashing with Bounded Loads", Mirrokni, Thorup and Zadimoghaddam 2018). A call
/// without a key goes anywhere, by weight.
///
/// Without the bound the shares are within some 3 % of the weights with 100 instances, 10 % with 1,000, 25 % with more. A pick is
/// one look into a table of 256 KiB, of which there are two; they double when the number of instances passes 8,192 and each power
/// of two after it. Then half of the keys move. Where an instance changes more than once, eight times the memory of one table is kept
/// besides, so that its next change takes a tenth of the time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConsistentHash {
    /// The multiple of its fair share of the calls in flight that an instance may have; at least 1. `None` for no bound, which is
    /// cheaper and never moves a key for load. Defaults to 1.25.
    pub bound: Option<f64>,
}

impl ConsistentHash {
    /// Keys never move for load.
    pub const UNBOUNDED: Self = Self { bound: None };

    /// Sets [`bound`](Self::bound).
    #[must_use]
    pub const fn with_bound(mut self, bound: Option<f64>) -> Self {
        self.bound = bound;
        self
    }

    fn keyed(&self, set: &Arc<EndpointSet>, owners: OwnerTable) -> Keyed {
        Keyed {
            owners,
            bound: self.bound.map(|bound| bound.max(1.0) / set.total_weight() as f64),
            load: Load::of(set),
            endpoints: set.endpoints().clone(),
            set: Arc::clone(set),
        }
    }
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self { bound: Some(1.25) }
    }
}

impl Strategy for ConsistentHash {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(self.keyed(set, OwnerTable::of(set)))
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        match (earlier as &dyn Any).downcast_ref::<Keyed>() {
            Some(earlier) => Box::new(self.keyed(set, earlier.owners.renewed(&earlier.set, set))),
            None => self.picker(set),
        }
    }

    fn has_table(&self, _: &EndpointSet) -> bool {
        true
    }

    fn tracking(&self) -> Tracking {
        if self.bound.is_some() { Tracking::NOTHING.with_in_flight() } else { Tracking::NOTHING }
    }
}

struct Keyed {
    owners: OwnerTable,
    /// How much of the set's calls in flight one unit of weight may have.
    bound: Option<f64>,
    load: Load,
    endpoints: Places<Endpoint>,
    set: Arc<EndpointSet>,
}

/// How many choices of a key are looked at for one that is not overloaded, before any will do.
const CHOICES: u32 = 8;

impl Picker for Keyed {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let key = pick.key.map_or_else(|| pick.rng.next_u64(), Key::hash);
        let choice = |n: u32| self.owners.choice(key, pick.attempt() + n);
        let first = choice(0);
        let Some(bound) = self.bound else { return first };
        if self.endpoints[first].in_flight() == 0 {
            return first;
        }
        let share = bound * (self.load.sum(&self.set) + 1) as f64;
        let fits = |index: &Index| {
            let endpoint = &self.endpoints[*index];
            f64::from(endpoint.in_flight()) < (share * f64::from(endpoint.weight().get())).ceil()
        };
        // With a bound of c, a share of 1 - 1/c is below it at any time: the walk is short.
        let walk = (0..self.set.len()).map(|step| Index::new((first.get() + step) % self.set.len()));
        (0..CHOICES).map(choice).chain(walk).find(fits).unwrap_or(first)
    }

    fn affinity(&self, pick: &Pick<'_>) -> Option<u64> {
        pick.key.map(Key::hash)
    }
}
