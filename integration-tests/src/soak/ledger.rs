//! The instances that should be listed, by the state that each registration reports.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::debug;
use zk_registry::{RegistrationState, ServiceName, Withdrawn, Zxid};

use crate::fair_time::Stopwatch;

/// Every instance that ever was, by service; ids are never used twice.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<BTreeMap<ServiceName, ServiceLedger>>);

#[derive(Debug, Default)]
struct ServiceLedger {
    present: BTreeMap<String, Presence>,
    /// When it was acknowledged that an instance is gone.
    gone: BTreeMap<String, Stopwatch>,
}

#[derive(Debug)]
enum Presence {
    /// The registration lives, and says where it stands.
    Kept(watch::Receiver<RegistrationState>),
    /// It is being withdrawn, or was without an acknowledgement.
    Leaving,
    /// It needs no session, and was created by this write.
    Stands(Zxid),
}

/// What a snapshot of one service should show.
#[derive(Clone, Debug, Default)]
pub(super) struct Expected {
    /// The ids that are registered, each with the write that made it so.
    pub(super) registered: BTreeMap<String, Zxid>,
    /// Of the ids that were asked about: when it was acknowledged that the instance is gone.
    pub(super) gone: BTreeMap<String, Stopwatch>,
}

impl Ledger {
    pub(super) fn joins(&self, service: &ServiceName, id: &str, states: watch::Receiver<RegistrationState>) {
        self.set(service, id, Presence::Kept(states));
    }

    pub(super) fn stands(&self, service: &ServiceName, id: &str, zxid: Zxid) {
        self.set(service, id, Presence::Stands(zxid));
    }

    pub(super) fn leaves(&self, service: &ServiceName, id: &str) {
        debug!(id, "leaves");
        self.set(service, id, Presence::Leaving);
    }

    pub(super) fn left(&self, service: &ServiceName, id: &str, outcome: Withdrawn) {
        debug!(id, ?outcome, "left");
        match outcome {
            Withdrawn::Confirmed => {
                let mut services = self.services();
                let service = services.entry(service.clone()).or_default();
                service.present.remove(id);
                service.gone.insert(id.to_owned(), Stopwatch::start());
            }
            Withdrawn::Unconfirmed { .. } => self.set(service, id, Presence::Leaving),
            other => panic!("{id} was withdrawn: {other:?}, but nothing else uses its id"),
        }
    }

    /// The instances that were leaving have left: every reader agrees.
    pub(super) fn bury(&self) {
        for service in self.services().values_mut() {
            let (left, present) = std::mem::take(&mut service.present)
                .into_iter()
                .partition::<BTreeMap<_, _>, _>(|(_, presence)| matches!(presence, Presence::Leaving));
            service.present = present;
            service.gone.extend(left.into_keys().map(|id| (id, Stopwatch::start())));
        }
    }

    /// What is known of a service at this moment, and of the `listed` ids.
    pub(super) fn expected<'a>(
        &self,
        service: &ServiceName,
        listed: impl Iterator<Item = &'a str>,
    ) -> Expected {
        let services = self.services();
        let Some(service) = services.get(service) else { return Expected::default() };
        let registered = |(id, presence): (&String, &Presence)| match presence {
            Presence::Kept(states) => match *states.borrow() {
                RegistrationState::Registered { zxid } => Some((id.clone(), zxid)),
                _ => None,
            },
            Presence::Leaving => None,
            Presence::Stands(zxid) => Some((id.clone(), *zxid)),
        };
        let gone = |id: &'a str| service.gone.get(id).map(|gone| (id.to_owned(), *gone));
        Expected {
            registered: service.present.iter().filter_map(registered).collect(),
            gone: listed.filter_map(gone).collect(),
        }
    }

    /// The ids of all registrations of a service, sorted, if every one of them is registered.
    pub(super) fn all_registered(&self, service: &ServiceName) -> Result<Vec<String>, String> {
        let services = self.services();
        let Some(service) = services.get(service) else { return Ok(Vec::new()) };
        let mut ids = Vec::new();
        for (id, presence) in &service.present {
            match presence {
                Presence::Kept(states) => {
                    let state = states.borrow();
                    if !matches!(*state, RegistrationState::Registered { .. }) {
                        return Err(format!("{id} is {state:?}"));
                    }
                    ids.push(id.clone());
                }
                Presence::Leaving => {}
                Presence::Stands(_) => ids.push(id.clone()),
            }
        }
        Ok(ids)
    }

    fn set(&self, service: &ServiceName, id: &str, presence: Presence) {
        self.services().entry(service.clone()).or_default().present.insert(id.to_owned(), presence);
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<ServiceName, ServiceLedger>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
