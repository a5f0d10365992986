//! What a service looks like, built from reads: the pure core of a watch.
//!
//! Events are dirty marks and reads are the truth, so the inputs are marks, listings, batches of reads and losses of the
//! connection; the output is the next snapshot. It never asks for anything: the driver does.

mod child;
mod marks;
mod names;
mod others;
mod room;
mod suspects;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::Instant;

use self::child::{Judge, Judged, Known, Other};
pub(crate) use self::marks::Barrier;
use self::marks::{Marks, Watermark};
use self::names::Names;
use self::others::Others;
use self::suspects::Suspects;
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Suspicion};
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Contents, Freshness, Member, Rejected, Snapshot, Zxid};
use crate::store::{Fault, Node, Stat};

/// A view of one service.
#[derive(Debug)]
pub(crate) struct View {
    judge: Judge,
    members: Members,
    names: Names,
    /// The bytes that the members count with.
    used: usize,
    others: Others,
    /// Why a member's present record cannot be used, of those that keep their last good one.
    overgrown: BTreeMap<String, Other>,
    suspects: Option<Suspects>,
    marks: Marks,
    /// Children whose own children changed while reads were under way, when what was known of them may have been older.
    stirred: BTreeMap<String, Instant>,
    watermark: Watermark,
    freshness: Freshness,
    /// Since when something may be missing that no mark stands for.
    doubted: Option<Instant>,
    /// Since when what is being read has been missing.
    reading: Option<Instant>,
    /// Whether children are being read of which nothing is known to be missing.
    sweeping: bool,
    revision: u64,
    /// Whether what is known is about another ZooKeeper, so that no zxid can be compared.
    foreign: bool,
    /// Whether the next snapshot would differ from the last one.
    changed: bool,
    rejected: Option<Arc<[Arc<Rejected>]>>,
}

/// The answer to one batch of reads.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) items: Vec<(String, Result<Node, Fault>)>,
    /// The service's own node; `None`: it does not exist.
    pub(crate) parent: Option<Stat>,
    /// Whether the watch was armed all the while. What was read is true anyway, but only then is the batch a point of
    /// history up to which no mark is missing.
    pub(crate) gapless: bool,
}

impl Batch {
    /// The highest zxid that the batch speaks of.
    pub(super) fn reach(&self) -> Zxid {
        let of_item = |(_, answer): &(String, Result<Node, Fault>)| {
            answer.as_ref().map_or(0, |node| node.stat.mzxid.max(node.stat.czxid))
        };
        let items = self.items.iter().map(of_item).max().unwrap_or(0);
        Zxid(items.max(self.parent.map_or(0, |parent| parent.pzxid)))
    }
}

/// What a read said, with no more of a record than tells that it has more than `most` bytes.
pub(super) fn bounded(answer: Result<Node, Fault>, most: usize) -> Result<Node, Fault> {
    answer.map(|node| match node.data.get(..=most) {
        Some(beginning) => Node { data: Bytes::copy_from_slice(beginning), ..node },
        None => node,
    })
}

impl View {
    pub(crate) fn new(
        service: ServiceName,
        format: Arc<dyn Format>,
        suspicion: Suspicion,
        limits: RecordLimits,
        session_timeout: Duration,
    ) -> Self {
        Self {
            judge: Judge { service, format, limits },
            members: Members::default(),
            names: Names::default(),
            used: 0,
            others: Others::default(),
            overgrown: BTreeMap::new(),
            suspects: (suspicion == Suspicion::Keep).then(|| Suspects::new(session_timeout * 2)),
            marks: Marks::default(),
            stirred: BTreeMap::new(),
            watermark: Watermark::default(),
            freshness: Freshness::Pending,
            doubted: None,
            reading: None,
            sweeping: false,
            revision: 0,
            foreign: false,
            changed: false,
            rejected: None,
        }
    }

    /// Begins with what a file remembered.
    pub(crate) fn restore(&mut self, members: Members, written: SystemTime) {
        self.used = room::total(members.iter());
        self.members = members;
        self.foreign = true;
        self.freshness = Freshness::Disk { written };
        self.changed = true;
    }

