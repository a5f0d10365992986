//! Translation between the words of the [`Store`](super::super::Store) trait and those of the engine.

use bytes::Bytes;

use super::super::{Fault, Kind, Node, Op, Stat};
use super::engine::record::{self, AclEntry, Code, Create, Form, Id, Write, perms};
use crate::options::Acl;

pub(super) fn write(op: Op) -> Write {
    match op {
        Op::Create { path, data, kind, acl } => {
            let (flags, form) = match kind {
                Kind::Container => (4, Form::Container),
                Kind::Ephemeral => (1, Form::WithStat),
                Kind::Persistent => (0, Form::WithStat),
            };
            Write::Create(Create {
                path: Some(path),
                data: Some(data),
                acl: entries(acl).into_iter().map(Ok).collect(),
                flags,
                form,
            })
        }
        Op::Delete { path, version } => Write::Delete { path, version: version.unwrap_or(-1) },
        Op::Set { path, data, version } => {
            Write::SetData { path, data: Some(data), version: version.unwrap_or(-1) }
        }
    }
}

fn entries(acl: Acl) -> Vec<AclEntry> {
    let creator = || AclEntry { perms: perms::ALL, id: Id::new("auth", "") };
    let anyone = |perms| AclEntry { perms, id: Id::new("world", "anyone") };
    match acl {
        Acl::Creator => vec![creator()],
        Acl::Open => vec![anyone(perms::ALL)],
        Acl::ReadOnly => vec![creator(), anyone(perms::READ)],
    }
}

/// The narrowest word that allows strangers as much.
pub(super) fn word(acl: &[AclEntry]) -> Acl {
    let anyone = |entry: &&AclEntry| entry.id.scheme == "world" && entry.id.id == "anyone";
    match acl.iter().filter(anyone).fold(0, |all, entry| all | entry.perms) {
        0 => Acl::Creator,
        perms::READ => Acl::ReadOnly,
        _ => Acl::Open,
    }
}

pub(super) fn stat(stat: &record::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        version: stat.version,
        children: u32::try_from(stat.children).unwrap_or_default(),
        bytes: u32::try_from(stat.data_length).unwrap_or_default(),
        owner: stat.owner,
    }
}

pub(super) fn node(data: Option<&Bytes>, found: &record::Stat) -> Node {
    Node { data: data.cloned().unwrap_or_default(), stat: stat(found) }
}

pub(super) fn fault(code: Code) -> Fault {
    match code {
        Code::AuthFailed => Fault::AuthFailed,
        Code::BadVersion => Fault::BadVersion,
        Code::InvalidAcl => Fault::InvalidAcl,
        Code::NoAuth => Fault::NoAuth,
        Code::NoChildrenForEphemerals => Fault::NoChildrenForEphemerals,
        Code::NoNode => Fault::NoNode,
        Code::NodeExists => Fault::NodeExists,
        Code::NotEmpty => Fault::NotEmpty,
        Code::SessionExpired => Fault::Over,
        Code::Unimplemented => Fault::Unimplemented,
        Code::BadArguments
        | Code::Marshalling
        | Code::NoWatcher
        | Code::ReconfigDisabled
        | Code::RuntimeInconsistency => Fault::Definite(format!("{code:?}")),
    }
}
