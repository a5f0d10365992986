//! What can be wrong with one service, and with the sessions that own its nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use zk_registry::operate::{Directory, Operator};
use zk_registry::{Acl, Member, Registry, ServiceName, Snapshot, Status};

use super::finding::Finding;
use crate::exit::Failure;
use crate::reach;
use crate::shown::{count, session};

/// Looks at a service.
pub(super) async fn look(
    registry: &Registry,
    operator: &Operator,
    name: &ServiceName,
    dials: bool,
) -> Result<(Vec<Finding>, Paths), Failure> {
    let directories = operator.directories(name).await?;
    if directories.is_empty() {
        let cure = "check the name, --base and the chroot";
        return Ok((vec![Finding::broken(subject(name), "there is no such node", cure)], Paths::default()));
    }
    let snapshot = registry.lookup(name).await?;
    let mut findings: Vec<_> =
        directories.iter().flat_map(|directory| of_directory(name, directory)).collect();
    findings.extend(of_snapshot(name, &snapshot));
    findings.extend(of_clocks(name, &snapshot, SystemTime::now()));
    if dials {
        findings.extend(of_dials(name, &snapshot).await);
    }
    Ok((findings, Paths::of(&directories, &snapshot)))
}

fn subject(name: &ServiceName) -> String {
    format!("service {name}")
}

fn of_directory(name: &ServiceName, directory: &Directory) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bytes = directory.list_bytes();
    let (path, nodes) = (directory.path(), count(directory.names().len(), "node"));
    let what = format!("the list of {nodes} below {path} has {bytes} bytes of {PACKET}");
    let cure = "beyond jute.maxbuffer nobody can list it any more, and so nobody can find or clean it: spread the service, \
        or raise it on every server and client";
    if bytes > PACKET * 9 / 10 {
        findings.push(Finding::broken(subject(name), what, cure));
    } else if bytes > PACKET / 2 {
        findings.push(Finding::doubtful(subject(name), what, cure));
    }
    match directory.acl() {
        Ok(Acl::Open) => findings.push(Finding::doubtful(
            subject(name),
            format!("everybody may write {path}: anyone who reaches ZooKeeper can redirect its traffic"),
            "register with --acl read-only or creator, and credentials; docs/SECURE-ENSEMBLE.md",
        )),
        Ok(_) => {}
        Err(error) => {
            findings.push(Finding::ok(subject(name), format!("who may write {path} is not known: {error}")));
        }
    }
    findings
}

/// Whether an instance was created in the future: the clock here is behind that of the ensemble's leader by that much at least.
fn of_clocks(name: &ServiceName, snapshot: &Snapshot, now: SystemTime) -> Option<Finding> {
    let youngest = snapshot.instances().max_by_key(|member| member.created())?;
    let ahead = youngest.created_at()?.duration_since(now).ok().filter(|ahead| *ahead > SKEW)?;
    let what =
        format!("{} was created {ahead:.1?} from now, by the clock of ZooKeeper's leader", youngest.id());
    let cure = "the clock of this machine or of the leader is wrong: look at its time service";
    Some(Finding::doubtful(subject(name), what, cure))
}

