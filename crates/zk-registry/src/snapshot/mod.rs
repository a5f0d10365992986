//! What a service looked like at one point of ZooKeeper's history: an immutable value, cheap to clone.
//!
//! A snapshot never changes; a newer one replaces it. Losing ZooKeeper changes its [`Freshness`] and nothing else.

mod member;
pub(crate) mod members;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

pub use self::member::{Change, Incarnation, Member, Zxid};
use self::members::Members;
use crate::error::Error;
use crate::format::sealed::Rules;
use crate::instance::{Instance, InstanceId, ServiceName};

/// How much a snapshot may be trusted to be current.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Freshness {
    /// Read from a snapshot file; ZooKeeper has not been heard yet.
    Disk {
        /// When the file was written.
        written: SystemTime,
    },
    /// The server was heard within 1.125 connection timeouts, and no read of a change has waited longer than one. A
    /// connection timeout is a fifth of the session timeout, at least a second.
    /// Where the background thread does not run, [`ServiceWatch::freshness`](crate::ServiceWatch::freshness) notices half a
    /// connection timeout later.
    Live,
    /// Nothing is known yet.
    Pending,
    /// ZooKeeper is not heard, does not answer, or does not let us read what changed; this is what it said last. A service of
    /// more than 500 instances is `Stale` for up to a quarter of the session timeout after a reconnect, too: its readers read it
    /// again at moments of their own.
    Stale {
        /// Up to when the contents are known to have been true.
        since: Instant,
    },
}

impl Freshness {
    /// One word for it: `disk`, `live`, `pending` or `stale`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disk { .. } => "disk",
            Self::Live => "live",
            Self::Pending => "pending",
            Self::Stale { .. } => "stale",
        }
    }
}

/// A node under the service that is no usable instance, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rejected {
    /// The node's name.
    pub id: String,
    /// Why it was rejected, for a person to read.
    pub reason: String,
}

/// One service at one point of ZooKeeper's history. Clones share everything.
#[derive(Clone, Debug)]
pub struct Snapshot(pub(crate) Arc<Contents>);

#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) service: ServiceName,
    pub(crate) members: Members,
    pub(crate) suspects: Members,
    pub(crate) rejected: Arc<[Arc<Rejected>]>,
    /// What operators say from beside the instances, in the order of their nodes' names; not applied yet.
    pub(crate) rules: Arc<[Arc<Rules>]>,
    /// Nodes that claim the id of another one.
    pub(crate) shadows: usize,
    pub(crate) freshness: Freshness,
    /// Why the service cannot be read, if ZooKeeper said so.
    pub(crate) cause: Option<Error>,
    pub(crate) revision: u64,
    pub(crate) watermark: Zxid,
}

impl Snapshot {
    pub(crate) fn new(contents: Contents) -> Self {
        Self(Arc::new(contents))
    }

    /// A snapshot of these instances, [`Freshness::Live`], with revision 1 and watermark 0, every instance in its first
    /// life: for tests, and for implementations of [`Resolve`](crate::Resolve). Of several with one id the last one counts;
    /// instances without a usable id are left out.
    pub fn fixed(service: &ServiceName, instances: impl IntoIterator<Item = Instance>) -> Self {
        let members: std::collections::BTreeMap<InstanceId, Arc<Member>> = instances
            .into_iter()
            .filter_map(|instance| {
                let id = instance.id().ok()?;
                let incarnation = Incarnation::from(0);
                let (created, modified) = (Zxid(0), Zxid(0));
                let member = Member {
                    id: id.clone(),
                    node: None,
                    instance,
                    format: None,
                    incarnation,
                    session: 0,
                    created,
                    modified,
                    ctime: 0,
                };
                Some((id, Arc::new(member)))
            })
            .collect();
        Self::new(Contents {
            service: service.clone(),
            members: Members::from_sorted(members.into_values().collect()),
            suspects: Members::default(),
            rejected: Arc::default(),
            rules: Arc::default(),
            shadows: 0,
            freshness: Freshness::Live,
            cause: None,
            revision: 1,
            watermark: Zxid(0),
        })
    }

