//! One service of several sources, each with a format of its own: instances of one address are one. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::sync::Arc;

use crate::discovery::assembly::{Assembly, worst_freshness};
use crate::instance::{Attributes, Instance, InstanceId, ServiceName, Status};
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Contents, Member, Rejected, Snapshot};

/// The weight of an instance of ours with weight 1, whatever the formats.
const UNIT: u32 = 100;

/// The snapshots of a service's sources, and the instances that they make together.
#[derive(Debug)]
pub(crate) struct Join {
    service: ServiceName,
    sources: Vec<Part>,
    members: Members,
    shown: BTreeMap<Address, Shown>,
    hidden: usize,
    revision: u64,
}

/// One source.
#[derive(Debug)]
struct Part {
    /// The weight that one of ours stands for.
    unit: u16,
    snapshot: Snapshot,
    at: BTreeMap<Address, BTreeSet<InstanceId>>,
}

/// What sources tell an instance by: host and port, or the TLS port where there is no other.
type Address = String;

/// The members of one address.
#[derive(Debug, Default)]
struct Shown {
    ids: Vec<InstanceId>,
    /// How many have no id that is free.
    hidden: usize,
}

impl Join {
    /// A service of sources with these units of weight, of which nothing is known. That of an earlier source counts more.
    pub(crate) fn new(service: &ServiceName, units: impl IntoIterator<Item = u16>) -> Self {
        let part =
            |unit: u16| Part { unit: unit.max(1), snapshot: Snapshot::pending(service), at: BTreeMap::new() };
        Self {
            service: service.clone(),
            sources: units.into_iter().map(part).collect(),
            members: Members::default(),
            shown: BTreeMap::new(),
            hidden: 0,
            revision: 0,
        }
    }

    /// Makes the members of these addresses what the sources say now. All of them go first: an id may be another address's now.
    fn settle(&mut self, addresses: &BTreeSet<Address>) {
        for Shown { ids, hidden } in addresses.iter().filter_map(|address| self.shown.remove(address)) {
            ids.iter().for_each(|id| drop(self.members.remove(id)));
            self.hidden -= hidden;
        }
        for address in addresses {
            let (members, hidden) = self.members_of(address);
            if members.is_empty() && hidden == 0 {
                continue;
            }
            let shown = Shown { ids: members.iter().map(|member| member.id.clone()).collect(), hidden };
            self.shown.insert(address.clone(), shown);
            self.hidden += hidden;
            members.into_iter().for_each(|member| drop(self.members.insert(member)));
        }
    }

    /// The members of an address, and how many more there are whose id is another one's.
    fn members_of(&self, address: &str) -> (Vec<Arc<Member>>, usize) {
        let is_there = |part: &Part| part.at.contains_key(address);
        let Some(first) = self.sources.iter().position(is_there) else { return (Vec::new(), 0) };
        let (mut members, mut hidden) = (Vec::new(), 0);
        let mut as_address = self.free_id(address);
        for member in self.sources[first].members(address) {
            let is_taken =
                self.sources[..first].iter().any(|earlier| earlier.snapshot.get(&member.id).is_some());
            let id = if is_taken { as_address.take() } else { Some(member.id.clone()) };
            match id {
                Some(id) => members.push(self.joined(first, member, id, address)),
                None => hidden += 1,
            }
        }
        (members, hidden)
    }

    /// The address as an id, unless it is somebody's already.
    fn free_id(&self, address: &str) -> Option<InstanceId> {
        let id: InstanceId = address.parse().ok()?;
        self.sources.iter().all(|part| part.snapshot.get(&id).is_none()).then_some(id)
    }

    /// A member of the source `of` as all sources state it.
    fn joined(&self, of: usize, member: &Arc<Member>, id: InstanceId, address: &str) -> Arc<Member> {
        let others = self.sources.iter().enumerate().filter(|(source, _)| *source != of);
        let drains = others
            .flat_map(|(_, part)| part.members(address))
            .any(|other| other.status() == Status::Draining);
        let status = if drains { Status::Draining } else { member.status() };
        let weight = scaled(member.weight(), self.sources[of].unit);
        if id == member.id && status == member.status() && weight == member.weight() {
            return member.clone();
        }
        let attributes = Attributes { status, weight, ..member.attributes().clone() };
        let instance = member.instance.clone().with_id(id.clone()).with_attributes(attributes);
        Arc::new(Member { id, node: Some(member.node_name()), instance, ..Member::clone(member) })
    }
}

