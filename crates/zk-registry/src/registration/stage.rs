//! Where one registration stands between two rounds.

use crate::error::Error;

/// What the next round asks for a registration. One that wants no node is read, where this says `Create`, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nothing: a request is under way. Its answer leads to `Create` or to `Read`; a lost session leads to `Create`.
    Asked,
    /// Nothing: a request is under way, but the node may have changed since it was sent. Whatever its answer says, `Read` follows; a
    /// lost session leads to `Create`.
    AskedAgain,
    /// A create, without a read before it: no session of ours has a node there. A refusal or a lost answer leads to `Read`, a
    /// missing parent back to `Create`.
    Create,
    /// A read, from which the next step is decided. An absent node leads to `Create`, a lost answer back to `Read`.
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
    /// Its answer was lost, as a rule with the connection: ZooKeeper may have done what was asked, or not.
    Doubt(Error),
    /// ZooKeeper refused it, and will until an administrator changes something. Updates that wait for the answer fail.
    Refused(Error),
}

/// How far the records of a registration have come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Written {
    /// No record was sent: a withdrawal has nothing to delete. The first record that is sent leads to `Sent`.
    Never,
    /// A record was sent, and may stand in ZooKeeper. Failures change nothing of that; an acknowledgement, or a read that shows
    /// the record, leads to `Seen`.
    Sent,
    /// The node said what it should at least once: other data that are seen later were written by another client.
    Seen,
}
