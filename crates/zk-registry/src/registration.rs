//! One instance that is kept registered: the guard that the user holds.

use std::time::Duration;

use tokio::sync::watch;

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
    /// Somebody else's node stands in the place; ours follows when it is gone.
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

/// How a withdrawal ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Withdrawn {
    /// ZooKeeper acknowledged that the node is gone.
    Confirmed,
    /// Somebody else's node had taken the place; it was left alone.
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
#[derive(Debug)]
pub struct Registration {
    pub(crate) id: InstanceId,
    pub(crate) path: String,
    pub(crate) states: watch::Receiver<RegistrationState>,
}

impl Registration {
    /// The id under which the instance is listed.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The path of its node, without the chroot.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where the registration stands, now and from now on.
    pub fn states(&self) -> watch::Receiver<RegistrationState> {
        self.states.clone()
    }

    /// Waits until the instance is registered.
    ///
    /// # Errors
    ///
    /// The reason of [`RegistrationState::Failed`]; [`ErrorKind::Closed`] after a withdrawal or close.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn registered(&mut self) -> Result<Zxid, Error> {
        Err(Error::new(ErrorKind::Closed, "not yet written"))
    }

    /// Changes weight, zone, status or metadata in place, without a membership event, and waits until ZooKeeper has it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] or [`ErrorKind::TooLarge`] when the record cannot carry it (nothing changes then);
    /// [`ErrorKind::Closed`] after a withdrawal or close.
    ///
    /// # Cancel safety
    ///
    /// The change is wanted from the call's first poll on; dropping the future only stops waiting for it.
    pub async fn update(&self, change: impl FnOnce(&mut Attributes)) -> Result<Zxid, Error> {
        let _ = change;
        Err(Error::new(ErrorKind::Closed, "not yet written"))
    }

    /// Withdraws the instance and waits, at most `within`, until its node is gone.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws all the same, unacknowledged.
    pub async fn withdraw(self, within: Duration) -> Withdrawn {
        Withdrawn::Unconfirmed { gone_within: within }
    }
}