    /// ZooKeeper was built anew, with lower zxids: nothing that is known can be compared with what comes. The watermark
    /// begins again, and the next listing judges every record.
    pub(crate) fn start_over(&mut self) {
        self.foreign = true;
        self.watermark.start_over();
        self.suspects = self.suspects.as_ref().map(Suspects::anew);
    }

    /// A child has to be read again.
    pub(crate) fn mark(&mut self, name: &str, now: Instant) {
        self.marks.push(name, now);
    }

    /// Something may be missing since then that no mark stands for: only a listing can tell.
    pub(crate) fn doubt(&mut self, since: Instant) {
        self.doubted = earliest([self.doubted, Some(since)]);
    }

    /// A child of a child came, went or changed: the first one makes a namespace of an instance, and without the last one it
    /// is an instance again. A namespace that is one anyway is left alone, however busy the tree below it is.
    pub(crate) fn child_changed(&mut self, name: &str, now: Instant) {
        if self.reading.is_some() || self.sweeping {
            self.stirred.entry(name.to_owned()).or_insert(now);
        } else if self.depends_on_children(name) {
            self.marks.push(name, now);
        }
    }

    fn depends_on_children(&self, name: &str) -> bool {
        let is_member = || self.member(name).is_some();
        self.others.get(name).map_or_else(is_member, |other| other.depends_on_children)
    }

