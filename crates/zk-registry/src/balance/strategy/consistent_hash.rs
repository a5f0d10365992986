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
/// Each instance has 64 points on a ring, more with more than the average weight; without the bound the shares are within some
/// 12 % of the weights. A pick is one look into an index and a step or two on the ring.
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

/// How many choices of a key are looked at for one that is not overloaded.
const CHOICES: u32 = 8;

impl Picker for Keyed {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let key = pick.key.map_or_else(|| pick.rng.next_u64(), |key| key.hash());
        let choice = |n: u32| self.ring.owner(hash::nth(key, u64::from(pick.attempt() * CHOICES + n)));
        let first = choice(0);
        let Some(bound) = self.bound else { return first };
        let share = bound * (self.set.total_in_flight() + 1) as f64;
        let fits = |index: &Index| {
            let endpoint = &self.set[*index];
            f64::from(endpoint.in_flight()) < (share * f64::from(endpoint.weight().get())).ceil()
        };
        if fits(&first) { first } else { (1..CHOICES).map(choice).find(fits).unwrap_or(first) }
    }
}

/// Points of instances on a circle; each owns what lies between its predecessor and itself.
struct Ring {
    /// Position and owner, sorted.
    points: Box<[(u32, u32)]>,
    /// For each of equal arcs, the first point at or behind its beginning.
    arcs: Box<[u32]>,
    /// How far a position is shifted to find its arc.
    shift: u32,
}

/// Points of an instance with the average weight.
const POINTS: f64 = 64.0;

impl Ring {
    fn of(set: &EndpointSet) -> Self {
        let mean_weight = set.total_weight() as f64 / set.len() as f64;
        let mut points = Vec::with_capacity(set.len() * POINTS as usize * 2);
        for (owner, endpoint) in set.iter().enumerate() {
            let own = hash::bytes(endpoint.id().as_str().as_bytes());
            let share = (POINTS * f64::from(endpoint.weight().get()) / mean_weight).round().max(1.0) as u64;
            // The points of a smaller share are the first ones of a larger share: a new weight moves little.
            points.extend((0..share).map(|n| ((hash::nth(own, n) >> 32) as u32, owner as u32)));
        }
        points.sort_unstable();

        let bits = points.len().next_power_of_two().trailing_zeros().clamp(1, 24);
        let shift = 32 - bits;
        let mut first = 0;
        let arcs = (0..1_u32 << bits)
            .map(|arc| {
                while points.get(first).is_some_and(|point| point.0 >> shift < arc) {
                    first += 1;
                }
                first as u32
            })
            .collect();
        Self { points: points.into(), arcs, shift }
    }

    fn owner(&self, hash: u64) -> Index {
        let position = (hash >> 32) as u32;
        let start = self.arcs[(position >> self.shift) as usize] as usize;
        let point = self.points[start..].iter().find(|point| point.0 >= position).unwrap_or(&self.points[0]);
        Index::new(point.1 as usize)
    }
}
