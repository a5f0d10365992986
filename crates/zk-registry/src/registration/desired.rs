//! The attributes that the user wants the node to state: changed by the guard, written by the registrar.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::state::ForeignWrites;
use crate::error::Error;
use crate::instance::{Attributes, DRAIN_REASON};

/// What the user wants the node to say: shared by the guard, which changes it, and the registrar, which writes it.
pub(crate) struct Desired {
    latest: Mutex<Latest>,
    /// Held by the user whose closure runs: one at a time. The registrar never waits for it.
    changing: Mutex<()>,
    /// Refuses what the record cannot carry.
    check: Box<Check>,
}

/// The attributes that the node should state, and their revision.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) attributes: Attributes,
    foreign: ForeignWrites,
    /// How often they have changed.
    pub(super) revision: u64,
}

/// Whether a record can carry these attributes.
type Check = dyn Fn(&Attributes) -> Result<(), Error> + Send + Sync;

impl Desired {
    pub(crate) fn new(
        first: Attributes,
        check: impl Fn(&Attributes) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        check(&first)?;
        let latest = Mutex::new(Latest { attributes: first, foreign: ForeignWrites::default(), revision: 0 });
        Ok(Self { latest, changing: Mutex::default(), check: Box::new(check) })
    }

    /// Attributes of a registration that has failed already: they are never written.
    pub(crate) fn fixed(only: Attributes) -> Self {
        let latest = Mutex::new(Latest { attributes: only, foreign: ForeignWrites::default(), revision: 0 });
        Self { latest, changing: Mutex::default(), check: Box::new(|_| Ok(())) }
    }

    pub(crate) fn current(&self) -> Attributes {
        self.lock().attributes.clone()
    }

    pub(super) fn latest(&self) -> Latest {
        self.lock().clone()
    }

    /// What the user changes. His closure may take its time, so it runs on a copy: the background thread must never wait
    /// for it.
    pub(super) fn change(&self, change: impl FnOnce(&mut Attributes)) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let mut next = before.clone();
        change(&mut next);
        let mut latest = self.lock();
        // What was adopted meanwhile stays, where the user has changed nothing.
        if next.status == before.status {
            next.status = latest.attributes.status;
        }
        if next.weight == before.weight {
            next.weight = latest.attributes.weight;
        }
        (self.check)(&next)?;
        (latest.attributes, latest.revision) = (next, latest.revision + 1);
        Ok(())
    }

    /// Adopts status and weight of a foreign write over this revision. `false` when there
    /// is a newer revision, or the record cannot carry it.
    pub(super) fn adopt(&self, over: u64, foreign: &Attributes) -> bool {
        let mut latest = self.lock();
        let mut next =
            Attributes { status: foreign.status, weight: foreign.weight, ..latest.attributes.clone() };
        match foreign.metadata.get(DRAIN_REASON) {
            Some(reason) => next.metadata.insert(DRAIN_REASON.to_owned(), reason.clone()),
            None => next.metadata.remove(DRAIN_REASON),
        };
        let adopted = latest.revision == over && (self.check)(&next).is_ok();
        if adopted {
            (latest.attributes, latest.revision) = (next, over + 1);
            latest.foreign.adopted += 1;
        }
        adopted
    }

    /// Counts a foreign write that was written over.
    pub(super) fn written_over(&self) {
        self.lock().foreign.written_over += 1;
    }

    pub(super) fn foreign_writes(&self) -> ForeignWrites {
        self.lock().foreign
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Desired").field(&self.current()).finish()
    }
}