    /// The reads that were under way are known.
    fn end_reading(&mut self) {
        (self.reading, self.sweeping) = (None, false);
        for (name, since) in std::mem::take(&mut self.stirred) {
            self.child_changed(&name, since);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Names to read now. They are answered with [`loaded`](Self::loaded) or [`failed`](Self::failed).
    pub(crate) fn take_marks(&mut self, most: usize) -> Vec<String> {
        self.reading = earliest([self.reading, self.marks.since()]);
        self.marks.take(most)
    }

    /// A full listing is about to be asked for: it covers every mark so far, also those that were taken in vain. The answer
    /// is [`listed`](Self::listed) or [`failed`](Self::failed).
    pub(crate) fn begin_resync(&mut self, now: Instant) {
        self.reading = earliest([self.missing_since(), Some(now)]);
        (self.doubted, self.sweeping) = (None, false);
        self.marks.cover();
    }

    /// What was asked for did not come: it is missing, and only a listing can do without the marks that were taken. The server
    /// is known to have been heard up to `heard`, which may be before it was asked.
    pub(crate) fn failed(&mut self, heard: Option<Instant>) {
        self.doubted = earliest([self.doubted, self.reading.take()]);
        if let Some(since) = self.doubted {
            self.lost(heard.map_or(since, |heard| heard.min(since)));
        }
    }

    /// A full listing came back, with every child read: this, and nothing else, is the service. Returns the names of the
    /// instances that went or changed, not of those that came.
    pub(crate) fn listed(&mut self, batch: Batch, now: Instant) -> Vec<String> {
        let mut members = Vec::with_capacity(batch.items.len());
        let (mut others, mut overgrown) = (Others::default(), BTreeMap::new());
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        let (reach, gapless) = (batch.reach(), batch.gapless);
        // What is about another ZooKeeper, or was written by a release that read records in another way, proves nothing.
        let forgotten = if std::mem::take(&mut self.foreign) { self.forget() } else { false };
        let mut rejects = forgotten;
        let asked = self.reading.take().unwrap_or(now);
        if matches!(self.freshness, Freshness::Disk { .. } | Freshness::Pending) {
            self.become_fresh(Freshness::Stale { since: asked });
        }
        for (name, answer) in batch.items {
            match self.judge.judge(self.known(&name), &name, answer) {
                Judged::Gone => {}
                Judged::Kept => {
                    if let Some(other) = self.others.remove(&name) {
                        others.insert(name, other);
                    } else if let Some(member) = self.member(&name) {
                        members.push(member.clone());
                        if let Some(other) = self.overgrown.remove(&name) {
                            overgrown.insert(name, other);
                        }
                    }
                }
                Judged::Member(node, member) => {
                    self.names.insert(node, &member.id);
                    came.push(member.clone());
                    members.push(member);
                }
                Judged::Other(other) => {
                    rejects |= other.is_news_after(self.others.remove(&name).as_ref());
                    others.insert(name, other);
                }
                Judged::Overgrown(other) => {
                    members.extend(self.member(&name).cloned());
                    rejects |= other.is_news_after(self.overgrown.remove(&name).as_ref());
                    overgrown.insert(name, other);
                }
            }
        }
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let evicted = self.overflow(members.iter(), &others);
        if !evicted.is_empty() {
            let ids: HashSet<_> = evicted.iter().map(|member| &member.id).collect();
            members.retain(|member| !ids.contains(&member.id));
            came.retain(|member| !ids.contains(&member.id));
            for member in &evicted {
                let (name, other) = self.crowd_out(member);
                overgrown.remove(&name);
                others.insert(name, other);
            }
            rejects = true;
        }
        self.used = room::total(members.iter());
        let members = Members::from_sorted(members);
        for change in self.members.diff(&members) {
            match change {
                Change::Removed(member) | Change::Updated { old: member, .. } => gone.push(member),
                Change::Added(_) => {}
            }
        }
        let news = !gone.is_empty() || !came.is_empty();
        // Those that are left are no children any more, or instances by now.
        rejects |= !self.others.is_empty() || !self.overgrown.is_empty();
        self.changed |= news || rejects;
        // With no news, the leaves stay shared with the snapshots that are out.
        if news {
            self.members = members;
        }
        (self.others, self.overgrown) = (others, overgrown);
        self.rejected = self.rejected.take().filter(|_| !rejects);
        self.suspect(&gone, &came, now);
        self.end_reading();
        if gapless {
            self.propose(reach);
        }
        let gone: Vec<_> = gone.iter().map(|member| self.names.node(&member.id).to_string()).collect();
        for name in &gone {
            if self.names.id(name).is_none_or(|id| self.members.get(&id).is_none()) {
                self.names.remove(name);
            }
        }
        self.offer_room(now);
        gone
    }

    /// Marked children were read; returns the names of those that changed.
    pub(crate) fn loaded(&mut self, batch: Batch, now: Instant) -> Vec<String> {
        let (reach, gapless) = (batch.reach(), batch.gapless);
        self.marks.read(batch.items.len());
        let changed = self.apply(batch.items, now);
        self.end_reading();
        if gapless {
            self.propose(reach);
        }
        changed
    }

    /// The children were listed, which says who came or went: the others are still to be read again. What came is marked.
    /// Returns the names of the instances that went.
    pub(crate) fn reconcile(&mut self, names: &[String], now: Instant) -> Vec<String> {
        let listed: HashSet<&str> = names.iter().map(String::as_str).collect();
        let gone: Vec<String> = (self.members.iter().map(|member| self.names.node(&member.id).to_string()))
            .chain(self.others.names().cloned())
            .filter(|name| !listed.contains(name.as_str()))
            .collect();
        for name in names {
            if self.member(name).is_none() && self.others.get(name).is_none() {
                self.marks.push(name, now);
            }
        }
        self.apply(gone.into_iter().map(|name| (name, Err(Fault::NoNode))).collect(), now)
    }

    /// Some children are read that no mark stands for; the answer is [`swept`](Self::swept), with nothing if it failed.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweeping = true;
    }

    /// Children were read that no mark stands for; returns the names of those that changed.
    pub(crate) fn swept(&mut self, items: Vec<(String, Result<Node, Fault>)>, now: Instant) -> Vec<String> {
        let changed = self.apply(items, now);
        self.end_reading();
        changed
    }

    /// Every child was read since a listing, over a watch that was armed all the while: nothing is missing but what marks
    /// stand for, up to this zxid.
    pub(crate) fn end_sweep(&mut self, reach: Zxid) {
        self.doubted = None;
        self.propose(reach);
    }

    /// Takes up what reads said; returns the names of the children that changed.
    fn apply(&mut self, items: Vec<(String, Result<Node, Fault>)>, now: Instant) -> Vec<String> {
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        let mut changed = Vec::new();
        for (name, answer) in items {
            let judged = match self.judge.judge(self.known(&name), &name, answer) {
                Judged::Member(_, member) if self.is_younger_than_one_that_waits(&member) => {
                    Judged::Other(room::rejected(&name, &member, self.judge.limits.service))
                }
                judged => judged,
            };
            match judged {
                Judged::Kept => continue,
                Judged::Overgrown(other) => {
                    if other.is_news_after(self.overgrown.get(&name)) {
                        (self.changed, self.rejected) = (true, None);
                    }
                    self.overgrown.insert(name.clone(), other);
                    changed.push(name);
                    continue;
                }
                // Another record that is no instance for the same reason is no news.
                Judged::Other(ref other) if self.others.renew(&name, other) => {
                    changed.push(name);
                    continue;
                }
                Judged::Gone | Judged::Member(..) | Judged::Other(_) => {}
            }
            let removed = self.names.id(&name).and_then(|id| self.members.remove(&id));
            self.names.remove(&name);
            self.used -= removed.as_deref().map_or(0, room::size);
            let other = self.others.remove(&name);
            let overgrown = self.overgrown.remove(&name);
            let news = removed.is_some() || other.is_some() || !matches!(judged, Judged::Gone);
            gone.extend(removed);
            self.rejected = self.rejected.take().filter(|_| other.is_none() && overgrown.is_none());
            match judged {
                Judged::Gone | Judged::Kept | Judged::Overgrown(_) => {}
                Judged::Member(node, member) => {
                    self.names.insert(node, &member.id);
                    self.used += room::size(&member);
                    let replaced = self.members.insert(member.clone());
                    self.used -= replaced.as_deref().map_or(0, room::size);
                    came.push(member);
                }
                Judged::Other(other) => {
                    self.rejected = None;
                    self.others.insert(name.clone(), other);
                }
            }
            if news {
                self.changed = true;
                changed.push(name);
            }
        }
        self.make_room(&mut gone, &mut came);
        self.offer_room(now);
        self.suspect(&gone, &came, now);
        changed
    }

    /// Whether an older child waits for room, so that this one does too.
    fn is_younger_than_one_that_waits(&self, member: &Member) -> bool {
        self.others.first_waiting().is_some_and(|(czxid, ..)| member.created.0 > czxid)
    }

    /// The youngest of these instances, for which there is no room.
    fn overflow<'a>(
        &self,
        members: impl Iterator<Item = &'a Arc<Member>> + Clone,
        others: &Others,
    ) -> Vec<Arc<Member>> {
        let (most, waiting) = (self.judge.limits.service, others.first_waiting().map(|(czxid, ..)| czxid));
        if waiting.is_none() && room::total(members.clone()) <= most {
            return Vec::new();
        }
        room::overflow(members, most, waiting)
    }

