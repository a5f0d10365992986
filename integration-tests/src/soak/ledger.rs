//! The instances that should be listed, by the state that each registration reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::debug;
use zk_registry::{RegistrationState, Withdrawn, Zxid};

use crate::fair_time::Stopwatch;

/// Every instance that ever was; ids are never used twice.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<String, LedgerEntry>>);

#[derive(Debug)]
enum LedgerEntry {
    /// The registration lives, and says where it stands.
    Kept(watch::Receiver<RegistrationState>),
    /// It is being withdrawn, or was without an acknowledgement.
    Leaving,
    /// It was withdrawn, acknowledged.
    Gone(Stopwatch),
}

impl Ledger {
    pub(super) fn joins(&self, id: &str, states: watch::Receiver<RegistrationState>) {
        self.entries().insert(id.to_owned(), LedgerEntry::Kept(states));
    }

    pub(super) fn leaves(&self, id: &str) {
        debug!(id, "leaves");
        self.entries().insert(id.to_owned(), LedgerEntry::Leaving);
    }

    pub(super) fn left(&self, id: &str, outcome: Withdrawn) {
        debug!(id, ?outcome, "left");
        match outcome {
            Withdrawn::Confirmed => {
                self.entries().insert(id.to_owned(), LedgerEntry::Gone(Stopwatch::start()))
            }
            Withdrawn::Unconfirmed { .. } => self.entries().insert(id.to_owned(), LedgerEntry::Leaving),
            other => panic!("{id} was withdrawn: {other:?}, but nobody else uses its id"),
        };
    }

    /// The instances that were leaving have left: every reader agrees.
    pub(super) fn bury(&self) {
        for entry in self.entries().values_mut() {
            if matches!(entry, LedgerEntry::Leaving) {
                *entry = LedgerEntry::Gone(Stopwatch::start());
            }
        }
    }

    /// The ids that are registered at this moment, each with the write that made it so.
    pub(super) fn registered(&self) -> Vec<(String, Zxid)> {
        let registered = |(id, entry): (&String, &LedgerEntry)| match entry {
            LedgerEntry::Kept(states) => match *states.borrow() {
                RegistrationState::Registered { zxid } => Some((id.clone(), zxid)),
                _ => None,
            },
            _ => None,
        };
        self.entries().iter().filter_map(registered).collect()
    }

    /// The ids of all registrations, sorted, if every one of them is registered.
    pub(super) fn all_registered(&self) -> Result<Vec<String>, String> {
        let mut ids = Vec::new();
        for (id, entry) in &*self.entries() {
            if let LedgerEntry::Kept(states) = entry {
                let state = states.borrow();
                if !matches!(*state, RegistrationState::Registered { .. }) {
                    return Err(format!("{id} is {state:?}"));
                }
                ids.push(id.clone());
            }
        }
        Ok(ids)
    }

    /// When it was acknowledged that the instance is gone.
    pub(super) fn gone(&self, id: &str) -> Option<Stopwatch> {
        match self.entries().get(id) {
            Some(LedgerEntry::Gone(since)) => Some(*since),
            _ => None,
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, LedgerEntry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
