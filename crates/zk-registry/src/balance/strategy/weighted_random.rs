//! The weighted random strategy: any instance, each as often as its weight says.

use std::sync::Arc;

use super::alias::Alias;
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy};

/// A strategy that picks at random with probabilities in proportion to the weights.
///
/// Use it when instances differ in size and calls are short and many. No state, so threads do not slow each other down.
/// One random number and one look into a table (Walker 1977, Vose 1991), whatever the number of instances.
#[derive(Clone, Copy, Debug, Default)]
pub struct WeightedRandom;

impl Strategy for WeightedRandom {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Drawn(Alias::of(set)))
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        Alias::has_table(set)
    }
}

struct Drawn(Alias);

impl Picker for Drawn {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        Index::new(self.0.draw(pick))
    }
}
