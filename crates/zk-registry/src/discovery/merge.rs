//! One service of several directories, with the rules beside its instances applied. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::assembly::{Assembly, worst_freshness};
use crate::format::Format;
use crate::format::sealed::{Drain, Rules};
use crate::instance::{InstanceId, ServiceName};
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Contents, Member, Rejected, Snapshot, Zxid};

/// The snapshots of a service's directories, and the instances that they make together.
#[derive(Debug)]
pub(crate) struct Merge {
    service: ServiceName,
    format: Arc<dyn Format>,
    directories: Vec<Snapshot>,
    rules: Arc<[Arc<Rules>]>,
    members: Members,
    revision: u64,
}

impl Merge {
    /// A service of so many directories of which nothing is known.
    pub(crate) fn new(service: &ServiceName, format: Arc<dyn Format>, directories: usize) -> Self {
        Self {
            service: service.clone(),
            format,
            directories: vec![Snapshot::pending(service); directories],
            rules: Arc::default(),
            members: Members::default(),
            revision: 0,
        }
    }

    fn begin_again(&mut self) {
        let ids: BTreeSet<&InstanceId> =
            self.directories.iter().flat_map(Snapshot::instances).map(|member| &member.id).collect();
        self.members = Members::from_sorted(ids.into_iter().filter_map(|id| self.find(id)).collect());
    }

    fn settle(&mut self, id: &InstanceId) {
        match self.find(id) {
            Some(member) => drop(self.members.insert(member)),
            None => drop(self.members.remove(id)),
        }
    }

    /// The instance of this id, as the rules make it. That of an earlier directory counts.
    fn find(&self, id: &InstanceId) -> Option<Arc<Member>> {
        let member = self.directories.iter().find_map(|part| part.get(id))?;
        if self.rules.is_empty() {
            return Some(member.clone());
        }
        let applied = self.format.apply(&self.rules, &member.node_name(), &member.instance);
        Some(applied.map_or_else(
            || member.clone(),
            |instance| Arc::new(Member { instance, ..Member::clone(member) }),
        ))
    }
}

impl Assembly for Merge {
    fn moves(&self) -> bool {
        self.format.carries().drain == Drain::Move
    }

    fn loses(&self, directory: usize, newer: &Snapshot) -> bool {
        let older = self.directories.get(directory);
        older.is_some_and(|older| older.diff(newer).any(|change| matches!(change, Change::Removed(_))))
    }

    fn take_up(&mut self, directory: usize, newer: Snapshot) -> bool {
        let Some(older) = self.directories.get_mut(directory) else { return false };
        if Arc::ptr_eq(&older.0, &newer.0) {
            return false;
        }
        let older = std::mem::replace(older, newer);
        let newer = &self.directories[directory];
        if older.0.rules != newer.0.rules {
            self.rules = self.directories.iter().flat_map(|part| part.0.rules.iter().cloned()).collect();
            self.begin_again();
        } else if older.is_empty() {
            self.begin_again();
        } else {
            let changes: Vec<_> = older.diff(newer).collect();
            for change in changes {
                let (Change::Added(member) | Change::Removed(member) | Change::Updated { new: member, .. }) =
                    change;
                self.settle(&member.id);
            }
        }
        true
    }

    fn snapshot(&mut self) -> Snapshot {
        self.revision += 1;
        let parts = || self.directories.iter();
        let is_lost = |suspect: &&Arc<Member>| self.members.get(&suspect.id).is_none();
        let suspects: BTreeMap<_, _> =
            parts().flat_map(Snapshot::suspects).filter(is_lost).map(|one| (&one.id, one.clone())).collect();
        let mut rejected: Vec<Arc<Rejected>> = parts().flat_map(Snapshot::rejected).cloned().collect();
        rejected.sort_by(|a, b| a.id.cmp(&b.id));
        // A directory that was never there has no point of history to speak of.
        let watermarks = parts().map(Snapshot::watermark).filter(|watermark| *watermark > Zxid(0));
        Snapshot::new(Contents {
            service: self.service.clone(),
            members: self.members.clone(),
            suspects: Members::from_sorted(suspects.into_values().collect()),
            rejected: rejected.into(),
            rules: self.rules.clone(),
            shadows: parts().map(Snapshot::shadows).sum(),
            freshness: worst_freshness(parts()),
            cause: parts().find_map(Snapshot::cause).cloned(),
            revision: self.revision,
            watermark: watermarks.min().unwrap_or_default(),
        })
    }
}
