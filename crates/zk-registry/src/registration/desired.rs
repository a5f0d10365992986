//! The attributes that the user wants the node to state: changed by the guard, written by the registrar.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::state::ForeignWrites;
use crate::error::Error;
use crate::instance::Attributes;

/// What the user wants the node to say: shared by the guard, which changes it, and the registrar, which writes it.
pub(crate) struct Desired {
    wish: Mutex<Wish>,
    /// Held by the user whose closure runs: one at a time. The registrar never waits for it.
    changing: Mutex<()>,
    /// Refuses what the record cannot carry.
    check: Box<Check>,
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) attributes: Attributes,
    foreign: ForeignWrites,
    /// How many wishes there were before it.
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
        let wish = Mutex::new(Wish { attributes: first, foreign: ForeignWrites::default(), revision: 0 });
        Ok(Self { wish, changing: Mutex::default(), check: Box::new(check) })
    }

    /// Attributes of a registration that has failed already: they are never written.
    pub(crate) fn fixed(only: Attributes) -> Self {
        let wish = Mutex::new(Wish { attributes: only, foreign: ForeignWrites::default(), revision: 0 });
        Self { wish, changing: Mutex::default(), check: Box::new(|_| Ok(())) }
    }

    pub(crate) fn current(&self) -> Attributes {
        self.lock().attributes.clone()
    }

    pub(super) fn wish(&self) -> Wish {
        self.lock().clone()
    }

    /// What the user changes. His closure may take its time, so it runs on a copy: the background thread must never wait
    /// for it.
    pub(super) fn change(&self, change: impl FnOnce(&mut Attributes)) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let mut next = before.clone();
        change(&mut next);
        let mut wish = self.lock();
        // What was adopted meanwhile stays, where the user has changed nothing.
        if next.status == before.status {
            next.status = wish.attributes.status;
        }
        if next.weight == before.weight {
            next.weight = wish.attributes.weight;
        }
        (self.check)(&next)?;
        (wish.attributes, wish.revision) = (next, wish.revision + 1);
        Ok(())
    }

    /// Adopts status and weight of a foreign write over this revision. `false` when there
    /// is a newer wish, or the record cannot carry it.
    pub(super) fn adopt(&self, over: u64, foreign: &Attributes) -> bool {
        let mut wish = self.lock();
        let next = Attributes { status: foreign.status, weight: foreign.weight, ..wish.attributes.clone() };
        let adopted = wish.revision == over && (self.check)(&next).is_ok();
        if adopted {
            (wish.attributes, wish.revision) = (next, over + 1);
            wish.foreign.adopted += 1;
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

    fn lock(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Desired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Desired").field(&self.current()).finish()
    }
}