    /// An instance becomes a child that is rejected for want of room.
    fn crowd_out(&mut self, member: &Member) -> (String, Other) {
        let node = self.names.node(&member.id);
        self.names.remove(node.as_str());
        (node.to_string(), room::rejected(node.as_str(), member, self.judge.limits.service))
    }

    /// Rejects the youngest instances if there are more than there is room for.
    fn make_room(&mut self, gone: &mut Vec<Arc<Member>>, came: &mut Vec<Arc<Member>>) {
        if self.used <= self.judge.limits.service {
            return;
        }
        for member in self.overflow(self.members.iter(), &self.others) {
            self.members.remove(&member.id);
            self.used -= room::size(&member);
            let (name, other) = self.crowd_out(&member);
            self.overgrown.remove(&name);
            self.others.insert(name, other);
            match came.iter().position(|other| Arc::ptr_eq(other, &member)) {
                Some(at) => drop(came.swap_remove(at)),
                None => gone.push(member),
            }
        }
        (self.changed, self.rejected) = (true, None);
    }

    /// Has the oldest children that found no room read again, as many as fit by now.
    fn offer_room(&mut self, now: Instant) {
        let mut used = self.used;
        while let Some((_, name, bytes)) = self.others.first_waiting()
            && used + bytes <= self.judge.limits.service
        {
            let name = name.to_owned();
            used += bytes;
            self.others.remove(&name);
            self.marks.push(&name, now);
            (self.changed, self.rejected) = (true, None);
        }
    }

