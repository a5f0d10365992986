//! A picker with the set that it was built for, and the mask under which it serves the next set until its table is rebuilt.

use std::sync::Arc;

use super::endpoint::Index;
use super::pick::Pick;
use super::set::EndpointSet;
use super::strategy::{Picker, Strategy};

/// A picker and the set that it was built for.
#[derive(Clone)]
pub(super) struct Built {
    pub(super) set: Arc<EndpointSet>,
    picker: Arc<dyn Picker>,
}

/// A picker whose proposals are looked up in a newer set. An instance that is not there any more is not proposed; one whose
/// process was restarted is, as the process that it is now.
struct Masked {
    built: Built,
    newer: Arc<EndpointSet>,
}

impl Built {
    pub(super) fn of(set: &Arc<EndpointSet>, strategy: &dyn Strategy) -> Self {
        Self { set: Arc::clone(set), picker: strategy.picker(set).into() }
    }

    /// The picker of `strategy` for a newer set; this one is of an earlier.
    pub(super) fn renewed(&self, set: &Arc<EndpointSet>, strategy: &dyn Strategy) -> Self {
        Self { set: Arc::clone(set), picker: strategy.renewed(set, &*self.picker).into() }
    }

    /// The picker for `set`, which may be newer than the one it was built for.
    pub(super) fn picker(&self, set: &Arc<EndpointSet>) -> Arc<dyn Picker> {
        if Arc::ptr_eq(&self.set, set) {
            Arc::clone(&self.picker)
        } else {
            Arc::new(Masked { built: self.clone(), newer: Arc::clone(set) })
        }
    }
}

impl Picker for Masked {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let proposed = self.built.picker.pick(pick);
        let Some(old) = self.built.set.get(proposed) else { return proposed };
        match self.newer.get(proposed) {
            Some(new) if Arc::ptr_eq(&new.vitals, &old.vitals) => proposed,
            _ => self.newer.place_of_id(old).unwrap_or(Index::NOWHERE),
        }
    }

    fn affinity(&self, pick: &Pick<'_>) -> Option<u64> {
        self.built.picker.affinity(pick)
    }
}