fn of_snapshot(name: &ServiceName, snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found =
        |what: String, cure: &'static str| findings.push(Finding::doubtful(subject(name), what, cure));
    for rejected in snapshot.rejected() {
        found(
            format!("node {} is rejected: {}", rejected.id, rejected.reason),
            "look at it with `zkr explain`",
        );
    }
    let mut addresses: BTreeMap<String, Vec<&Arc<Member>>> = BTreeMap::new();
    let mut dialects: BTreeMap<&str, usize> = BTreeMap::new();
    for member in snapshot.instances() {
        if member.is_dialable() {
            addresses.entry(member.address()).or_default().push(member);
        } else {
            found(
                format!("{} has the address {}, which nobody can dial", member.id(), member.address()),
                "advertise another",
            );
        }
        if member.session() == 0 {
            let cure = "nobody deletes it when it dies: let its program register an ephemeral node; `zkr evict` deletes a dead one";
            found(format!("{} is a persistent node", member.id()), cure);
        }
        *dialects.entry(dialect(member)).or_default() += 1;
    }
    for (address, members) in addresses.iter().filter(|(_, members)| members.len() > 1) {
        let ids: Vec<_> = members.iter().map(|member| member.id().as_str()).collect();
        found(
            format!("{address} is there {} times: {}", ids.len(), ids.join(", ")),
            "it gets as many shares of the calls: register it once",
        );
    }
    if dialects.len() > 1 {
        let each: Vec<_> = dialects.iter().map(|(dialect, n)| format!("{n} of {dialect}")).collect();
        let cure = "readers of the one may fail on the other: `zkr explain` says which";
        found(format!("records of several dialects: {}", each.join(", ")), cure);
    }
    let up = snapshot.instances().filter(|member| member.status() == Status::Up).count();
    if up == 0 && !snapshot.is_empty() {
        let what = format!("{}, and none is up", count(snapshot.len(), "instance"));
        findings.push(Finding::broken(subject(name), what, "bring one back with `zkr undrain`"));
    }
    findings
}

/// The dialect of a record, as far as the instance shows it.
fn dialect(member: &Member) -> &'static str {
    if member.metadata().keys().any(|key| key.starts_with("dubbo.")) { "dubbo" } else { "curator" }
}

/// Dials every instance once or more, and doubts those that do not answer, if any does.
async fn of_dials(name: &ServiceName, snapshot: &Snapshot) -> Vec<Finding> {
    let members = snapshot.instances().filter(|member| member.is_dialable());
    let dials = members.map(|member| async move { (member, reach::dial(&member.address()).await) });
    let dialled: Vec<_> = stream::iter(dials).buffered(DIALS_AT_ONCE).collect().await;
    let answered = dialled.iter().filter(|(_, dialled)| dialled.is_ok()).count();
    if dialled.is_empty() {
        return Vec::new();
    }
    if answered == 0 {
        let what = format!("{}, and none answers from this machine", count(dialled.len(), "instance"));
        return vec![Finding::doubtful(
            subject(name),
            what,
            "run it where their callers are, or with --no-dial",
        )];
    }
    let silent = dialled.iter().filter_map(|(member, dialled)| Some((member, dialled.as_ref().err()?)));
    let cure = "callers lose time on it: restart it, or delete its node with `zkr evict`";
    silent
        .map(|(member, error)| {
            let what = format!("{} does not answer: {error}, while {answered} others do", member.id());
            Finding::broken(subject(name), what, cure)
        })
        .collect()
}

/// The path bytes of each owning session.
#[derive(Debug, Default)]
pub(super) struct Paths(BTreeMap<i64, usize>);

impl Paths {
    fn of(directories: &[Directory], snapshot: &Snapshot) -> Self {
        // Which directory has which member is not told; the longest path is never too short.
        let parent = directories.iter().map(|directory| directory.path().len()).max().unwrap_or_default();
        let mut paths = BTreeMap::new();
        for member in snapshot.instances().filter(|member| member.session() != 0) {
            *paths.entry(member.session()).or_default() += parent + 1 + member.id().as_str().len() + 4;
        }
        Self(paths)
    }

    pub(super) fn add(&mut self, other: Self) {
        for (session, bytes) in other.0 {
            *self.0.entry(session).or_default() += bytes;
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let cure = "closing it takes one transaction of all its paths, and past the packet limit the server never starts again \
            (ZOOKEEPER-4306): spread the registrations over several sessions";
        let large = self.0.iter().filter(|(_, bytes)| **bytes > PACKET / 2);
        large
            .map(|(id, bytes)| {
                let what = format!("it owns {bytes} bytes of paths");
                Finding::doubtful(format!("session {}", session(*id)), what, cure)
            })
            .collect()
    }
}

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(2);

/// `jute.maxbuffer`, by default.
const PACKET: usize = 0xf_ffff;
const DIALS_AT_ONCE: usize = 64;
