//! One listed instance with what ZooKeeper knows of its node, and how two lists of them differ.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
#[derive(Clone, Debug)]
pub struct Member {
    pub(crate) id: InstanceId,
    /// The name of its node, where that is not the id.
    pub(crate) node: Option<NodeName>,
    pub(crate) instance: Instance,
    /// The word of the format that it was read with.
    pub(crate) format: Option<&'static str>,
    pub(crate) incarnation: Incarnation,
    pub(crate) session: i64,
    pub(crate) created: Zxid,
    pub(crate) modified: Zxid,
    /// When its node was created, in milliseconds since the Unix epoch; 0 where that is not known.
    pub(crate) ctime: i64,
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

    /// The word of the format that it was read with; `None` for a member of another resolver than a registry.
    pub fn format(&self) -> Option<&'static str> {
        self.format
    }

    /// Which life of the instance this is.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The write that created the node.
    pub fn created(&self) -> Zxid {
        self.created
    }

    /// When the node was created, by the clock of the ensemble's leader. `None` for a member that was read from a snapshot file, or that
    /// no ZooKeeper told of.
    pub fn created_at(&self) -> Option<SystemTime> {
        let since = u64::try_from(self.ctime).ok().filter(|since| *since > 0)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since))
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

/// The time of the creation is left out: the write that created the node stands for it, and a snapshot file does not have it.
impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, node, instance, format, incarnation, session, created, modified, ctime: _ } = self;
        (id, node, incarnation, session, created, modified)
            == (&other.id, &other.node, &other.incarnation, &other.session, &other.created, &other.modified)
            && *format == other.format
            && *instance == other.instance
    }
}

impl Eq for Member {}

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
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Incarnation {
    // Two halves, because a `u128` is aligned to 16 bytes, which would make every member larger.
    high: u64,
    low: u64,
}

impl Incarnation {
    pub(crate) fn as_u128(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }
}

impl From<u128> for Incarnation {
    fn from(life: u128) -> Self {
        Self { high: (life >> 64) as u64, low: life as u64 }
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Incarnation").field(&self.as_u128()).finish()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred thousand of them are kept; `make bench ONLY=view` has the bytes of one with all that belongs to it.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_member_is_small() {
        assert!(size_of::<Member>() <= 152, "{}", size_of::<Member>());
    }

    #[test]
    fn the_time_of_creation_is_told_where_it_is_known_and_is_no_difference() {
        let member = |ctime| {
            let (instance, id) = (Instance::new("h", 1), "h:1".parse().unwrap());
            let (created, modified) = (Zxid(1), Zxid(1));
            Member {
                id,
                node: None,
                instance,
                format: None,
                incarnation: Incarnation::from(0),
                session: 0,
                created,
                modified,
                ctime,
            }
        };
        let since_epoch =
            |ctime| Some(member(ctime).created_at()?.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        assert_eq!(since_epoch(1_500), Some(Duration::from_millis(1_500)));
        assert_eq!([since_epoch(0), since_epoch(i64::MIN)], [None, None]);
        assert!(member(i64::MAX).created_at().is_none_or(|at| at > SystemTime::UNIX_EPOCH));
        assert_eq!(member(0), member(1));
        assert_ne!(member(0), Member { created: Zxid(2), ..member(0) });
    }
}
