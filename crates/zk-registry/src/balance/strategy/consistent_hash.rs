//! The same key to the same instance, wherever it is asked.

use std::sync::Arc;

use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy, Tracking, hash};

/// Picks by the key of the call, so that calls with the same key meet the same instance, from every client.
///
/// Use it for caches and for work that is cheaper where it was done before. When an instance comes or goes, only the keys
/// that it gets or had move (consistent hashing: Karger et al. 1997). No instance gets more than
/// [`bound`](Self::bound) times its fair share of this client's calls in flight: what is too much goes to a second choice of the
/// key, and so on (after "Consistent Hashing with Bounded Loads", Mirrokni, Thorup and Zadimoghaddam 2018). A call
/// without a key goes anywhere, by weight.
///
/// Each instance has 100 points on a ring, more with more than the average weight; without the bound the shares are within some
/// 10 % of the weights (20 % with 10,000 instances). A pick is one look into a table of 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConsistentHash {
    /// How many times its fair share of the calls in flight an instance may have; at least 1. `None` for no bound, which is
    /// cheaper and never moves a key for load. Defaults to 1.25.
    pub bound: Option<f64>,
}

impl ConsistentHash {
    /// Keys never move for load.
    pub const UNBOUNDED: Self = Self { bound: None };
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self { bound: Some(1.25) }
    }
}

impl Strategy for ConsistentHash {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Keyed {
            ring: Ring::of(set),
            bound: self.bound.map(|bound| bound.max(1.0) / set.total_weight() as f64),
            set: Arc::clone(set),
        })
    }

    fn tracking(&self) -> Tracking {
        let bounded = self.bound.is_some();
        Tracking { in_flight: bounded, total: bounded, ..Tracking::NOTHING }
    }
}

struct Keyed {
    ring: Ring,
    /// How much of all calls in flight one unit of weight may have.
    bound: Option<f64>,
    set: Arc<EndpointSet>,
}

/// How many choices of a key are looked at for one that is not overloaded, before any will do.
const CHOICES: u32 = 8;

impl Picker for Keyed {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let key = match pick.key {
            Some(key) => {
                pick.follow(key.hash());
                key.hash()
            }
            None => pick.rng.next_u64(),
        };
        let choice = |n: u32| self.ring.owner(hash::nth(key, u64::from(pick.attempt() * CHOICES + n)));
        let first = choice(0);
        let Some(bound) = self.bound else { return first };
        let share = bound * (self.set.total_in_flight() + 1) as f64;
        let fits = |index: &Index| {
            let endpoint = &self.set[*index];
            f64::from(endpoint.in_flight()) < (share * f64::from(endpoint.weight().get())).ceil()
        };
        if fits(&first) {
            return first;
        }
        // With a bound of c, a share of 1 - 1/c is below it at any time: the walk is short.
        let walk = (0..self.set.len()).map(|step| Index::new((first.get() + step) % self.set.len()));
        (1..CHOICES).map(choice).chain(walk).find(fits).unwrap_or(first)
    }
}

/// A circle of slots. Each instance has points on it; a slot belongs to the first point at or behind its beginning.
///
/// The circle has the same slots whatever the set, so that a slot changes hands only when its owner goes or a nearer point
/// comes. One look finds the owner.
struct Ring(Box<[u32]>);

/// log2 of the number of slots: 26 for each of 10,000 instances, and a table of 1 MiB.
const SLOT_BITS: u32 = 18;
/// Points of an instance with the average weight.
const POINTS: f64 = 100.0;

impl Ring {
    fn of(set: &EndpointSet) -> Self {
        // In each slot the first point: its place within the slot above, its owner below.
        let mut slots = vec![u64::MAX; 1 << SLOT_BITS].into_boxed_slice();
        let mean_weight = set.total_weight() as f64 / set.len() as f64;
        for (owner, endpoint) in set.iter().enumerate() {
            let own = hash::bytes(endpoint.id().as_str().as_bytes());
            let share = (POINTS * f64::from(endpoint.weight().get()) / mean_weight).round().max(1.0) as u64;
            // The points of a smaller share are the first ones of a larger share: a new weight moves little.
            for point in (0..share).map(|n| hash::nth(own, n)) {
                let slot = &mut slots[Self::slot(point)];
                *slot = (*slot).min((point << SLOT_BITS >> 32 << 32) | owner as u64);
            }
        }
        // What lies behind the last point belongs to the first one.
        let mut next = slots.iter().copied().find(|&slot| slot != u64::MAX).unwrap_or(0);
        let mut owners = vec![0; slots.len()].into_boxed_slice();
        for (owner, slot) in owners.iter_mut().zip(&slots).rev() {
            if *slot != u64::MAX {
                next = *slot;
            }
            *owner = next as u32;
        }
        Self(owners)
    }

    fn owner(&self, hash: u64) -> Index {
        Index::new(self.0[Self::slot(hash)] as usize)
    }

    const fn slot(hash: u64) -> usize {
        (hash >> (64 - SLOT_BITS)) as usize
    }
}
