//! One look of a reader at a watch, and what a guarantee makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use zk_registry::{Freshness, Snapshot, Zxid};

use crate::soak::ledger::Expected;

/// Everything that a reader sees at one look.
#[derive(Clone, Debug)]
pub(in crate::soak) struct Seen {
    pub(in crate::soak) revision: u64,
    pub(in crate::soak) watermark: Zxid,
    /// As published.
    pub(in crate::soak) freshness: Freshness,
    /// Whether it is live, judged at the look.
    pub(in crate::soak) trust: Trust,
    /// The ids as they are listed, each with the writes that created and changed it.
    pub(in crate::soak) instances: Vec<(String, Zxid, Zxid)>,
    /// The ids of rejected nodes and of suspects.
    pub(in crate::soak) others: Vec<String>,
    /// What it was made from.
    pub(in crate::soak) snapshot: Snapshot,
}

/// Whether a reader may believe what it sees to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::soak) enum Trust {
    Live,
    Not,
}

impl Seen {
    /// `judged` is the freshness at the look.
    pub(in crate::soak) fn new(snapshot: &Snapshot, judged: Freshness) -> Self {
        let rejected = snapshot.rejected().iter().map(|one| format!("{}: {}", one.id, one.reason));
        let suspects = snapshot.suspects().map(|one| one.id().to_string());
        Self {
            revision: snapshot.revision(),
            watermark: snapshot.watermark(),
            freshness: snapshot.freshness(),
            trust: if judged == Freshness::Live { Trust::Live } else { Trust::Not },
            instances: instances(snapshot),
            others: rejected.chain(suspects).collect(),
            snapshot: snapshot.clone(),
        }
    }

    pub(in crate::soak) fn modified(&self, id: &str) -> Option<Zxid> {
        let at = self.instances.binary_search_by(|(other, ..)| other.as_str().cmp(id)).ok()?;
        Some(self.instances[at].2)
    }
}

pub(super) fn instances(snapshot: &Snapshot) -> Vec<(String, Zxid, Zxid)> {
    snapshot.instances().map(|one| (one.id().to_string(), one.created(), one.modified())).collect()
}

/// One look of a reader.
pub(in crate::soak) struct Look<'a> {
    /// The look before it.
    pub(in crate::soak) before: Option<&'a Seen>,
    pub(in crate::soak) now: &'a Seen,
    /// What should be listed, as known after the look.
    pub(in crate::soak) expected: &'a Expected,
}

impl Look<'_> {
    /// The look before, if another snapshot was seen at it.
    pub(super) fn news(&self) -> Option<&Seen> {
        self.before.filter(|before| before.revision != self.now.revision)
    }
}

/// The worst cases that guarantees with a bound saw.
pub(in crate::soak) type Worst = BTreeMap<&'static str, Duration>;

/// One guarantee, checked at every look.
pub(super) trait Guarantee: Send {
    /// What it has seen to be wrong.
    fn check(&mut self, look: &Look<'_>, worst: &mut Worst) -> Result<(), String>;
}
