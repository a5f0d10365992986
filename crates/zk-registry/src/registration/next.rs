//! What has to be done next for one registration.

use super::round::Write;
use super::stage::Trouble;
use crate::error::Error;
use crate::store::Stat;
use crate::withdrawn::Withdrawn;

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
