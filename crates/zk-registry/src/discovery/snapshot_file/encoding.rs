//! The lines of a snapshot file: JSON in UTF-8. A head, an instance per line in the order of the ids, a line per rule of operators
//! beside the instances, and a CRC-32 (the one of zlib and PNG) of every byte before its own line.
//!
//! ```text
//! {"file":"zk-registry snapshot","version":1,"cluster":"zk1:2181,zk2:2181/fleet","root":"/services/time","written":1753920000000,"instances":1}
//! {"id":"10.0.0.1:80","host":"10.0.0.1","port":80,"weight":1,"incarnation":"5c0e...","session":72057594,"created":17,"modified":17}
//! {"crc32":907060870}
//! ```
//!
//! A reader ignores fields that it does not know; a change that such a reader would misunderstand gets another version. A file with
//! rules has version 2; the instances in it are as they stand, without the rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::instance::{Attributes, Instance, InstanceId, NodeName, Status};
use crate::snapshot::members::Members;
use crate::snapshot::{Member, Snapshot, Zxid};

/// The contents of a file.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) members: Members,
    pub(crate) rules: Vec<StoredRule>,
    pub(crate) written: SystemTime,
}

/// A node that states something about instances.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct StoredRule {
    pub(crate) node: NodeName,
    pub(crate) data: Vec<u8>,
}

/// What a file is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The servers and the chroot.
    pub(crate) cluster: String,
    /// The service's node.
    pub(crate) root: String,
}

/// What the first line of every file of ours says.
const MAGIC: &str = "zk-registry snapshot";
const VERSION: u32 = 1;
const VERSION_WITH_RULES: u32 = 2;

#[derive(Deserialize, Serialize)]
pub(super) struct Head<'a> {
    #[serde(borrow)]
    file: Cow<'a, str>,
    version: u32,
    #[serde(borrow, default)]
    cluster: Cow<'a, str>,
    #[serde(borrow)]
    root: Cow<'a, str>,
    /// Milliseconds since 1970.
    written: u64,
    instances: usize,
    #[serde(default, skip_serializing_if = "is_zero")]
    rules: usize,
}

#[derive(Deserialize, Serialize)]
struct Line<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    host: Cow<'a, str>,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ssl_port: Option<u16>,
    weight: NonZeroU16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    draining: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Hexadecimal.
    incarnation: String,
    session: i64,
    created: i64,
    modified: i64,
}

#[derive(Deserialize, Serialize)]
struct RuleLine<'a> {
    #[serde(borrow)]
    rule: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    data: Cow<'a, str>,
}

#[derive(Deserialize, Serialize)]
struct Tail {
    crc32: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &usize) -> bool {
    *value == 0
}

pub(crate) fn encode(origin: &Origin, snapshot: &Snapshot, now: SystemTime) -> io::Result<Vec<u8>> {
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rules = &snapshot.0.rules;
    let head = Head {
        file: MAGIC.into(),
        version: if rules.is_empty() { VERSION } else { VERSION_WITH_RULES },
        cluster: origin.cluster.as_str().into(),
        root: origin.root.as_str().into(),
        written: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        instances: snapshot.len(),
        rules: rules.len(),
    };
    let mut bytes = Vec::with_capacity(256 * (snapshot.len() + 1));
    push_line(&mut bytes, &head)?;
    for member in snapshot.instances() {
        push_line(&mut bytes, &line_of(member))?;
    }
    for rule in rules.iter() {
        // What was read as a rule is text.
        let (rule, data) = (rule.node().as_str().into(), String::from_utf8_lossy(rule.data()));
        push_line(&mut bytes, &RuleLine { rule, data })?;
    }
    let crc32 = crc32fast::hash(&bytes);
    push_line(&mut bytes, &Tail { crc32 })?;
    Ok(bytes)
}

fn push_line(bytes: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *bytes, line)?;
    bytes.push(b'\n');
    Ok(())
}

