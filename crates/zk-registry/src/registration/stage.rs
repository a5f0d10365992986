//! Where one registration stands between two rounds.

use crate::error::Error;

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