impl Assembly for Join {
    /// A fleet that moves to another format leaves one source and stands in the other.
    fn moves(&self) -> bool {
        true
    }

    fn loses(&self, source: usize, newer: &Snapshot) -> bool {
        let Some(part) = self.sources.get(source) else { return false };
        let stays = |address: &str| {
            self.sources.iter().enumerate().any(|(n, other)| n != source && other.at.contains_key(address))
        };
        let is_lost = |change: Change| matches!(change, Change::Removed(member) if !stays(&address(&member)));
        part.snapshot.diff(newer).any(is_lost)
    }

    fn take_up(&mut self, source: usize, newer: Snapshot) -> bool {
        let Some(part) = self.sources.get_mut(source) else { return false };
        if Arc::ptr_eq(&part.snapshot.0, &newer.0) {
            return false;
        }
        let changes: Vec<Change> = part.snapshot.diff(&newer).collect();
        part.snapshot = newer;
        let mut touched: BTreeSet<Address> = BTreeSet::new();
        for change in &changes {
            let (old, new) = match change {
                Change::Added(new) => (None, Some(new)),
                Change::Removed(old) => (Some(old), None),
                Change::Updated { old, new } => (Some(old), Some(new)),
            };
            if let Some(old) = old {
                part.leaves(&address(old), &old.id);
                touched.insert(address(old));
            }
            if let Some(new) = new {
                part.at.entry(address(new)).or_default().insert(new.id.clone());
                touched.insert(address(new));
            }
        }
        // Who has an id decides what those are called that another source gives the same one.
        for change in &changes {
            let (Change::Added(member) | Change::Removed(member) | Change::Updated { new: member, .. }) =
                change;
            touched.insert(member.id.to_string());
            let namesakes = self.sources.iter().filter_map(|part| part.snapshot.get(&member.id));
            touched.extend(namesakes.map(|member| address(member)));
        }
        self.settle(&touched);
        true
    }

    fn snapshot(&mut self) -> Snapshot {
        self.revision += 1;
        let parts = || self.sources.iter().map(|part| &part.snapshot);
        let is_lost = |suspect: &&Arc<Member>| {
            !self.shown.contains_key(&address(suspect)) && self.members.get(&suspect.id).is_none()
        };
        let suspects: BTreeMap<_, _> =
            parts().flat_map(Snapshot::suspects).filter(is_lost).map(|one| (&one.id, one.clone())).collect();
        let mut rejected: Vec<Arc<Rejected>> = parts().flat_map(Snapshot::rejected).cloned().collect();
        rejected.sort_by(|a, b| a.id.cmp(&b.id));
        Snapshot::new(Contents {
            service: self.service.clone(),
            members: self.members.clone(),
            suspects: Members::from_sorted(suspects.into_values().collect()),
            rejected: rejected.into(),
            rules: Arc::default(),
            shadows: parts().map(Snapshot::shadows).sum::<usize>() + self.hidden,
            freshness: worst_freshness(parts()),
            cause: parts().find_map(Snapshot::cause).cloned(),
            revision: self.revision,
            watermark: parts().map(Snapshot::watermark).min().unwrap_or_default(),
        })
    }
}

impl Part {
    /// The members of an address.
    fn members(&self, address: &str) -> impl Iterator<Item = &Arc<Member>> {
        self.at.get(address).into_iter().flatten().filter_map(|id| self.snapshot.get(id))
    }

    fn leaves(&mut self, address: &str, id: &InstanceId) {
        if let Some(ids) = self.at.get_mut(address) {
            ids.remove(id);
            if ids.is_empty() {
                self.at.remove(address);
            }
        }
    }
}

fn address(instance: &Instance) -> Address {
    match (instance.port(), instance.ssl_port()) {
        (0, Some(tls)) => format!("{} tls {tls}", instance.address()),
        _ => instance.address(),
    }
}

/// A weight in the common unit: rounded half up, at least 1.
fn scaled(weight: NonZeroU16, unit: u16) -> NonZeroU16 {
    let unit = u32::from(unit);
    let weight = (u32::from(weight.get()) * UNIT + unit / 2) / unit;
    NonZeroU16::new(u16::try_from(weight).unwrap_or(u16::MAX)).unwrap_or(NonZeroU16::MIN)
}

#[cfg(test)]
mod tests;
