//! The znodes: what a transaction does to them, or why it is refused. No clock, no session, no network.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use bytes::Bytes;

use super::super::{Fault, Kind, Node, Op, Stat};
use crate::options::Acl;

/// Who asks: nobody, or a user of this name.
pub(super) type Identity = Option<String>;

/// The nodes by path, and the number of the last transaction.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Znode>,
    zxid: i64,
}

#[derive(Clone, Debug)]
struct Znode {
    node: Node,
    kind: Kind,
    acl: Acl,
    creator: Identity,
}

/// A path that changed, and who may hear of it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) path: String,
    acl: Acl,
    creator: Identity,
}

impl Change {
    pub(super) fn readable_by(&self, who: &Identity) -> bool {
        self.acl != Acl::Creator || self.creator == *who
    }
}

/// What a transaction did.
#[derive(Debug)]
pub(super) struct Applied {
    /// Of each operation; none of a delete.
    pub(super) stats: Vec<Option<Stat>>,
    /// In order.
    pub(super) changes: Vec<Change>,
}

/// Who does it: an identity, within a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actor<'a> {
    pub(super) session: i64,
    pub(super) identity: &'a Identity,
}

impl Znode {
    fn readable_by(&self, who: &Identity) -> bool {
        self.acl != Acl::Creator || self.creator == *who
    }

    fn writable_by(&self, who: &Identity) -> bool {
        self.acl == Acl::Open || self.creator == *who
    }

    fn change(&self, path: &str) -> Change {
        Change { path: path.to_owned(), acl: self.acl, creator: self.creator.clone() }
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Znode {
            node: Node { data: Bytes::new(), stat: Stat::default() },
            kind: Kind::Persistent,
            acl: Acl::Open,
            creator: None,
        };
        Self { nodes: BTreeMap::from([("/".to_owned(), root)]), zxid: 0 }
    }

    /// A transaction that changes no node, such as the start of a session.
    pub(super) fn tick(&mut self) -> i64 {
        self.zxid += 1;
        self.zxid
    }

    /// All operations or none; then the index of the first that is refused.
    pub(super) fn apply(&mut self, actor: Actor<'_>, ops: &[Op]) -> Result<Applied, (usize, Fault)> {
        let mut transaction =
            Transaction { zxid: self.zxid + 1, tree: self, undo: Vec::new(), changes: Vec::new() };
        let mut stats = Vec::with_capacity(ops.len());
        for (index, op) in ops.iter().enumerate() {
            match transaction.apply(actor, op) {
                Ok(stat) => stats.push(stat),
                Err(fault) => {
                    transaction.roll_back();
                    return Err((index, fault));
                }
            }
        }
        let changes = transaction.changes;
        self.zxid += 1;
        Ok(Applied { stats, changes })
    }

    pub(super) fn read(&self, who: &Identity, path: &str) -> Result<Node, Fault> {
        let znode = self.nodes.get(path).ok_or(Fault::NoNode)?;
        if znode.readable_by(who) { Ok(znode.node.clone()) } else { Err(Fault::NoAuth) }
    }

    pub(super) fn acl(&self, who: &Identity, path: &str) -> Result<Acl, Fault> {
        let znode = self.nodes.get(path).ok_or(Fault::NoNode)?;
        if znode.readable_by(who) { Ok(znode.acl) } else { Err(Fault::NoAuth) }
    }

    pub(super) fn list(&self, who: &Identity, path: &str) -> Result<(Vec<String>, Stat), Fault> {
        let znode = self.nodes.get(path).ok_or(Fault::NoNode)?;
        if !znode.readable_by(who) {
            return Err(Fault::NoAuth);
        }
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let names = self
            .nodes
            .range::<str, _>((Excluded(prefix.as_str()), Unbounded))
            .map_while(|(path, _)| path.strip_prefix(&prefix))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect();
        Ok((names, znode.node.stat))
    }

    /// The nodes that a session owns.
    pub(super) fn owned(&self, session: i64) -> BTreeSet<String> {
        self.nodes
            .iter()
            .filter(|(_, znode)| znode.kind == Kind::Ephemeral && znode.node.stat.owner == session)
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Deletes what a session owns, in one transaction.
    pub(super) fn disown(&mut self, session: i64) -> Vec<Change> {
        let owned = self.owned(session);
        let mut transaction =
            Transaction { zxid: self.tick(), tree: self, undo: Vec::new(), changes: Vec::new() };
        for path in owned {
            transaction.remove(&path);
        }
        transaction.changes
    }

    /// Whether the server would remove this container: it had children and has none.
    pub(super) fn is_abandoned(&self, path: &str) -> bool {
        self.nodes.get(path).is_some_and(|znode| {
            let stat = znode.node.stat;
            znode.kind == Kind::Container && stat.children == 0 && stat.pzxid != stat.czxid
        })
    }

    pub(super) fn remove_container(&mut self, path: &str) -> Vec<Change> {
        let mut transaction =
            Transaction { zxid: self.tick(), tree: self, undo: Vec::new(), changes: Vec::new() };
        transaction.remove(path);
        transaction.changes
    }

    /// Everything, whoever may read it.
    pub(super) fn dump(&self) -> BTreeMap<String, Node> {
        self.nodes.iter().map(|(path, znode)| (path.clone(), znode.node.clone())).collect()
    }
}

struct Transaction<'a> {
    tree: &'a mut Tree,
    zxid: i64,
    undo: Vec<(String, Option<Znode>)>,
    changes: Vec<Change>,
}

