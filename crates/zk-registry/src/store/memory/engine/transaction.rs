//! Transactions: all of their operations are executed, or none. The checks stand in ZooKeeper's order, because the first one
//! that fails is the answer.

use std::sync::Arc;

use bytes::Bytes;

use super::identity;
use super::order::Children;
use super::path::{self, key};
use super::record::{AclList, Answer, AskedEntry, Code, Create, EventKind, Form, Id, Stat, Write, perms};
use super::tree::{Kept, Kind, Node, Tree, parent_key};

/// Who acts: a session and the identities of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor<'a> {
    pub(super) session: i64,
    pub(super) ids: &'a [Id],
}

/// The number and the time of a transaction; the time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) zxid: i64,
    pub(super) time: i64,
}

/// What a transaction did to a node, and who may hear of it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) zxid: i64,
    pub(super) kind: EventKind,
    pub(super) path: Arc<str>,
    pub(super) acl: AclList,
    pub(super) parent_acl: AclList,
}

/// A transaction that is being executed.
pub(super) struct Transaction<'a> {
    tree: &'a mut Tree,
    stamp: Stamp,
    undo: Vec<Undo>,
    changes: Vec<Change>,
}

/// How one step is taken back.
enum Undo {
    Data(Arc<str>, Kept, Option<Bytes>),
    Insert(Arc<str>, Node, i32),
    Remove(Arc<str>),
    Stat(Arc<str>, Kept),
}

/// The highest time to live: 40 bits of milliseconds.
const MOST_TTL: i64 = 0xff_ffff_ffff;

impl<'a> Transaction<'a> {
    pub(super) fn begin(tree: &'a mut Tree, stamp: Stamp) -> Self {
        Self { tree, stamp, undo: Vec::new(), changes: Vec::new() }
    }

    /// Executes one operation, or does nothing.
    pub(super) fn apply(&mut self, actor: Actor<'_>, write: &Write) -> Result<Answer, Code> {
        match write {
            Write::Check { path, version } => self.check(actor, path, *version).map(|()| Answer::Checked),
            Write::Create(create) => self.create(actor, create),
            Write::Delete { path, version } => self.delete(actor, path, *version).map(|()| Answer::Deleted),
            Write::SetData { path, data, version } => {
                self.set_data(actor, path, data, *version).map(Answer::Stat)
            }
        }
    }

    /// Takes back everything that was done.
    pub(super) fn roll_back(mut self) {
        while let Some(undo) = self.undo.pop() {
            match undo {
                Undo::Data(path, stat, data) => {
                    if let Some(node) = self.tree.nodes.get_mut(&path) {
                        (node.stat, node.data) = (stat, data);
                    }
                }
                Undo::Insert(path, node, place) => self.link(path, node, place),
                Undo::Remove(path) => drop(self.unlink(&path)),
                Undo::Stat(path, stat) => {
                    if let Some(node) = self.tree.nodes.get_mut(&path) {
                        node.stat = stat;
                    }
                }
            }
        }
    }

    /// What was done, in order.
    pub(super) fn commit(self) -> Vec<Change> {
        self.changes
    }

    fn create(&mut self, actor: Actor<'_>, create: &Create) -> Result<Answer, Code> {
        let Create { path, data, acl, flags, form } = create;
        let (sequential, kind) = mode(*flags, *form, actor.session)?;
        let path = path.as_deref().ok_or(Code::Marshalling)?;
        let parent = path::parent(path).filter(|_| !path.contains('\0')).ok_or(Code::BadArguments)?;
        let acl = identity::resolve(acl, actor.ids)?;
        let parent = self.tree.get(parent)?;
        parent.permits(perms::CREATE, actor.ids)?;
        let path: Arc<str> = match sequential {
            true => format!("{path}{:010}", parent.stat.creations).into(),
            false => path.into(),
        };
        if !path::is_valid(&path) {
            return Err(Code::BadArguments);
        }
        if self.tree.nodes.contains_key(&path) {
            return Err(Code::NodeExists);
        }
        if let Kind::Ephemeral(_) = parent.kind {
            return Err(Code::NoChildrenForEphemerals);
        }
        let Stamp { zxid, time } = self.stamp;
        let shared = [&self.tree.open, &parent.acl].into_iter().find(|shared| **shared == acl).cloned();
        let stat =
            Kept { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: time, mtime: time, ..Kept::default() };
        let node =
            Node { data: data.clone(), acl: shared.unwrap_or(acl), kind, stat, children: Children::new() };
        let seen = node.stat();
        self.record(EventKind::Created, &path, node.acl.clone(), parent.acl.clone());
        let place = self.touch_parent(&path, 1);
        self.undo.push(Undo::Remove(path.clone()));
        self.link(path.clone(), node, place);
        match form {
            Form::Plain => Ok(Answer::Created(path.to_string())),
            Form::Container | Form::Ttl(_) | Form::WithStat => {
                Ok(Answer::CreatedWithStat(path.to_string(), seen))
            }
        }
    }

