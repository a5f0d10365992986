//! The sticky strategy: always the same instance, as long as it can be used.

use std::sync::Arc;

use super::alias::SMALL;
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy, hash};

/// A strategy that picks the same instance every time, and the next on its own list while that one must not be picked.
///
/// Use it when an instance keeps something for this client (a session, a warm cache, an order of messages). Each client has
/// its own list, drawn by weight, so many clients spread over all instances; a change of the set moves a client only when
/// its instance goes, or when one comes that is higher on its list. The list is weighted rendezvous hashing (Thaler and
/// Ravishankar 1998) of the client's seed; a pick looks at its head. For stickiness by key see
/// [`ConsistentHash`](super::ConsistentHash).
#[derive(Clone, Copy, Debug)]
pub struct Sticky {
    seed: u64,
}

impl Sticky {
    /// The list of the client with this seed: the same after a restart.
    pub const fn with_seed(seed: u64) -> Self {
        Self { seed }
    }
}

/// Another list for each client.
impl Default for Sticky {
    fn default() -> Self {
        Self::with_seed(rand::random())
    }
}

impl Strategy for Sticky {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        let mut list: Vec<(f64, Index)> = set
            .iter()
            .enumerate()
            .map(|(place, endpoint)| {
                let chance =
                    hash::unit(hash::mix(hash::bytes(endpoint.id().as_str().as_bytes()) ^ self.seed));
                (-(1.0 - chance).ln() / f64::from(endpoint.weight().get()), Index::new(place))
            })
            .collect();
        list.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        Box::new(List { seed: self.seed, best: list.into_iter().map(|(_, index)| index).collect() })
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        set.len() > SMALL
    }
}

struct List {
    seed: u64,
    /// The candidates.
    best: Box<[Index]>,
}

impl Picker for List {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        self.best[pick.attempt() as usize % self.best.len()]
    }

    fn affinity(&self, _: &Pick<'_>) -> Option<u64> {
        Some(self.seed)
    }
}
