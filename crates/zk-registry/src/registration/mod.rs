//! One instance that is kept registered: the guard that the user holds, and the states it goes through.
//!
//! `entry.rs` decides (pure), `task.rs` drives every registration of one session in rounds.

mod book;
mod entry;
mod kept;
pub(crate) mod registrar;
mod requests;
#[cfg(test)]
mod schedules;
mod task;
#[cfg(test)]
mod tests;
mod verdicts;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub(crate) use self::book::Book;
pub(crate) use self::entry::Identity;
use self::registrar::{Key, Order, Registrar};
pub(crate) use self::requests::largest_record;
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, InstanceId};
use crate::snapshot::Zxid;

/// How an instance is registered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Registering {
    /// Whether nobody else on this host can be serving that address, because we hold its listening socket: a node that
    /// an earlier process of this host left behind is then taken over at once. Defaults to no.
    pub exclusive: bool,
    /// What to do when somebody else's node stands there. Defaults to [`OnConflict::Wait`].
    pub on_conflict: OnConflict,
}

/// What to do when somebody else's node stands where ours should.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum OnConflict {
    /// The registration fails for good.
    Fail,
    /// It waits until the node is gone.
    #[default]
    Wait,
}

/// Where a registration stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RegistrationState {
    /// Somebody else's node stands in the place; ours follows when it is gone. Nothing of theirs is touched.
    Conflict {
        /// Whose it is, for a person to read.
        with: String,
    },
    /// It will not be tried again.
    Failed(Error),
    /// Not registered yet, or no longer and about to be again.
    Pending,
    /// The node is there and says what we want it to say.
    Registered {
        /// The write that made it so.
        zxid: Zxid,
    },
    /// It was registered when the connection was lost; it stays so while the session lives.
    Suspended {
        /// The write that had made it so.
        zxid: Zxid,
    },
    /// It was withdrawn.
    Withdrawn(Withdrawn),
}

/// How often somebody else wrote the node of a registration, and what became of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ForeignWrites {
    /// Status and weight were adopted: that is how an operator drains an instance.
    pub adopted: u64,
    /// None of it was: it could not be read, or an update was newer.
    pub written_over: u64,
}

/// How a withdrawal ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Withdrawn {
    /// ZooKeeper acknowledged that the node is gone.
    Confirmed,
    /// ZooKeeper's access control does not let us delete the node: it stays until the session ends.
    Forbidden,
    /// Somebody else's node, or that of another registration of ours, had taken the place; it was left alone.
    Superseded,
    /// ZooKeeper did not answer in time; the node goes with its session.
    Unconfirmed {
        /// How long that takes at most, once ZooKeeper is up.
        gone_within: Duration,
    },
}

/// An instance that is kept registered through expiries and outages until this guard is withdrawn or dropped.
///
/// Dropping it withdraws, best effort and silently.
#[must_use = "dropping a registration withdraws the instance"]
pub struct Registration {
    id: InstanceId,
    path: String,
    key: Key,
    wanted: Arc<Wanted>,
    states: watch::Receiver<RegistrationState>,
    registrar: Registrar,
    /// The guard keeps its registry alive.
    _registry: Option<Arc<dyn Any + Send + Sync>>,
}

/// What the user wants the node to say: shared by the guard, which changes it, and the registrar, which writes it.
pub(crate) struct Wanted {
    wish: Mutex<Wish>,
    /// Held by the user whose closure runs: one at a time. The registrar never waits for it.
    changing: Mutex<()>,
    /// Refuses what the record cannot carry.
    check: Box<Check>,
}

/// What is wanted.
#[derive(Clone, Debug)]
struct Wish {
    attributes: Attributes,
    foreign: ForeignWrites,
    /// How many wishes there were before it.
    revision: u64,
}

/// Whether a record can carry these attributes.
type Check = dyn Fn(&Attributes) -> Result<(), Error> + Send + Sync;

impl Wanted {
    pub(crate) fn new(
        first: Attributes,
        check: impl Fn(&Attributes) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        check(&first)?;
        let wish = Mutex::new(Wish { attributes: first, foreign: ForeignWrites::default(), revision: 0 });
        Ok(Self { wish, changing: Mutex::default(), check: Box::new(check) })
    }

    /// What nobody will ever write.
    pub(crate) fn fixed(only: Attributes) -> Self {
        let wish = Mutex::new(Wish { attributes: only, foreign: ForeignWrites::default(), revision: 0 });
        Self { wish, changing: Mutex::default(), check: Box::new(|_| Ok(())) }
    }

    pub(crate) fn current(&self) -> Attributes {
        self.lock().attributes.clone()
    }

