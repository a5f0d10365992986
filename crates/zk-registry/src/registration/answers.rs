//! What the answers of a round mean for a registration. Each function changes that registration alone and returns what the
//! driver has to do next.

use tracing::warn;

use super::context::Context;
use super::decision::Seen;
use super::entry::{Entry, Next, Stage};
use super::round::Answer;
use crate::error::{Error, ErrorKind};
use crate::snapshot::Zxid;
use crate::store::{Fault, Node};
use crate::withdrawn::Withdrawn;

/// What one answer means. `orphan` is why the parents of the service could not be made in the same round: `None` where they
/// were made, or not asked for.
pub(super) fn meaning(entry: &mut Entry, answer: Answer, orphan: Option<&Fault>, context: &Context) -> Next {
    if entry.stage == Stage::Asked {
        entry.stage = Stage::Read;
    }
    match answer {
        Answer::Read(answer) => read(entry, answer, context),
        Answer::Created(Ok(stat)) | Answer::Written(Ok(stat)) => entry.wrote(Zxid(stat.mzxid)),
        Answer::Deleted(Ok(()) | Err(Fault::NoNode)) => match entry.intent.record {
            Some(_) => Next::Due,
            None => Next::Finish(Withdrawn::Confirmed),
        },
        Answer::Created(Err(Fault::NoNode)) => orphaned(entry, orphan),
        Answer::Created(Err(Fault::NodeExists))
        | Answer::Written(Err(Fault::BadVersion | Fault::NoNode | Fault::NodeExists))
        | Answer::Deleted(Err(Fault::BadVersion)) => Next::Due,
        Answer::Created(Err(fault)) | Answer::Written(Err(fault)) | Answer::Deleted(Err(fault)) => {
            classify_fault(entry, fault)
        }
    }
}

fn read(entry: &mut Entry, answer: Result<Node, Fault>, context: &Context) -> Next {
    let decode = |data: &[u8]| {
        let decoded = context.format.decode(&entry.service, &entry.name, data).ok()?;
        Some((decoded.instance, decoded.owner))
    };
    match Seen::new(answer, decode) {
        Some(seen) => entry.decide(&seen, context),
        None => Next::Retry,
    }
}

/// A create found no parent.
fn orphaned(entry: &mut Entry, orphan: Option<&Fault>) -> Next {
    entry.stage = Stage::Create;
    match orphan {
        None => Next::MakeParents,
        Some(Fault::NoNode) => {
            warn!(path = entry.path, "the parents cannot be made: does the chroot exist?");
            Next::MakeParentsLater
        }
        Some(fault) => match classify_fault(entry, fault.clone()) {
            Next::Retry => Next::MakeParentsLater,
            next => next,
        },
    }
}

/// Whether a refused request is tried again, and what the caller is told if it is not.
fn classify_fault(entry: &mut Entry, fault: Fault) -> Next {
    let path = &entry.path;
    let error = match fault {
        Fault::NoAuth if entry.intent.record.is_none() => {
            warn!(path, "not allowed to delete the node; it stays until the session ends");
            return Next::Finish(Withdrawn::Forbidden);
        }
        Fault::NoAuth => {
            Error::new(ErrorKind::NoAuth, format!("{path}: ZooKeeper's access control forbids it"))
        }
        Fault::InvalidAcl => Error::new(
            ErrorKind::Invalid,
            format!("{path}: the ACL needs an identity, and ZooKeeper knows none of us"),
        ),
        Fault::TooLarge => Error::new(ErrorKind::TooLarge, format!("{path}: the record is too large")),
        Fault::Unimplemented => {
            Error::new(ErrorKind::ServerTooOld, format!("{path}: the server lacks an operation"))
        }
        Fault::NoChildrenForEphemerals => {
            return Next::Conflict("the parent is somebody's ephemeral node".to_owned());
        }
        Fault::Definite(why) => {
            warn!(path, why, "ZooKeeper refused, trying again");
            return Next::Retry;
        }
        _ => return Next::Retry,
    };
    Next::Fail(error)
}