impl Transaction<'_> {
    fn apply(&mut self, actor: Actor<'_>, op: &Op) -> Result<Option<Stat>, Fault> {
        match op {
            Op::Create { path, data, kind, acl } => self.create(actor, path, data, *kind, *acl).map(Some),
            Op::Delete { path, version } => self.delete(actor, path, *version).map(|()| None),
            Op::Set { path, data, version } => self.set(actor, path, data, *version).map(Some),
        }
    }

    fn create(
        &mut self,
        actor: Actor<'_>,
        path: &str,
        data: &Bytes,
        kind: Kind,
        acl: Acl,
    ) -> Result<Stat, Fault> {
        if acl != Acl::Open && actor.identity.is_none() {
            return Err(Fault::InvalidAcl);
        }
        let parent = self.tree.nodes.get(parent(path)).ok_or(Fault::NoNode)?;
        if !parent.writable_by(actor.identity) {
            return Err(Fault::NoAuth);
        }
        if self.tree.nodes.contains_key(path) {
            return Err(Fault::NodeExists);
        }
        if parent.kind == Kind::Ephemeral {
            return Err(Fault::NoChildrenForEphemerals);
        }
        let zxid = self.zxid;
        let owner = if kind == Kind::Ephemeral { actor.session } else { 0 };
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, version: 0, children: 0, owner };
        let node = Node { data: data.clone(), stat };
        let znode = Znode { node, kind, acl, creator: actor.identity.clone() };
        self.changes.push(znode.change(path));
        self.put(path, Some(znode));
        self.touch_parent(path, |children| children + 1);
        Ok(stat)
    }

    fn set(
        &mut self,
        actor: Actor<'_>,
        path: &str,
        data: &Bytes,
        version: Option<i32>,
    ) -> Result<Stat, Fault> {
        let mut znode = self.tree.nodes.get(path).ok_or(Fault::NoNode)?.clone();
        if !znode.writable_by(actor.identity) {
            return Err(Fault::NoAuth);
        }
        check(&znode, version)?;
        znode.node.data = data.clone();
        znode.node.stat.version += 1;
        znode.node.stat.mzxid = self.zxid;
        let stat = znode.node.stat;
        self.changes.push(znode.change(path));
        self.put(path, Some(znode));
        Ok(stat)
    }

    fn delete(&mut self, actor: Actor<'_>, path: &str, version: Option<i32>) -> Result<(), Fault> {
        let parent = self.tree.nodes.get(parent(path)).ok_or(Fault::NoNode)?;
        if !parent.writable_by(actor.identity) {
            return Err(Fault::NoAuth);
        }
        let znode = self.tree.nodes.get(path).ok_or(Fault::NoNode)?;
        check(znode, version)?;
        if znode.node.stat.children > 0 {
            return Err(Fault::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let Some(znode) = self.put(path, None) else { return };
        self.changes.push(znode.change(path));
        self.touch_parent(path, |children| children - 1);
    }

    fn touch_parent(&mut self, path: &str, children: impl FnOnce(u32) -> u32) {
        let parent = parent(path);
        let Some(mut znode) = self.tree.nodes.get(parent).cloned() else { return };
        znode.node.stat.pzxid = self.zxid;
        znode.node.stat.children = children(znode.node.stat.children);
        self.put(parent, Some(znode));
    }

    /// Replaces a node, remembers the old one for a roll-back, and returns it.
    fn put(&mut self, path: &str, znode: Option<Znode>) -> Option<Znode> {
        let old = match znode {
            Some(znode) => self.tree.nodes.insert(path.to_owned(), znode),
            None => self.tree.nodes.remove(path),
        };
        self.undo.push((path.to_owned(), old.clone()));
        old
    }

    fn roll_back(mut self) {
        while let Some((path, old)) = self.undo.pop() {
            match old {
                Some(znode) => self.tree.nodes.insert(path, znode),
                None => self.tree.nodes.remove(&path),
            };
        }
    }
}

fn check(znode: &Znode, version: Option<i32>) -> Result<(), Fault> {
    match version {
        Some(version) if version != znode.node.stat.version => Err(Fault::BadVersion),
        _ => Ok(()),
    }
}

/// The path of the parent; the root is its own.
pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}
