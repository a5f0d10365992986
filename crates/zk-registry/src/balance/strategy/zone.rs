//! The zone strategy: near instances before far ones, without drowning the near ones.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::alias::SMALL;
use super::part::{Part, picker_after};
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy, Tracking, hash};

/// A strategy that prefers instances of the caller's own zone, and lets another strategy choose among them.
///
/// Use it when calls across zones are slow or cost money. Traffic spills over into the other zones
/// - when the local zone is too small: with callers spread evenly over z zones, each zone needs 1/z of all weight; if the
///   local one has less, only that share of the calls stays (as Envoy's zone aware routing does);
/// - when it is not well: the calls that would go to an ejected, warming or tried local instance go abroad, so the
///   local ones that are left get no more than before.
///
/// Without local instances, or with local ones only, the inner strategy has them all. Costs a coin on top of the inner
/// strategy.
#[derive(Clone, Debug)]
pub struct Zone<S> {
    local: String,
    then: S,
}

impl<S: Strategy> Zone<S> {
    /// Prefers instances whose zone is `local`; `then` chooses within the zone and within the others.
    pub fn new(local: impl Into<String>, then: S) -> Self {
        Self { local: local.into(), then }
    }

    /// The caller's zone.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The strategy that chooses within the zone and within the others.
    pub fn then(&self) -> &S {
        &self.then
    }

    /// The picker for `set`, with what can be used of an earlier one.
    fn after(&self, set: &Arc<EndpointSet>, earlier: Option<&dyn Picker>) -> Box<dyn Picker> {
        let is_local = |zone: Option<&str>| zone == Some(self.local.as_str());
        let part = |local: bool| set.part(|endpoint| is_local(endpoint.zone()) == local);
        let (Some(near), Some(far)) = (part(true), part(false)) else {
            return picker_after(&self.then, set, earlier);
        };
        let share = near.0.total_weight() as f64 / set.total_weight() as f64;
        let zones = set.iter().map(|endpoint| endpoint.zone()).collect::<BTreeSet<_>>().len();
        let earlier = earlier.and_then(|earlier| (earlier as &dyn Any).downcast_ref::<NearAndFar>());
        Box::new(NearAndFar {
            stay: share * zones as f64,
            near: Part::of(&self.then, near, earlier.map(|earlier| &earlier.near)),
            far: Part::of(&self.then, far, earlier.map(|earlier| &earlier.far)),
        })
    }
}

impl<S: Strategy> Strategy for Zone<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        self.after(set, None)
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        self.after(set, Some(earlier))
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        set.len() > SMALL || self.then.has_table(set)
    }

    fn tracking(&self) -> Tracking {
        self.then.tracking()
    }
}

struct NearAndFar {
    /// The share of calls that the zone can take; 1 or more: all.
    stay: f64,
    near: Part,
    far: Part,
}

impl Picker for NearAndFar {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let part = if pick.attempt() == 0 && self.stays(pick) { &self.near } else { &self.far };
        part.pick(pick)
    }

    fn affinity(&self, pick: &Pick<'_>) -> Option<u64> {
        self.near.affinity(pick)
    }
}

impl NearAndFar {
    fn stays(&self, pick: &mut Pick<'_>) -> bool {
        if self.stay >= 1.0 {
            return true;
        }
        let coin = match self.near.affinity(pick) {
            Some(word) => hash::nth(word, u64::MAX >> 1),
            None => pick.rng.next_u64(),
        };
        hash::unit(coin) < self.stay
    }
}
