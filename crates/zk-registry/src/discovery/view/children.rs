//! The children of a service as they were last read: instances, and those that are none.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::alike::Alike;
use super::child::{Judge, Judged, Known, Other, Read};
use super::names::Names;
use super::order::{age, sorted};
use super::others::Others;
use super::room;
use crate::discovery::snapshot_file::StoredRule;
use crate::format::sealed::Rules;
use crate::instance::InstanceId;
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Member, Rejected};
use crate::store::{Fault, Node};

/// The children of a service.
#[derive(Debug)]
pub(super) struct Children {
    pub(super) judge: Judge,
    alike: Alike,
    members: Members,
    names: Names,
    /// The bytes that the members count with.
    used: usize,
    others: Others,
    /// Why a member's present record cannot be used, of those that keep their last good one.
    overgrown: BTreeMap<String, Other>,
    /// How often anything changed that a snapshot shows.
    version: u64,
    rejected: Option<Arc<[Arc<Rejected>]>>,
    rules: Option<Arc<[Arc<Rules>]>>,
}

/// What reads of children changed.
#[derive(Debug, Default)]
pub(super) struct Effect {
    /// The instances that went, or were replaced.
    pub(super) gone: Vec<Arc<Member>>,
    /// The instances that came, or replaced others.
    pub(super) came: Vec<Arc<Member>>,
    /// The names of the children that went or changed; of a listing, those of instances alone.
    pub(super) changed: Vec<String>,
    /// Children to read again, for which there is room by now.
    pub(super) again: Vec<String>,
}

impl Children {
    pub(super) fn new(judge: Judge) -> Self {
        Self {
            judge,
            alike: Alike::default(),
            members: Members::default(),
            names: Names::default(),
            used: 0,
            others: Others::default(),
            overgrown: BTreeMap::new(),
            version: 0,
            rejected: None,
            rules: None,
        }
    }

    /// Begins with instances, and rules beside them, that were remembered.
    pub(super) fn restore(&mut self, members: Members, rules: Vec<StoredRule>) {
        self.used = room::total(members.iter());
        self.members = members;
        for StoredRule { node, data } in rules {
            if let Some(rule) = self.judge.remembered(&node, &data) {
                self.others.insert(node.to_string(), rule);
            }
        }
        self.rules = None;
        self.version += 1;
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.members.len() + self.others.len()
    }

    /// How often anything changed that a snapshot shows.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The children that could not be read.
    pub(super) fn unreadable(&self) -> Vec<String> {
        self.others.unreadable()
    }

    pub(super) fn is_known(&self, name: &str) -> bool {
        self.member(name).is_some() || self.others.get(name).is_some()
    }