    fn delete(&mut self, actor: Actor<'_>, path: &str, version: i32) -> Result<(), Code> {
        let parent = deletable(path)?;
        self.tree.get(parent)?.permits(perms::DELETE, actor.ids)?;
        let node = self.tree.get(path)?;
        expect(node.stat.version, version)?;
        if !node.children.is_empty() {
            return Err(Code::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    /// Deletes a node as the server does when it has found it to be superfluous: without access control.
    pub(super) fn delete_container(&mut self, path: &str) -> Result<(), Code> {
        deletable(path)?;
        let node = self.tree.get(path)?;
        if !node.children.is_empty() {
            return Err(Code::NotEmpty);
        }
        if let Kind::Ephemeral(_) = node.kind {
            return Err(Code::BadVersion);
        }
        self.remove(path);
        Ok(())
    }

    /// Deletes every node of a session.
    pub(super) fn disown(&mut self, session: i64) {
        for path in self.tree.ephemerals.get(&session).cloned().unwrap_or_default() {
            self.remove(&path);
        }
    }

    fn set_data(
        &mut self,
        actor: Actor<'_>,
        path: &str,
        data: &Option<Bytes>,
        version: i32,
    ) -> Result<Stat, Code> {
        let node = self.permitted(actor, path, perms::WRITE)?;
        expect(node.stat.version, version)?;
        let Stamp { zxid, time } = self.stamp;
        let (path, node) = self.entry(path)?;
        let old = (node.stat, std::mem::replace(&mut node.data, data.clone()));
        node.stat.version = node.stat.version.wrapping_add(1);
        (node.stat.mzxid, node.stat.mtime) = (zxid, time);
        let (stat, acl) = (node.stat(), node.acl.clone());
        self.record(EventKind::DataChanged, &path, acl.clone(), acl);
        self.undo.push(Undo::Data(path, old.0, old.1));
        Ok(stat)
    }

    pub(super) fn set_acl(
        &mut self,
        actor: Actor<'_>,
        path: &str,
        acl: &[AskedEntry],
        version: i32,
    ) -> Result<Stat, Code> {
        if !path::is_valid(path) {
            return Err(Code::BadArguments);
        }
        let acl = identity::resolve(acl, actor.ids)?;
        let node = self.permitted(actor, path, perms::ADMIN)?;
        expect(node.stat.aversion, version)?;
        let (_, node) = self.entry(path)?;
        node.acl = acl;
        node.stat.aversion = node.stat.aversion.wrapping_add(1);
        Ok(node.stat())
    }

    fn check(&self, actor: Actor<'_>, path: &str, version: i32) -> Result<(), Code> {
        expect(self.permitted(actor, path, perms::READ)?.stat.version, version)
    }

    /// The node of a valid path, if the actor has the permission.
    fn permitted(&self, actor: Actor<'_>, path: &str, asked: i32) -> Result<&Node, Code> {
        if !path::is_valid(path) {
            return Err(Code::BadArguments);
        }
        let node = self.tree.get(path)?;
        node.permits(asked, actor.ids)?;
        Ok(node)
    }

    fn entry(&mut self, path: &str) -> Result<(Arc<str>, &mut Node), Code> {
        let (path, _) = self.tree.nodes.get_key_value(key(path)).ok_or(Code::NoNode)?;
        let path = path.clone();
        let node = self.tree.nodes.get_mut(&path).ok_or(Code::NoNode)?;
        Ok((path, node))
    }

    fn remove(&mut self, path: &str) {
        let parent_acl = self
            .tree
            .get(parent_key(path))
            .map_or_else(|_| self.tree.open.clone(), |parent| parent.acl.clone());
        let Some((path, node, place)) = self.unlink(path) else { return };
        self.record(EventKind::Deleted, &path, node.acl.clone(), parent_acl);
        self.undo.push(Undo::Insert(path.clone(), node, place));
        self.touch_parent(&path, 0);
    }

    /// Counts a change among the children of the node's parent, before a creation and after a deletion. What a created child has
    /// for its place is returned.
    fn touch_parent(&mut self, path: &str, creations: i32) -> i32 {
        let zxid = self.stamp.zxid;
        let Ok((parent, node)) = self.entry(parent_key(path)) else { return 0 };
        let old = node.stat;
        node.stat.pzxid = zxid;
        node.stat.creations = node.stat.creations.wrapping_add(creations);
        let most =
            u32::try_from(node.children.len()).unwrap_or(u32::MAX).saturating_add(creations.unsigned_abs());
        node.stat.widest = node.stat.widest.max(most);
        self.undo.push(Undo::Stat(parent, old));
        old.creations
    }

    fn record(&mut self, kind: EventKind, path: &Arc<str>, acl: AclList, parent_acl: AclList) {
        self.changes.push(Change { zxid: self.stamp.zxid, kind, path: path.clone(), acl, parent_acl });
    }

    fn link(&mut self, path: Arc<str>, node: Node, place: i32) {
        if let Kind::Ephemeral(session) = node.kind {
            self.tree.ephemerals.entry(session).or_default().insert(path.clone());
        }
        if let Some(parent) = self.tree.nodes.get_mut(parent_key(&path)) {
            parent.children.insert(path::name(&path).into(), place);
        }
        self.tree.nodes.insert(path, node);
    }

    fn unlink(&mut self, path: &str) -> Option<(Arc<str>, Node, i32)> {
        let (path, node) = self.tree.nodes.remove_entry(path)?;
        let parent = self.tree.nodes.get_mut(parent_key(&path));
        let place = parent.and_then(|parent| parent.children.remove(path::name(&path))).unwrap_or_default();
        if let Kind::Ephemeral(session) = node.kind
            && let Some(owned) = self.tree.ephemerals.get_mut(&session)
        {
            owned.remove(&path);
            if owned.is_empty() {
                self.tree.ephemerals.remove(&session);
            }
        }
        Some((path, node, place))
    }
}

/// Whether the name gets a number, and what becomes of the node by itself.
fn mode(flags: i32, form: Form, session: i64) -> Result<(bool, Kind), Code> {
    let (sequential, ephemeral, mortal) = match flags {
        0 | 4 => (false, false, false),
        1 => (false, true, false),
        2 => (true, false, false),
        3 => (true, true, false),
        5 => (false, false, true),
        6 => (true, false, true),
        _ => return Err(Code::BadArguments),
    };
    // A time to live needs a mode that has one, and that mode needs a time to live. (Apache ZooKeeper ends itself when the time
    // is negative and the mode has none.)
    let kind = match form {
        Form::Ttl(ttl) if mortal && (1..=MOST_TTL).contains(&ttl) => Kind::Ttl(ttl),
        Form::Ttl(_) => return Err(Code::BadArguments),
        _ if mortal => return Err(Code::BadArguments),
        Form::Container => Kind::Container,
        _ if ephemeral => Kind::Ephemeral(session),
        _ => Kind::Persistent,
    };
    Ok((sequential, kind))
}

/// The path of the parent of a node that a request may delete.
fn deletable(path: &str) -> Result<&str, Code> {
    let may = !path.contains('\0') && !path::is_special(path);
    path::parent(path).filter(|_| may).ok_or(Code::BadArguments)
}

fn expect(version: i32, asked: i32) -> Result<(), Code> {
    if asked == -1 || asked == version { Ok(()) } else { Err(Code::BadVersion) }
}
