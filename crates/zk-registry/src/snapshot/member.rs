//! One listed instance with what ZooKeeper knows of its node, and how two lists of them differ.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::instance::{Instance, InstanceId, NodeName};

/// A point in ZooKeeper's history: every write has a larger one than all writes before it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Zxid(pub i64);

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// One listed instance with what ZooKeeper knows of its node. Derefs to the [`Instance`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Member {
    pub(crate) id: InstanceId,
    /// The name of its node, where that is not the id.
    pub(crate) node: Option<NodeName>,
    pub(crate) instance: Instance,
    pub(crate) incarnation: Incarnation,
    pub(crate) session: i64,
    pub(crate) created: Zxid,
    pub(crate) modified: Zxid,
}

impl Member {
    /// The name of its node.
    pub(crate) fn node_name(&self) -> NodeName {
        self.node.clone().unwrap_or_else(|| self.id.clone().into())
    }

    /// Whether its node has this name.
    pub(crate) fn is_node(&self, name: &str) -> bool {
        self.node.as_ref().map_or(self.id.as_str(), NodeName::as_str) == name
    }

    /// The id: the node's name, or, where that is something else, the address.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Which life of the instance this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The write that created the node.
    pub fn created(&self) -> Zxid {
        self.created
    }

    /// The write that last changed the node's data.
    pub fn modified(&self) -> Zxid {
        self.modified
    }

    /// The session that owns the node; 0 for a persistent node.
    pub fn session(&self) -> i64 {
        self.session
    }
}

impl Deref for Member {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

/// Which life of an instance this is: the same process registered again has the same one, a restarted process another.
///
/// It is the uuid in the record, or, in a record without one, the zxid that created the node. Other resolvers make one
/// [`From`] whatever tells two lives of an instance apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Incarnation(pub(crate) u128);

impl From<u128> for Incarnation {
    fn from(life: u128) -> Self {
        Self(life)
    }
}

/// One difference between two snapshots of a service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// An instance came.
    Added(Arc<Member>),
    /// An instance went.
    Removed(Arc<Member>),
    /// The node was written, or deleted and created again.
    Updated {
        /// As it was.
        old: Arc<Member>,
        /// As it is.
        new: Arc<Member>,
    },
}
