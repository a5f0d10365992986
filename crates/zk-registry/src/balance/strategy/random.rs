//! The random strategy: any instance, all equally often.

use std::sync::Arc;

use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy};

/// A strategy that picks any instance with the same probability and ignores weights.
///
/// Use it when instances are alike and calls are short and many, or as the yardstick for the others. It needs no
/// state, so threads do not slow each other down; but the luckless instance has several times the average load.
/// One random number per pick. How bad the worst is: "Balls into Bins", Raab and Steger 1998.
#[derive(Clone, Copy, Debug, Default)]
pub struct Random;

impl Strategy for Random {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Uniform { len: set.len() })
    }
}

struct Uniform {
    len: usize,
}

impl Picker for Uniform {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        Index::new(pick.below(self.len))
    }
}
