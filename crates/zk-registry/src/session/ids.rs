//! The ids of the sessions that are, or were, this registry's.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The ids of the sessions that are, or were, this registry's: what makes a node "ours".
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Ids>);

/// See [`Sessions`].
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) live: HashSet<i64>,
    pub(crate) earlier: HashSet<i64>,
}

impl Sessions {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Ids) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The server put this session in the place of one of ours: what it owns is ours to take over.
    pub(crate) fn disowned(&self, id: i64) {
        self.ended(id);
    }

    pub(super) fn began(&self, id: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live.insert(id);
    }

    pub(super) fn ended(&self, id: i64) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.live.remove(&id);
        ids.earlier.insert(id);
    }
}