    fn wish(&self) -> Wish {
        self.lock().clone()
    }

    /// What the user changes. His closure may take its time, so it runs on a copy: the background thread must never wait
    /// for it.
    fn change(&self, change: impl FnOnce(&mut Attributes)) -> Result<(), Error> {
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

    /// What somebody else wrote over the wish of this revision: status and weight are theirs to change. `false` when there
    /// is a newer wish, or the record cannot carry it.
    fn adopt(&self, over: u64, foreign: &Attributes) -> bool {
        let mut wish = self.lock();
        let next = Attributes { status: foreign.status, weight: foreign.weight, ..wish.attributes.clone() };
        let adopted = wish.revision == over && (self.check)(&next).is_ok();
        if adopted {
            (wish.attributes, wish.revision) = (next, over + 1);
            wish.foreign.adopted += 1;
        }
        adopted
    }

    /// What somebody else wrote was written over.
    fn written_over(&self) {
        self.lock().foreign.written_over += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Wanted").field(&self.current()).finish()
    }
}

impl Registration {
    pub(crate) fn new(
        (id, path, key): (InstanceId, String, Key),
        wanted: Arc<Wanted>,
        states: watch::Receiver<RegistrationState>,
        registrar: Registrar,
        registry: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { id, path, key, wanted, states, registrar, _registry: Some(registry) }
    }

    /// The id under which the instance is listed.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The path of its node, without the chroot.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What the node should say now; it follows a foreign write of status or weight, which is adopted.
    pub fn attributes(&self) -> Attributes {
        self.wanted.current()
    }

    /// How often somebody else wrote the node so far. Each such write is followed by one of ours, which is a change of
    /// [`states`](Self::states).
    pub fn foreign_writes(&self) -> ForeignWrites {
        self.wanted.lock().foreign
    }

    /// Where the registration stands, now and from now on.
    pub fn states(&self) -> watch::Receiver<RegistrationState> {
        self.states.clone()
    }

    /// Waits until the instance is registered, and returns the write that made it so.
    ///
    /// # Errors
    ///
    /// The reason of [`RegistrationState::Failed`]; [`ErrorKind::Closed`] after the registry was closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn registered(&mut self) -> Result<Zxid, Error> {
        loop {
            match &*self.states.borrow_and_update() {
                RegistrationState::Registered { zxid } => return Ok(*zxid),
                RegistrationState::Failed(error) => return Err(error.clone()),
                RegistrationState::Withdrawn(_) => return Err(closed()),
                _ => {}
            }
            self.states.changed().await.map_err(|_| closed())?;
        }
    }

    /// Changes weight, zone, status or metadata in place, without a membership event, and waits until ZooKeeper has it:
    /// returns the write that made it so. The newest update wins, also over a reconnect. `change` runs in the first poll;
    /// it may block, and look at the registration.
    ///
    /// It waits as long as ZooKeeper is down, or somebody else holds the place; put a timeout around it if that matters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] or [`ErrorKind::TooLarge`] when the record cannot carry it (nothing changes then);
    /// [`ErrorKind::Closed`] after a withdrawal or close; the reason of [`RegistrationState::Failed`].
    ///
    /// # Cancel safety
    ///
    /// The change is wanted from the first poll on; dropping the future only stops waiting for it.
    pub async fn update(&self, change: impl FnOnce(&mut Attributes)) -> Result<Zxid, Error> {
        if let RegistrationState::Failed(error) = &*self.states.borrow() {
            return Err(error.clone());
        }
        self.wanted.change(change)?;
        let (done, answer) = oneshot::channel();
        self.registrar.order(Order::Update { key: self.key, done });
        answer.await.map_err(|_| closed())?
    }

    /// Withdraws the instance and waits, at most `within`, until its node is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws all the same, unacknowledged.
    pub async fn withdraw(self, within: Duration) -> Withdrawn {
        let (done, answer) = oneshot::channel();
        self.registrar.withdraw(&self.path, self.key, Some(done));
        match timeout(within, answer).await {
            Ok(Ok(outcome)) => outcome,
            // The registrar ended with its registry, and said in the last state how.
            Ok(Err(_)) => match &*self.states.borrow() {
                RegistrationState::Withdrawn(outcome) => *outcome,
                _ => Withdrawn::Unconfirmed { gone_within: self.registrar.session_timeout() },
            },
            Err(_) => Withdrawn::Unconfirmed { gone_within: self.registrar.session_timeout() },
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registrar.withdraw(&self.path, self.key, None);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("path", &self.path)
            .field("state", &*self.states.borrow())
            .finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registration was withdrawn, or its registry closed")
}