pub(crate) fn decode(bytes: &[u8], origin: &Origin) -> io::Result<Stored> {
    let torn = || nonsense("it is damaged");
    let head = readable_head(bytes, origin)?;
    let (covered, tail) = split_last_line(bytes).ok_or_else(torn)?;
    let tail: Tail = serde_json::from_slice(tail).map_err(|_| torn())?;
    if crc32fast::hash(covered) != tail.crc32 {
        return Err(torn());
    }
    let mut members: Vec<Arc<Member>> = Vec::new();
    let mut lines = covered.split_inclusive(|byte| *byte == b'\n').skip(1);
    for line in lines.by_ref().take(head.instances) {
        let member = member_of(serde_json::from_slice(line)?)?;
        if members.last().is_some_and(|last| last.id >= member.id) {
            return Err(nonsense("its instances are out of order"));
        }
        members.push(Arc::new(member));
    }
    let rules = lines.map(rule_of).collect::<io::Result<Vec<_>>>()?;
    if members.len() != head.instances || rules.len() != head.rules {
        return Err(torn());
    }
    let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(head.written));
    Ok(Stored { members: Members::from_sorted(members), rules, written: written.ok_or_else(torn)? })
}

/// Everything up to the last line, and that line without its end.
fn split_last_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let whole = bytes.strip_suffix(b"\n")?;
    let at = whole.iter().rposition(|byte| *byte == b'\n')? + 1;
    Some((&bytes[..at], &whole[at..]))
}

/// The head of a file that can be read, given at least its first line.
pub(super) fn readable_head<'a>(bytes: &'a [u8], origin: &Origin) -> io::Result<Head<'a>> {
    let head = head_of(bytes, origin)?.ok_or_else(|| nonsense("it is damaged"))?;
    if !matches!(head.version, VERSION | VERSION_WITH_RULES) {
        let known = format!("{VERSION} or {VERSION_WITH_RULES}");
        return Err(nonsense(&format!("it has version {}, not {known}", head.version)));
    }
    Ok(head)
}

/// The head of a file of ours, about this service of this ZooKeeper; `None` when all that can be told is that it began as one of ours.
pub(super) fn head_of<'a>(bytes: &'a [u8], origin: &Origin) -> io::Result<Option<Head<'a>>> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice::<Head<'a>>(line) {
        Ok(head) if head.file == MAGIC && head.root == origin.root && head.cluster == origin.cluster => {
            Ok(Some(head))
        }
        Ok(head) if head.file == MAGIC => {
            Err(nonsense(&format!("it is about {:?} of ZooKeeper {:?}", head.root, head.cluster)))
        }
        Err(_) if begins_as_ours(bytes) => Ok(None),
        _ => Err(nonsense("it is not a snapshot file of ours")),
    }
}

/// As far as it goes: nothing is lost with an empty file.
fn begins_as_ours(bytes: &[u8]) -> bool {
    let ours = format!("{{\"file\":\"{MAGIC}\",");
    bytes.starts_with(ours.as_bytes()) || ours.as_bytes().starts_with(bytes)
}

fn line_of(member: &Member) -> Line<'_> {
    let borrowed = |(key, value)| (Cow::from(key), Cow::from(value));
    Line {
        id: member.id.as_str().into(),
        host: member.host().into(),
        port: member.port(),
        ssl_port: member.ssl_port(),
        weight: member.weight(),
        zone: member.zone().map(Cow::from),
        draining: member.status() == Status::Draining,
        metadata: member.metadata().iter().map(borrowed).collect(),
        incarnation: format!("{:x}", member.incarnation.as_u128()),
        session: member.session,
        created: member.created.0,
        modified: member.modified.0,
    }
}

fn member_of(line: Line<'_>) -> io::Result<Member> {
    let id: InstanceId = line.id.parse().map_err(io::Error::other)?;
    let attributes = Attributes {
        weight: line.weight,
        zone: line.zone.map(Cow::into_owned),
        status: if line.draining { Status::Draining } else { Status::Up },
        metadata: line
            .metadata
            .into_iter()
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect(),
    };
    let instance = Instance::new(line.host, line.port).with_id(id.clone()).with_attributes(attributes);
    Ok(Member {
        node: None,
        format: None,
        instance: match line.ssl_port {
            Some(port) => instance.with_ssl_port(port),
            None => instance,
        },
        id,
        incarnation: u128::from_str_radix(&line.incarnation, 16).map_err(io::Error::other)?.into(),
        session: line.session,
        created: Zxid(line.created),
        modified: Zxid(line.modified),
        ctime: 0,
    })
}

fn rule_of(line: &[u8]) -> io::Result<StoredRule> {
    let RuleLine { rule, data } = serde_json::from_slice(line)?;
    let node = rule.parse().map_err(io::Error::other)?;
    Ok(StoredRule { node, data: data.into_owned().into_bytes() })
}

pub(super) fn nonsense(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
