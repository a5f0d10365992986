//! What the answers of a round mean for a registration. Each function changes that registration alone and returns what the
//! driver has to do next.

use std::collections::HashSet;

use tracing::warn;

use super::context::Context;
use super::decision::{Listed, Seen};
use super::entry::Entry;
use super::next::Next;
use super::round::Answer;
use super::stage::{Stage, Trouble};
use crate::error::{Error, ErrorKind};
use crate::store::{Fault, Node, Stat};
use crate::withdrawn::Withdrawn;

/// What else a round brought to light.
pub(super) struct Circumstances<'a> {
    /// Why the parents of the service could not be made in the same round: `None` where they were made, or not asked for.
    pub(super) orphan: Option<&'a Fault>,
    /// The paths that our session owns, if that was asked for in the same round.
    pub(super) owned: Option<&'a Result<HashSet<String>, Fault>>,
}

/// What one answer means.
pub(super) fn meaning(
    entry: &mut Entry,
    answer: Answer,
    around: &Circumstances<'_>,
    context: &Context,
) -> Next {
    if entry.stage.is_asked() {
        entry.stage = Stage::Read;
    }
    match answer {
        Answer::Read(answer) => read(entry, answer, around, context),
        Answer::Created(Ok(stat)) | Answer::Written(Ok(stat)) => entry.wrote(stat),
        Answer::Deleted(Ok(()) | Err(Fault::NoNode)) => match entry.intent.record {
            Some(_) => Next::Due,
            None => Next::Finish(Withdrawn::Confirmed),
        },
        Answer::Created(Err(Fault::NoNode)) if entry.intent.record.is_some() => {
            orphaned(entry, around.orphan)
        }
        Answer::Created(Err(Fault::NodeExists))
        | Answer::Written(Err(Fault::BadVersion | Fault::NoNode | Fault::NodeExists))
        | Answer::Deleted(Err(Fault::BadVersion)) => Next::Due,
        Answer::Deleted(Err(Fault::NoAuth)) if entry.intent.record.is_none() => {
            warn!(path = entry.path(), "not allowed to delete the node; it stays until the session ends");
            Next::Finish(Withdrawn::Forbidden)
        }
        Answer::Created(Err(fault)) | Answer::Written(Err(fault)) => {
            match (classify_fault(entry.path(), fault), &entry.intent.record) {
                // It was withdrawn meanwhile: what matters is whether a node of ours stands there.
                (Next::Retry(Trouble::Refused(_)) | Next::Fail(_) | Next::Conflict(_), None) => Next::Due,
                (next, _) => next,
            }
        }
        Answer::Moved(answer) => moved(entry, answer, around.orphan),
        Answer::Deleted(Err(fault)) => classify_fault(entry.path(), fault),
    }
}

fn read(
    entry: &mut Entry,
    answer: Result<Node, Fault>,
    around: &Circumstances<'_>,
    context: &Context,
) -> Next {
    let decode = |data: &[u8]| entry.read(data);
    let seen = match Seen::new(answer, decode) {
        Ok(seen) => seen,
        Err(fault) => return classify_fault(entry.path(), fault),
    };
    let listed = match around.owned {
        Some(Ok(owned)) if owned.contains(entry.path()) => Listed::Yes,
        Some(Ok(_)) => Listed::No,
        Some(Err(_)) | None => Listed::Unknown,
    };
    match (entry.decide(&seen, listed, context), around.owned) {
        (Next::ListOwned, Some(Err(fault))) => classify_fault(entry.path(), fault.clone()),
        (next, _) => next,
    }
}

/// A move was answered. It is all or nothing: a refusal of one operation leaves the node where it was.
fn moved(entry: &mut Entry, answer: Result<Stat, Fault>, orphan: Option<&Fault>) -> Next {
    const CREATE: usize = 0;
    let (index, fault) = match answer {
        Ok(stat) => return entry.wrote(stat),
        Err(Fault::Multi { index, fault }) => (index, *fault),
        Err(fault) => return classify_fault(entry.path(), fault),
    };
    entry.places.stayed();
    match (index, fault, &entry.intent.record) {
        (_, _, None) => Next::Due,
        (CREATE, Fault::NoNode, _) => match orphan {
            None => Next::MakeParents,
            Some(fault) => classify_fault(entry.path(), fault.clone()),
        },
        (CREATE, Fault::NodeExists, _) => {
            Next::Conflict(format!("a node at {}, where ours should move", entry.places.wanted.path))
        }
        (_, Fault::BadVersion | Fault::NoNode, _) => Next::Due,
        (_, fault, _) => classify_fault(entry.path(), fault),
    }
}

/// A create found no parent.
fn orphaned(entry: &mut Entry, orphan: Option<&Fault>) -> Next {
    entry.stage = Stage::Create;
    match orphan {
        None => Next::MakeParents,
        Some(Fault::NoNode) => {
            let message = format!("{}: the parents cannot be made: does the chroot exist?", entry.path());
            Next::Retry(Trouble::Refused(Error::new(ErrorKind::Other, message)))
        }
        Some(fault) => classify_fault(entry.path(), fault.clone()),
    }
}

/// Whether a failed request is made again, and what the caller is told if it is not. What an administrator can lift is
/// made again for as long as it takes.
pub(super) fn classify_fault(path: &str, fault: Fault) -> Next {
    let (kind, why) = match fault {
        Fault::TooLarge => {
            return Next::Fail(Error::new(ErrorKind::TooLarge, format!("{path}: the record is too large")));
        }
        Fault::Unimplemented => {
            let message = format!("{path}: the server lacks an operation");
            return Next::Fail(Error::new(ErrorKind::ServerTooOld, message));
        }
        Fault::NoChildrenForEphemerals => {
            return Next::Conflict("the parent is somebody's ephemeral node".to_owned());
        }
        Fault::Ambiguous(why) => {
            return Next::Retry(Trouble::Doubt(Error::new(ErrorKind::Unavailable, format!("{path}: {why}"))));
        }
        Fault::Over => {
            let message = format!("{path}: the session ended meanwhile");
            return Next::Retry(Trouble::Doubt(Error::new(ErrorKind::SessionLost, message)));
        }
        Fault::AuthFailed => (ErrorKind::AuthFailed, "ZooKeeper refused our credentials".to_owned()),
        Fault::Definite(why) => (ErrorKind::Other, why),
        Fault::InvalidAcl => {
            (ErrorKind::NoAuth, "the ACL needs an identity, and ZooKeeper knows none of us".to_owned())
        }
        Fault::NoAuth => (ErrorKind::NoAuth, "ZooKeeper's access control forbids it".to_owned()),
        fault => (ErrorKind::Other, format!("{fault:?}")),
    };
    Next::Retry(Trouble::Refused(Error::new(kind, format!("{path}: {why}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_can_lift_is_tried_on() {
        let liftable = [
            Fault::NoAuth,
            Fault::InvalidAcl,
            Fault::AuthFailed,
            Fault::Definite("quota exceeded".to_owned()),
            Fault::NotEmpty,
        ];
        for fault in liftable {
            let next = classify_fault("/s/i", fault);
            assert!(matches!(next, Next::Retry(Trouble::Refused(_))), "{next:?}");
        }
        for fault in [Fault::Ambiguous("cut".to_owned()), Fault::Over] {
            let next = classify_fault("/s/i", fault);
            assert!(matches!(next, Next::Retry(Trouble::Doubt(_))), "{next:?}");
        }
        for fault in [Fault::TooLarge, Fault::Unimplemented] {
            assert!(matches!(classify_fault("/s/i", fault), Next::Fail(_)));
        }
    }
}
