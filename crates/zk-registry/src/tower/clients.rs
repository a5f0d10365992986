//! One client per listed instance, dialled when it is first picked.
//!
//! A call finds its client without a lock. The map is replaced, under a lock, when an instance is dialled or goes.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::BoxError;
use super::connect::Connect;
use crate::instance::InstanceId;
use crate::snapshot::{Member, Snapshot};

/// The clients of one [`Balance`](super::Balance).
pub(super) struct Clients<C: Connect> {
    connect: Arc<C>,
    slots: ArcSwap<Slots<C::Client>>,
    /// Held while the map is replaced.
    replacing: Mutex<()>,
    /// How many dials were begun.
    dials: AtomicU64,
}

/// The slots by id and, while they are few, in a row besides, each with its member: comparing their addresses costs less than a
/// hash of an id.
struct Slots<T> {
    by_id: HashMap<InstanceId, Arc<Slot<T>>>,
    few: Vec<(Arc<Member>, Arc<Slot<T>>)>,
}

/// The most slots that are in a row.
const FEW: usize = 16;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), few: Vec::new() }
    }
}

impl<T> From<HashMap<InstanceId, Arc<Slot<T>>>> for Slots<T> {
    fn from(by_id: HashMap<InstanceId, Arc<Slot<T>>>) -> Self {
        let row = by_id.values().filter(|_| by_id.len() <= FEW);
        let few = row.map(|slot| (Arc::clone(&slot.member), Arc::clone(slot))).collect();
        Self { by_id, few }
    }
}

/// A client, and the number of the dial that it is from.
pub(super) struct Dialled<T> {
    pub(super) client: T,
    pub(super) dial: DialId,
}

/// Tells the dials of one [`Clients`] apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DialId(u64);

/// One client: dialled, or being dialled.
struct Slot<T> {
    id: DialId,
    /// The instance as it was dialled.
    member: Arc<Member>,
    dialled: Arc<OnceLock<Result<T, SharedError>>>,
    /// Closed when the dial is over.
    over: watch::Receiver<()>,
    _dial: AbortOnDropHandle<()>,
}

impl<C: Connect> Clients<C> {
    pub(super) fn new(connect: C) -> Self {
        Self {
            connect: Arc::new(connect),
            slots: ArcSwap::default(),
            replacing: Mutex::new(()),
            dials: AtomicU64::new(0),
        }
    }

    /// The client of a member if it stands ready.
    #[inline]
    pub(super) fn ready(&self, member: &Arc<Member>) -> Option<Dialled<C::Client>> {
        let slots = self.slots.load();
        let as_it_is = slots.few.iter().find(|(known, _)| Arc::ptr_eq(known, member)).map(|(_, slot)| slot);
        let slot = as_it_is.or_else(|| {
            slots.by_id.get(member.id()).filter(|slot| self.connect.is_reusable(&slot.member, member))
        })?;
        let client = slot.dialled.get()?.as_ref().ok()?.clone();
        Some(Dialled { client, dial: slot.id })
    }

    /// The client of a member, for which it waits while it is dialled, by this call or another one.
    pub(super) async fn dial(
        &self,
        member: &Arc<Member>,
        timeout: Duration,
    ) -> Result<Dialled<C::Client>, BoxError> {
        let slot = self.slot(member, timeout);
        // Nothing is ever sent: the end of the dial closes the channel.
        let _ = slot.over.clone().changed().await;
        match slot.dialled.get() {
            Some(Ok(client)) => Ok(Dialled { client: client.clone(), dial: slot.id }),
            Some(Err(error)) => {
                self.forget(member, slot.id);
                Err(Box::new(error.clone()))
            }
            None => {
                self.forget(member, slot.id);
                Err("the dial was broken off".into())
            }
        }
    }

    /// Drops the client of a member, so that the next call to it dials anew. One that was dialled meanwhile stays.
    pub(super) fn forget(&self, member: &Member, dial: DialId) {
        self.replace(|slots| {
            if slots.get(member.id()).is_some_and(|known| known.id == dial) {
                slots.remove(member.id());
            }
        });
    }

    /// Drops the clients of instances that are neither listed nor suspected, or not as they were dialled. Their calls end
    /// undisturbed.
    pub(super) fn retain(&self, snapshot: &Snapshot) {
        let is_kept = |slot: &Slot<C::Client>| {
            let id = slot.member.id();
            let member = snapshot.get(id).or_else(|| snapshot.suspects().find(|suspect| suspect.id() == id));
            member.is_some_and(|member| self.serves(slot, member))
        };
        let slots = self.slots.load();
        if !slots.by_id.values().all(|slot| is_kept(slot)) {
            self.replace(|slots| slots.retain(|_, slot| is_kept(slot)));
        }
    }

    fn serves(&self, slot: &Slot<C::Client>, member: &Arc<Member>) -> bool {
        Arc::ptr_eq(&slot.member, member) || self.connect.is_reusable(&slot.member, member)
    }

    /// The slot of a member, dialling if there is none or only one that failed.
    fn slot(&self, member: &Arc<Member>, timeout: Duration) -> Arc<Slot<C::Client>> {
        let mut found = None;
        self.replace(|slots| {
            let known = slots.get(member.id()).filter(|slot| self.serves(slot, member) && !slot.has_failed());
            let slot = known.cloned().unwrap_or_else(|| Arc::new(self.begin(member, timeout)));
            slots.insert(member.id().clone(), Arc::clone(&slot));
            found = Some(slot);
        });
        found.unwrap_or_else(|| Arc::new(self.begin(member, timeout)))
    }

    fn begin(&self, member: &Arc<Member>, timeout: Duration) -> Slot<C::Client> {
        let dialled = Arc::new(OnceLock::new());
        let (done, over) = watch::channel(());
        let (result, connect, to) = (Arc::clone(&dialled), Arc::clone(&self.connect), Arc::clone(member));
        let dial = tokio::spawn(async move {
            let connected = match tokio::time::timeout(timeout, connect.connect(&to)).await {
                Ok(connected) => connected.map_err(|error| SharedError(error.into().into())),
                Err(_) => {
                    Err(SharedError(BoxError::from(format!("no connection within {timeout:?}")).into()))
                }
            };
            // This task alone sets it.
            let _ = result.set(connected);
            drop(done);
        });
        let id = DialId(self.dials.fetch_add(1, Relaxed));
        Slot { id, member: Arc::clone(member), dialled, over, _dial: AbortOnDropHandle::new(dial) }
    }

    fn replace(&self, change: impl FnOnce(&mut HashMap<InstanceId, Arc<Slot<C::Client>>>)) {
        let _replacing = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = self.slots.load().by_id.clone();
        change(&mut slots);
        self.slots.store(Arc::new(slots.into()));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.load().by_id.len()
    }
}

impl<T> Slot<T> {
    fn has_failed(&self) -> bool {
        match self.dialled.get() {
            Some(result) => result.is_err(),
            // A dial that panicked is over without a result.
            None => self.over.has_changed().is_err(),
        }
    }
}

impl<C: Connect> fmt::Debug for Clients<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.slots.load().by_id.keys()).finish()
    }
}

/// The error of a dial, for all the calls that waited for it.
#[derive(Clone, Debug)]
struct SharedError(Arc<dyn std::error::Error + Send + Sync>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for SharedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}
