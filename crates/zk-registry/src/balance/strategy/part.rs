//! A picker for a part of the set, for strategies that leave the choice within it to another.

use std::sync::Arc;

use super::{Picker, Strategy};
use crate::balance::{EndpointSet, Index, Pick};

/// A picker for a part of the set, and where the endpoints of the part stand in the whole.
pub(super) struct Part {
    picker: Box<dyn Picker>,
    places: Vec<Index>,
}

impl Part {
    /// The picker of `strategy` for the part, with what can be used of the one for an earlier part.
    pub(super) fn of<S: Strategy>(
        strategy: &S,
        (part, places): (Arc<EndpointSet>, Vec<Index>),
        earlier: Option<&Self>,
    ) -> Self {
        let picker = picker_after(strategy, &part, earlier.map(|earlier| &*earlier.picker));
        Self { picker, places }
    }
}

impl Picker for Part {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        // A foreign picker may answer anything; what is outside the set is rejected by the balancer.
        self.places.get(self.picker.pick(pick).get()).copied().unwrap_or(Index::NOWHERE)
    }

    fn affinity(&self, pick: &Pick<'_>) -> Option<u64> {
        self.picker.affinity(pick)
    }
}

/// The picker of `strategy` for `set`, with what can be used of an earlier one.
pub(super) fn picker_after<S: Strategy>(
    strategy: &S,
    set: &Arc<EndpointSet>,
    earlier: Option<&dyn Picker>,
) -> Box<dyn Picker> {
    match earlier {
        Some(earlier) => strategy.renewed(set, earlier),
        None => strategy.picker(set),
    }
}
