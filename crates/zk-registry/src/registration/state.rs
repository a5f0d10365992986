//! How an instance is registered, and the states its registration goes through.

use crate::error::{Error, ErrorKind};
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

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

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registration was withdrawn, or its registry closed")
}