    /// Nothing is known yet: what a watch begins with.
    pub fn pending(service: &ServiceName) -> Self {
        Self::new(Contents {
            service: service.clone(),
            members: Members::default(),
            suspects: Members::default(),
            rejected: Arc::default(),
            rules: Arc::default(),
            shadows: 0,
            freshness: Freshness::Pending,
            cause: None,
            revision: 0,
            watermark: Zxid(0),
        })
    }

    /// The same contents, trusted so far.
    #[must_use]
    pub fn with_freshness(mut self, freshness: Freshness) -> Self {
        Arc::make_mut(&mut self.0).freshness = freshness;
        self
    }

    /// The same contents, with the reason why the service cannot be read.
    #[must_use]
    pub fn with_cause(mut self, cause: Error) -> Self {
        Arc::make_mut(&mut self.0).cause = Some(cause);
        self
    }

    /// The same contents, as this publication of the view.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        Arc::make_mut(&mut self.0).revision = revision;
        self
    }

    /// The same contents, as of this point of a history.
    #[must_use]
    pub fn with_watermark(mut self, watermark: Zxid) -> Self {
        Arc::make_mut(&mut self.0).watermark = watermark;
        self
    }

    /// The same contents with that instance, if it is listed, in this life: a balancer forgets what it learned of another life of
    /// it starts clean.
    #[must_use]
    pub fn with_incarnation(mut self, id: &InstanceId, incarnation: Incarnation) -> Self {
        let contents = Arc::make_mut(&mut self.0);
        if let Some(member) = contents.members.get(id) {
            let member = Member { incarnation, ..Member::clone(member) };
            contents.members.insert(Arc::new(member));
        }
        self
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.0.service
    }

    /// The instances, sorted by id: those of the [`watermark`](Self::watermark), changed by what is known of later.
    pub fn instances(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> + Clone {
        self.0.members.iter()
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.0.members.len()
    }

    /// Whether there is no instance.
    pub fn is_empty(&self) -> bool {
        self.0.members.len() == 0
    }

    /// The instance of that id.
    pub fn get(&self, id: &InstanceId) -> Option<&Arc<Member>> {
        self.0.members.get(id)
    }

    /// What happened between this snapshot and a `newer` one of the same service, in the order of the ids. Costs little
    /// when little changed.
    pub fn diff(&self, newer: &Self) -> impl Iterator<Item = Change> + use<> {
        self.0.members.diff(&newer.0.members).into_iter()
    }

    /// Instances that vanished in a mass disappearance and may still be alive, sorted by id: at least three sessions, and
    /// at least half of all, ended within 2 seconds, and these had not drained. They are kept for two session timeouts. Use
    /// them only when nothing else is left.
    pub fn suspects(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> + Clone {
        self.0.suspects.iter()
    }

    /// Nodes under the service that are no usable instance, sorted by id. An instance whose record has become larger than
    /// 256 KiB stands here too, and among the [`instances`](Self::instances) with its last good record.
    pub fn rejected(&self) -> &[Arc<Rejected>] {
        &self.0.rejected
    }

    /// How many nodes claim the id of an instance whose node is younger: what a crashed process left, as a rule. They are neither
    /// instances nor rejected. Formats whose node names are the ids have none.
    pub fn shadows(&self) -> usize {
        self.0.shadows
    }

    /// How much this may be trusted to be current, as of its publication.
    pub fn freshness(&self) -> Freshness {
        self.0.freshness
    }

    /// Why the snapshot is not [`Freshness::Live`], where ZooKeeper or the registry said so: the service may not be listed, say,
    /// or no server takes our credentials. `None` for a live snapshot, and while ZooKeeper is merely not heard:
    /// [`Registry::connection`](crate::Registry::connection) tells of that. It is tried on, unless the watch has ended.
    pub fn cause(&self) -> Option<&Error> {
        self.0.cause.as_ref()
    }

    /// Counts the publications of this view, from 1; 0 is the pending snapshot before the first.
    pub fn revision(&self) -> u64 {
        self.0.revision
    }

    /// Every change up to this point is in here; later ones may be. A snapshot of a service that was left alone for a moment
    /// is exact.
    pub fn watermark(&self) -> Zxid {
        self.0.watermark
    }
}
