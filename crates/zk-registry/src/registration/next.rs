//! Where one registration stands between two rounds, and what has to be done next for it.

use super::round::Write;
use crate::error::Error;
use crate::store::Stat;
use crate::withdrawn::Withdrawn;

/// How the next round begins for a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// A request is under way. Its answer decides between the last two; a lost session leads to `Create`.
    Asked,
    /// A request is under way, and the node may have changed since it was sent: the answer is followed by a read, whatever
    /// it says. A lost session leads to `Create`.
    AskedAgain,
    /// The node is created at once: no session of ours has it. A refusal, or a doubt, leads to `Read`; a missing parent back
    /// to `Create`.
    Create,
    /// The node is read first. An absent node leads to `Create`, a doubt back to `Read`.
    Read,
}

impl Stage {
    /// Whether a request is under way.
    pub(super) fn is_asked(self) -> bool {
        matches!(self, Self::Asked | Self::AskedAgain)
    }
}

/// Why a request is made again.
#[derive(Clone, Debug)]
pub(super) enum Trouble {
    /// The answer was lost, with the connection as a rule: the registration is as it was.
    Doubt(Error),
    /// ZooKeeper refuses it, until an administrator lifts that. Updates that wait for it fail.
    Refused(Error),
}

/// What was sent to the node so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// Nothing: a withdrawal has nothing to undo. Stays so until the first create is sent.
    Never,
    /// At least one record, which may stand there. Stays so over failures; a read or an acknowledgement leads to `Seen`.
    Sent,
    /// The node was seen to say what it should, once: what differs from then on was written by another client.
    Seen,
}

/// What the driver has to do next for one registration.
#[derive(Debug)]
pub(super) enum Next {
    /// The place is taken: wait, or fail, as the caller asked.
    Conflict(String),
    /// A round as soon as possible.
    Due,
    /// End with this error; it is not tried again.
    Fail(Error),
    /// End: the node is gone, or left alone.
    Finish(Withdrawn),
    /// A round as soon as possible that also lists what our session owns.
    ListOwned,
    /// Make the parents, then a round as soon as possible.
    MakeParents,
    /// The server put another session in the place of ours.
    Replaced { by: i64 },
    /// A round after a backoff.
    Retry(Trouble),
    /// Send this write with the next round.
    Send(Write),
    /// The node says what it should since this write.
    Settled(Stat),
}