    /// Forgets what is known. Whether there was anything.
    fn forget(&mut self) -> bool {
        let members = std::mem::take(&mut self.members);
        let others = std::mem::take(&mut self.others);
        self.overgrown.clear();
        (self.used, self.rejected) = (0, None);
        members.len() > 0 || !others.is_empty()
    }

    fn known(&self, name: &str) -> Known<'_> {
        Known { member: self.member(name), other: self.others.get(name), overgrown: self.overgrown.get(name) }
    }

    fn member(&self, name: &str) -> Option<&Arc<Member>> {
        self.members.get(&self.names.id(name)?)
    }

    /// Every change that was acknowledged before now has sent its mark. It is in the view once that [`Barrier`] has passed.
    pub(crate) fn barrier(&mut self) -> Barrier {
        // Up to which zxid that is, no reply says: it is a point of this view's reads, and no watermark.
        self.propose(Zxid(0));
        self.watermark.barrier()
    }

    /// Whether everything that had sent its mark at the barrier has been read.
    pub(crate) fn has_passed(&self, barrier: Barrier) -> bool {
        self.watermark.has_passed(barrier)
    }

    /// The view agrees with a server that was heard within its connection timeout.
    pub(crate) fn live(&mut self) {
        self.become_fresh(Freshness::Live);
    }

    /// The server is not heard any more, or does not answer; the contents were true up to `since`, as far as nothing was
    /// missing by then.
    pub(crate) fn lost(&mut self, since: Instant) {
        if self.freshness == Freshness::Live {
            let since = self.missing_since().map_or(since, |missing| missing.min(since));
            self.become_fresh(Freshness::Stale { since });
        }
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(suspects) = &mut self.suspects {
            self.changed |= suspects.release(now);
        }
    }

    /// When `tick` has something to do.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.suspects.as_ref()?.next_release()
    }

    /// How many children the service has, as far as known.
    pub(crate) fn children(&self) -> usize {
        self.members.len() + self.others.len()
    }

    /// The children that could not be read.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        self.others.unreadable()
    }

    pub(crate) fn watermark(&self) -> Zxid {
        self.watermark.zxid()
    }

    /// Whether [`publish`](Self::publish) would give something.
    pub(crate) fn has_news(&self) -> bool {
        self.changed
    }

    /// The next snapshot, if it differs from the last one.
    pub(crate) fn publish(&mut self) -> Option<Snapshot> {
        if !self.changed {
            return None;
        }
        self.changed = false;
        self.revision += 1;
        let (others, overgrown) = (&self.others, &self.overgrown);
        let rejected = self.rejected.get_or_insert_with(|| {
            let overgrown_ones = overgrown.values().filter_map(|other| other.rejected.clone());
            let mut rejected: Vec<_> = others.rejected().chain(overgrown_ones).collect();
            if !overgrown.is_empty() {
                rejected.sort_by(|a, b| a.id.cmp(&b.id));
            }
            rejected.into()
        });
        Some(Snapshot::new(Contents {
            service: self.judge.service.clone(),
            members: self.members.clone(),
            suspects: self.suspects.as_ref().map(Suspects::current).unwrap_or_default(),
            rejected: rejected.clone(),
            freshness: self.freshness,
            revision: self.revision,
            watermark: self.watermark.zxid(),
        }))
    }

    /// Since when something is known to be missing.
    fn missing_since(&self) -> Option<Instant> {
        earliest([self.doubted, self.reading, self.marks.since()])
    }

    fn become_fresh(&mut self, freshness: Freshness) {
        self.changed |= self.freshness != freshness;
        self.freshness = freshness;
    }

    fn suspect(&mut self, gone: &[Arc<Member>], came: &[Arc<Member>], now: Instant) {
        if let Some(suspects) = &mut self.suspects
            && !(gone.is_empty() && came.is_empty())
        {
            self.changed |= suspects.changed(gone, came, &self.members, now);
        }
    }

    /// `zxid` becomes the watermark once every mark that is queued now has been read.
    fn propose(&mut self, zxid: Zxid) {
        self.changed |= self.watermark.propose(zxid, &self.marks);
    }
}

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
