//! One slot in a directory of consumers: an ephemeral node whose name is a rank.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::RngExt;

use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, ServiceName};
use crate::registration::{OnConflict, Registering, Registration, RegistrationState};
use crate::registry::Registry;
use crate::store::{Fault, Store};

/// A slot that is held; dropping it frees it.
pub(super) struct Slot {
    rank: u32,
    registration: Registration,
}

/// Of many clients that want the same slot at once, each tries one of the lowest free ones: twice as many after each
/// conflict, up to so many.
const AMONG: usize = 4096;

impl Slot {
    /// Takes the lowest free slot.
    pub(super) async fn take(registry: &Registry, consumers: &ServiceName) -> Result<Self, Error> {
        let mut among = 1;
        loop {
            let taken = taken(registry, consumers).await?;
            let nth = rand::rng().random_range(0..among);
            let free = (0..u32::MAX).filter(|rank| !taken.contains(rank)).nth(nth);
            let rank = free.ok_or_else(|| Error::new(ErrorKind::Other, "there is no free slot"))?;
            match Self::register(registry, consumers, rank).await {
                Err(error) if error.kind() == ErrorKind::Conflict => among = (2 * among).min(AMONG),
                other => return other,
            }
        }
    }

    /// Takes this slot, if it is free.
    async fn register(registry: &Registry, consumers: &ServiceName, rank: u32) -> Result<Self, Error> {
        // Nobody dials it: names that end so never resolve (RFC 2606).
        let instance = Instance::new("consumer.invalid", 1).with_id(rank.to_string().parse()?);
        let how = Registering::new().with_on_conflict(OnConflict::Fail);
        let mut registration = registry.register_with(consumers, instance, how);
        registration.registered().await?;
        if !registration.path().ends_with(&format!("/{rank}")) {
            let message = format!(
                "{}: the rank of a consumer needs a format that names a node as its instance",
                registration.path()
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        Ok(Self { rank, registration })
    }

    pub(super) fn rank(&self) -> u32 {
        self.rank
    }

    /// Waits until it is lost for good; the reason.
    pub(super) async fn ended(&mut self) -> Error {
        let closed = || Error::new(ErrorKind::Closed, "the registry was closed");
        let mut states = self.registration.states();
        loop {
            match &*states.borrow_and_update() {
                RegistrationState::Failed(error) => return error.clone(),
                RegistrationState::Withdrawn(_) => return closed(),
                _ => {}
            }
            if states.changed().await.is_err() {
                return closed();
            }
        }
    }
}

/// The ranks that are taken.
async fn taken(registry: &Registry, consumers: &ServiceName) -> Result<BTreeSet<u32>, Error> {
    let root = root(registry, consumers)?;
    let list = move |store: Arc<dyn Store>| async move {
        // What another client has just taken, or freed, is seen.
        let (synced, listed) = (store.sync(&root), store.list(&root));
        synced.await.map_err(|fault| fault.while_reading(&root))?;
        match listed.await {
            Ok((names, _)) => Ok(names.iter().filter_map(|name| name.parse().ok()).collect()),
            Err(Fault::NoNode) => Ok(BTreeSet::new()),
            Err(fault) => Err(fault.while_reading(&root)),
        }
    };
    registry.ask("reading the ranks that are taken", list).await
}

/// How many slots there are.
pub(super) async fn count(registry: &Registry, consumers: &ServiceName) -> Result<u32, Error> {
    let root = root(registry, consumers)?;
    let read = move |store: Arc<dyn Store>| async move {
        let paths = [root];
        let nodes = store.read(&paths).await;
        let node = nodes.and_then(|nodes| nodes.into_iter().next().unwrap_or(Err(Fault::NoNode)));
        node.map(|node| node.stat.children).map_err(|fault| fault.while_reading(&paths[0]))
    };
    registry.ask("counting the consumers", read).await
}

fn root(registry: &Registry, consumers: &ServiceName) -> Result<String, Error> {
    let context = registry.context();
    let directories = context.format.directories(consumers)?;
    Ok(context.base.service(directories.first().unwrap_or(consumers)))
}
