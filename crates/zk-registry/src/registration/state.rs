//! How an instance is registered, and the states its registration goes through.

use crate::error::{Error, ErrorKind};
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// How an instance is registered: by default it shares its address, and waits for a foreign node to go.
///
/// ```
/// # use zk_registry::{OnConflict, Registering};
/// let how = Registering::new().with_exclusive(true).with_on_conflict(OnConflict::Fail);
/// assert!(how.exclusive);
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Registering {
    /// Whether no other process of this host can be serving that address, because the caller holds its listening socket: a node that
    /// an earlier process of this host left behind, and that states the same address, is then taken over at once. Defaults
    /// to no.
    pub exclusive: bool,
    /// What to do when a foreign node stands there. Defaults to [`OnConflict::Wait`].
    pub on_conflict: OnConflict,
}

impl Registering {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`exclusive`](Self::exclusive).
    #[must_use]
    pub fn with_exclusive(mut self, exclusive: bool) -> Self {
        self.exclusive = exclusive;
        self
    }

    /// Sets [`on_conflict`](Self::on_conflict).
    #[must_use]
    pub fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }
}

/// What to do when a foreign node stands where ours should.
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
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RegistrationState {
    /// A foreign node stands in the place; ours follows when it is gone. The foreign node is not touched.
    Conflict {
        /// Whose it is, for a person to read.
        with: String,
    },
    /// It drains in a format whose readers know no such state: its node was taken away, and is back once it is up. The registration
    /// goes on.
    Drained {
        /// The last write to the node that stood there; 0 if there was none.
        zxid: Zxid,
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
    /// A request was refused, or its connection broke, and is made again after at most five seconds, for as long as it takes:
    /// an administrator can lift what ZooKeeper refuses (access control, a quota, a missing chroot). Each cause is in the log
    /// once.
    Retrying {
        /// Why the last try failed.
        cause: Error,
        /// The write that made what our node says, if it stands all the same: only an update of it failed.
        standing: Option<Zxid>,
    },
    /// It was registered when the connection was lost; it stays so while the session lives.
    Suspended {
        /// The write that had made it so.
        zxid: Zxid,
    },
    /// It was withdrawn.
    Withdrawn(Withdrawn),
}

/// Counts of the foreign writes to the node of a registration, by what became of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ForeignWrites {
    /// Status, weight and the reason of a drain were adopted: that is how an operator drains an instance.
    pub adopted: u64,
    /// None of it was: it could not be read, or an update was newer.
    pub written_over: u64,
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registration was withdrawn, or its registry closed")
}
