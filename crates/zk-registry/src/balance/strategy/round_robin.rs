//! The round-robin strategy: one instance after the other.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use super::turns::Turns;
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy};

/// A strategy that picks one instance after the other, in the order of their ids, and ignores weights.
///
/// Use it when calls cost the same and there are few clients: the shares are exact. It starts anywhere, so that many
/// clients do not march in step, and goes on where it was when the set changes. The turn of an instance that must not be
/// picked goes to any other, not to its neighbour. As old as time sharing; the same as in nginx,
/// HAProxy and Envoy.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    pub(super) turns: Arc<Turns>,
}

impl RoundRobin {
    /// Begins with the `first`th instance, counted from 0.
    pub fn starting_at(first: usize) -> Self {
        Self { turns: Arc::new(Turns::starting_at(first)) }
    }
}

/// Begins anywhere.
impl Default for RoundRobin {
    fn default() -> Self {
        // Small numbers, because they are divided faster.
        Self::starting_at(RandomState::new().hash_one(()) as usize & 0xff_ffff)
    }
}

impl Strategy for RoundRobin {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Cycle { turns: Arc::clone(&self.turns), len: set.len() })
    }
}

struct Cycle {
    turns: Arc<Turns>,
    len: usize,
}

impl Picker for Cycle {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        if pick.attempt() > 0 {
            return Index::new(pick.below(self.len));
        }
        Index::new((self.turns.next(|| pick.now()) % self.len as u64) as usize)
    }
}