    /// The names of all that are known.
    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        let members = self.members.iter().map(|member| member.node_name().to_string());
        members.chain(self.others.names().cloned())
    }

    /// Whether having children or none makes a difference to what this child is.
    pub(super) fn depends_on_children(&self, name: &str) -> bool {
        let is_member = || self.member(name).is_some();
        self.others.get(name).map_or_else(is_member, |other| other.depends_on_children)
    }

    /// What snapshots show of the children that are no instances, and of members whose present record cannot be used.
    pub(super) fn rejected(&mut self) -> Arc<[Arc<Rejected>]> {
        let (others, overgrown) = (&self.others, &self.overgrown);
        let list = || {
            let unusable = overgrown.values().filter_map(|other| other.rejected.clone());
            let mut rejected: Vec<_> = others.rejected().chain(unusable).collect();
            if !overgrown.is_empty() {
                rejected.sort_by(|a, b| a.id.cmp(&b.id));
            }
            rejected.into()
        };
        self.rejected.get_or_insert_with(list).clone()
    }

    /// The rules, in the order of their nodes' names.
    pub(super) fn rules(&mut self) -> Arc<[Arc<Rules>]> {
        let others = &self.others;
        self.rules.get_or_insert_with(|| others.rules().collect()).clone()
    }

    /// How many nodes claim the id of an instance.
    pub(super) fn shadows(&self) -> usize {
        self.others.shadows()
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        if self.count() > 0 {
            self.shown_otherwise();
        }
        self.members = Members::default();
        self.names = Names::default();
        self.others = Others::default();
        self.overgrown.clear();
        self.used = 0;
    }

    /// Decodes the record of an instance that is not known yet, for when all are read.
    pub(super) fn decode_ahead(&mut self, name: String, answer: Result<Node, Fault>) -> Read {
        let mut read = self.judge.decode_ahead(self.known(&name), name, answer);
        if let Read::Member(member, _) = &mut read {
            self.share_attributes(member);
        }
        read
    }

    /// Lets an instance that was just decoded have the attributes of an earlier one, if they are equal.
    fn share_attributes(&mut self, decoded: &mut Arc<Member>) {
        if let Some(member) = Arc::get_mut(decoded) {
            self.alike.share(&mut member.instance);
        }
    }

    /// All children were listed and read: these, and no others, are the service's.
    pub(super) fn replace(&mut self, reads: Vec<Read>) -> Effect {
        let mut members = Vec::with_capacity(reads.len());
        let (mut others, mut overgrown) = (Others::default(), BTreeMap::new());
        let mut effect = Effect::default();
        let mut is_news = false;
        for read in reads {
            let name = read.name();
            match self.judge.judge(self.known(name), &read) {
                Judged::Gone => {}
                Judged::Kept => {
                    if let Some(other) = self.others.remove(name) {
                        others.insert(name.to_owned(), other);
                    } else if let Some(member) = self.member(name) {
                        members.push(member.clone());
                        if let Some(other) = self.overgrown.remove(name) {
                            overgrown.insert(name.to_owned(), other);
                        }
                    }
                }
                Judged::Member(member) => {
                    effect.came.push(member.clone());
                    members.push(member);
                }
                Judged::Other(other) => {
                    is_news |= other.is_news_after(self.others.remove(name).as_ref());
                    others.insert(name.to_owned(), other);
                }
                Judged::Overgrown(other) => {
                    members.extend(self.member(name).cloned());
                    is_news |= other.is_news_after(self.overgrown.remove(name).as_ref());
                    overgrown.insert(name.to_owned(), other);
                }
            }
        }
        let mut members = sorted(members);
        let listed = members.len();
        members.dedup_by(|older, winner| {
            let is_same_id = older.id == winner.id;
            // A server may name a child twice; the first reading counts.
            if is_same_id && older.node != winner.node {
                others.insert(older.node_name().to_string(), Other::shadow(older));
            }
            is_same_id
        });
        if members.len() < listed {
            let listed: HashSet<_> = members.iter().map(Arc::as_ptr).collect();
            effect.came.retain(|member| listed.contains(&Arc::as_ptr(member)));
            is_news = true;
        }
        let unclaimed = |id: &&InstanceId| members.binary_search_by(|member| member.id.cmp(id)).is_err();
        let vacant = others.claimed().filter(unclaimed).filter_map(|id| others.youngest_shadow(id));
        for name in vacant.collect::<Vec<_>>() {
            others.remove(&name);
            effect.again.push(name);
        }
        self.used = room::total(members.iter());
        let overflow = self.overflow(members.iter(), &others);
        if !overflow.is_empty() {
            let ids: HashSet<_> = overflow.iter().map(|member| &member.id).collect();
            members.retain(|member| !ids.contains(&member.id));
            effect.came.retain(|member| !ids.contains(&member.id));
            for member in &overflow {
                let (name, other) = self.without_room(member);
                overgrown.remove(&name);
                others.insert(name, other);
            }
            self.used = room::total(members.iter());
            is_news = true;
        }
        // Those that are left are no children any more, or instances by now.
        is_news |= !self.others.is_empty() || !self.overgrown.is_empty();
        (self.others, self.overgrown) = (others, overgrown);
        if is_news {
            self.shown_otherwise();
        }
        self.names = Names::of(members.iter().map(|member| &**member));
        self.replace_members(Members::from_sorted(members), &mut effect);
        self.offer_room(&mut effect);
        effect
    }

    /// Takes up the instances of a listing; with no news, the leaves stay shared with the snapshots that are out.
    fn replace_members(&mut self, members: Members, effect: &mut Effect) {
        // Nothing goes from the first listing.
        let changes = if self.members.len() == 0 { Vec::new() } else { self.members.diff(&members) };
        for change in changes {
            match change {
                Change::Removed(member) | Change::Updated { old: member, .. } => effect.gone.push(member),
                Change::Added(_) => {}
            }
        }
        if effect.gone.is_empty() && effect.came.is_empty() {
            return;
        }
        self.version += 1;
        self.members = members;
        effect.changed = effect.gone.iter().map(|member| member.node_name().to_string()).collect();
    }

    /// Some children were read.
    pub(super) fn apply(&mut self, reads: Vec<Read>) -> Effect {
        let mut effect = Effect::default();
        for read in reads {
            let name = read.name();
            match self.judge.judge(self.known(name), &read) {
                Judged::Kept => {}
                Judged::Overgrown(other) => {
                    if other.is_news_after(self.overgrown.get(name)) {
                        self.shown_otherwise();
                    }
                    self.overgrown.insert(name.to_owned(), other);
                    effect.changed.push(name.to_owned());
                }
                Judged::Gone => self.remove(name, &mut effect),
                Judged::Member(member) if self.is_younger_than_one_that_waits(&member) => {
                    let other = room::rejected(name, &member, self.judge.limits.service);
                    self.put_other(name, other, &mut effect);
                }
                Judged::Member(mut member) => {
                    self.share_attributes(&mut member);
                    self.put_member(name, member, &mut effect);
                    effect.changed.push(name.to_owned());
                }
                Judged::Other(other) => self.put_other(name, other, &mut effect),
            }
        }
        self.make_room(&mut effect);
        self.offer_room(&mut effect);
        effect
    }

    /// A child is an instance, or a shadow of one whose node is younger.
    fn put_member(&mut self, name: &str, member: Arc<Member>, effect: &mut Effect) {
        let vacated = self.member(name).map(|member| member.id.clone()).filter(|id| *id != member.id);
        self.take_out(name, effect);
        let rival = self.members.get(&member.id).cloned();
        if rival.as_ref().is_some_and(|rival| age(rival) > age(&member)) {
            self.others.insert(name.to_owned(), Other::shadow(&member));
            self.shown_otherwise();
        } else {
            if let Some(rival) = rival {
                let node = rival.node_name().to_string();
                self.take_out(&node, effect);
                self.others.insert(node, Other::shadow(&rival));
                self.shown_otherwise();
            }
            self.names.insert(&member);
            self.used += room::size(&member);
            self.members.insert(member.clone());
            self.version += 1;
            effect.came.push(member);
        }
        self.fill(vacated, effect);
    }

    /// Has the youngest node read again that claims this id, which no instance has any more.
    fn fill(&mut self, vacated: Option<InstanceId>, effect: &mut Effect) {
        if let Some(id) = vacated
            && self.members.get(&id).is_none()
            && let Some(name) = self.others.youngest_shadow(&id)
        {
            self.others.remove(&name);
            self.shown_otherwise();
            effect.again.push(name);
        }
    }

    /// A child went.
    fn remove(&mut self, name: &str, effect: &mut Effect) {
        let vacated = self.member(name).map(|member| member.id.clone());
        let was_known = self.take_out(name, effect);
        self.fill(vacated, effect);
        if was_known {
            self.version += 1;
            effect.changed.push(name.to_owned());
        }
    }

    /// A child is no instance. Another record that is none for the same reason is no news.
    fn put_other(&mut self, name: &str, other: Other, effect: &mut Effect) {
        if !self.others.renew(name, &other) {
            let vacated = self.member(name).map(|member| member.id.clone());
            self.take_out(name, effect);
            self.others.insert(name.to_owned(), other);
            self.shown_otherwise();
            self.fill(vacated, effect);
        }
        effect.changed.push(name.to_owned());
    }

    /// Forgets a child. Whether it was known.
    fn take_out(&mut self, name: &str, effect: &mut Effect) -> bool {
        let id = self.member(name).map(|member| member.id.clone());
        let removed = id.and_then(|id| self.members.remove(&id));
        self.names.remove(name);
        self.used -= removed.as_deref().map_or(0, room::size);
        let other = self.others.remove(name);
        if self.overgrown.remove(name).is_some() || other.is_some() {
            self.shown_otherwise();
        }
        let was_known = removed.is_some() || other.is_some();
        effect.gone.extend(removed);
        was_known
    }

    /// Snapshots will show other rejected children.
    fn shown_otherwise(&mut self) {
        self.version += 1;
        (self.rejected, self.rules) = (None, None);
    }

    fn known(&self, name: &str) -> Known<'_> {
        Known { member: self.member(name), other: self.others.get(name), overgrown: self.overgrown.get(name) }
    }

    fn member(&self, name: &str) -> Option<&Arc<Member>> {
        let id = self.names.id(name).map_or(name, InstanceId::as_str);
        self.members.find(id).filter(|member| member.is_node(name))
    }

    /// Whether an older child waits for room, so that this one does too.
    fn is_younger_than_one_that_waits(&self, member: &Member) -> bool {
        self.others.first_waiting().is_some_and(|(czxid, ..)| member.created.0 > czxid)
    }

    /// The youngest of these instances, whose bytes are `used`, for which there is no room.
    fn overflow<'a>(
        &self,
        members: impl Iterator<Item = &'a Arc<Member>>,
        others: &Others,
    ) -> Vec<Arc<Member>> {
        let (most, waiting) = (self.judge.limits.service, others.first_waiting().map(|(czxid, ..)| czxid));
        if waiting.is_none() && self.used <= most {
            return Vec::new();
        }
        room::overflow(members, most, waiting)
    }

    /// The name of an instance's node, and what it is without room for it.
    fn without_room(&self, member: &Member) -> (String, Other) {
        let node = member.node_name();
        (node.to_string(), room::rejected(node.as_str(), member, self.judge.limits.service))
    }

    /// Rejects the youngest instances if there are more than there is room for.
    fn make_room(&mut self, effect: &mut Effect) {
        if self.used <= self.judge.limits.service {
            return;
        }
        for member in self.overflow(self.members.iter(), &self.others) {
            let (name, other) = self.without_room(&member);
            match effect.came.iter().position(|other| Arc::ptr_eq(other, &member)) {
                Some(at) => {
                    effect.came.swap_remove(at);
                    self.take_out(&name, &mut Effect::default());
                }
                None => drop(self.take_out(&name, effect)),
            }
            self.others.insert(name, other);
        }
        self.shown_otherwise();
    }

    /// Has the oldest children that found no room read again, as many as fit by now.
    fn offer_room(&mut self, effect: &mut Effect) {
        let mut used = self.used;
        while let Some((_, name, bytes)) = self.others.first_waiting()
            && used + bytes <= self.judge.limits.service
        {
            let name = name.to_owned();
            used += bytes;
            self.others.remove(&name);
            self.shown_otherwise();
            effect.again.push(name);
        }
    }
}
