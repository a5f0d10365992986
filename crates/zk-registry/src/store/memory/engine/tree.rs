//! The znodes: what they are, and what is read of them. What changes them is in `transaction`. No clock, no session.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::identity;
use super::order::{self, Children};
use super::path::{self, key};
use super::record::{AclEntry, AclList, Answer, Code, Id, Stat, perms};

/// The nodes by path.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) nodes: HashMap<Arc<str>, Node>,
    pub(super) ephemerals: BTreeMap<i64, BTreeSet<Arc<str>>>,
    /// The list that nearly every node has, shared by all of them.
    pub(super) open: AclList,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) data: Option<Bytes>,
    pub(super) acl: AclList,
    pub(super) kind: Kind,
    pub(super) stat: Kept,
    pub(super) children: Children,
}

/// What becomes of a node by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It goes once it has lost its last child.
    Container,
    /// It goes with this session.
    Ephemeral(i64),
    Persistent,
    /// It goes when it has no children and was not changed for so many milliseconds.
    Ttl(i64),
}

/// What a node keeps of its [`Stat`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    pub(super) czxid: i64,
    pub(super) mzxid: i64,
    pub(super) pzxid: i64,
    pub(super) ctime: i64,
    pub(super) mtime: i64,
    pub(super) version: i32,
    /// How many children were created. What a client sees of it is computed in [`Node::stat`].
    pub(super) creations: i32,
    /// The most children that there were at once.
    pub(super) widest: u32,
    pub(super) aversion: i32,
}

impl Node {
    pub(super) fn stat(&self) -> Stat {
        let Kept { czxid, mzxid, pzxid, ctime, mtime, version, creations, aversion, .. } = self.stat;
        let children = count(self.children.len());
        Stat {
            czxid,
            mzxid,
            ctime,
            mtime,
            version,
            cversion: creations.wrapping_mul(2).wrapping_sub(children),
            aversion,
            owner: if let Kind::Ephemeral(session) = self.kind { session } else { 0 },
            data_length: count(self.data.as_ref().map_or(0, Bytes::len)),
            children,
            pzxid,
        }
    }

    pub(super) fn permits(&self, asked: i32, ids: &[Id]) -> Result<(), Code> {
        if identity::permits(&self.acl, asked, ids) { Ok(()) } else { Err(Code::NoAuth) }
    }
}

impl Tree {
    /// The nodes of an empty server.
    pub(super) fn new() -> Self {
        let mut tree = Self { nodes: HashMap::new(), ephemerals: BTreeMap::new(), open: identity::open() };
        let readable: AclList = Arc::new([AclEntry { perms: perms::READ, id: Id::new("world", "anyone") }]);
        for (path, names) in [
            ("/", &["zookeeper"][..]),
            ("/zookeeper", &["quota", "config"]),
            ("/zookeeper/config", &[]),
            ("/zookeeper/quota", &[]),
        ] {
            let acl = if path.ends_with("config") { readable.clone() } else { tree.open.clone() };
            // Older than whatever is created, which is counted from 0.
            let children = names.iter().map(|name| Box::from(*name)).zip(i32::MIN..).collect();
            // A server has the list of its configuration set as one that was never changed.
            let aversion = if path.ends_with("config") { -1 } else { 0 };
            let node = Node {
                data: Some(Bytes::new()),
                acl,
                kind: Kind::Persistent,
                stat: Kept { aversion, ..Kept::default() },
                children,
            };
            tree.nodes.insert(path.into(), node);
        }
        tree
    }

    pub(super) fn get(&self, path: &str) -> Result<&Node, Code> {
        self.nodes.get(key(path)).ok_or(Code::NoNode)
    }

    fn readable(&self, path: &str, ids: &[Id]) -> Result<&Node, Code> {
        let node = self.get(path)?;
        node.permits(perms::READ, ids)?;
        Ok(node)
    }

    pub(super) fn exists(&self, path: &str, ids: &[Id]) -> Result<Stat, Code> {
        if path.contains('\0') {
            return Err(Code::BadArguments);
        }
        self.readable(path, ids).map(Node::stat)
    }

    pub(super) fn data(&self, path: &str, ids: &[Id]) -> Result<Answer, Code> {
        let node = self.readable(path, ids)?;
        Ok(Answer::Data(node.data.clone(), node.stat()))
    }

    pub(super) fn children(&self, path: &str, ids: &[Id]) -> Result<(Vec<String>, Stat), Code> {
        let node = self.readable(path, ids)?;
        Ok((order::listed(&node.children, node.stat.widest), node.stat()))
    }

    pub(super) fn acl(&self, path: &str, ids: &[Id]) -> Result<Answer, Code> {
        let node = self.get(path)?;
        node.permits(perms::READ | perms::ADMIN, ids)?;
        let acl = match node.permits(perms::ADMIN, ids) {
            Ok(()) => node.acl.to_vec(),
            Err(_) => identity::masked(&node.acl),
        };
        Ok(Answer::Acl(acl, node.stat()))
    }

    pub(super) fn all_children_number(&self, path: &str, ids: &[Id]) -> Result<Answer, Code> {
        self.readable(path, ids)?;
        let below = match path {
            "/" => self.nodes.len() - 1,
            // The name of the root that is empty has the other one below it.
            "" => self.nodes.len(),
            path => self
                .nodes
                .keys()
                .filter(|key| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
                .count(),
        };
        Ok(Answer::Number(count(below)))
    }

    /// The nodes of a session, of those whose path begins with this text.
    pub(super) fn ephemerals(&self, session: i64, prefix: &str) -> Vec<String> {
        let all = matches!(prefix.trim(), "" | "/");
        let owned = self.ephemerals.get(&session).into_iter().flatten();
        owned.filter(|path| all || path.starts_with(prefix)).map(|path| path.to_string()).collect()
    }

    /// Whether the server removes this container: it has had children, and has none.
    pub(super) fn is_abandoned(&self, path: &str) -> bool {
        self.nodes.get(path).is_some_and(|node| {
            node.kind == Kind::Container && node.stat.creations > 0 && node.children.is_empty()
        })
    }

    /// When a node with a time to live goes, as the last change has it, in milliseconds since the Unix epoch.
    pub(super) fn dies_at(&self, path: &str) -> Option<i64> {
        let node = self.nodes.get(path)?;
        if let Kind::Ttl(ttl) = node.kind { Some(node.stat.mtime.saturating_add(ttl)) } else { None }
    }
}

/// A number of things as the protocol has it.
pub(super) fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The path of a node's parent as the tree keeps it.
pub(super) fn parent_key(path: &str) -> &str {
    key(path::parent(path).unwrap_or_default())
}
