//! What a service looks like, built from reads: the pure core of a watch.
//!
//! Events are dirty marks and reads are the truth, so the inputs are marks, listings, batches of reads and losses of the
//! connection; the output is the next snapshot. It never asks for anything: the driver does.

mod alike;
mod child;
mod children;
mod marks;
mod names;
mod order;
mod others;
mod room;
mod suspects;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::child::Judge;
pub(crate) use self::child::Read;
use self::children::{Children, Effect};
pub(crate) use self::marks::Barrier;
use self::marks::{Marks, Watermark};
use self::suspects::Suspects;
use super::snapshot_file::Stored;
use crate::error::Error;
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Suspicion};
use crate::snapshot::members::Members;
use crate::snapshot::{Contents, Freshness, Member, Snapshot, Zxid};
use crate::store::{Fault, Node, Stat};

/// A view of one service.
#[derive(Debug)]
pub(crate) struct View {
    children: Children,
    suspects: Option<Suspects>,
    marks: Marks,
    /// Children whose own children changed while reads were under way, when what was known of them may have been older.
    stirred: BTreeMap<String, Instant>,
    watermark: Watermark,
    freshness: Freshness,
    /// Why the service cannot be read.
    cause: Option<Error>,
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
    /// The version of the children that the last snapshot showed.
    shown: u64,
}

/// The answer to one batch of reads.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) items: Vec<Read>,
    /// The service's own node; `None`: it does not exist.
    pub(crate) parent: Option<Stat>,
    /// Whether the watch was armed all the while. What was read is true anyway, but only then is the batch a point of
    /// history up to which no mark is missing.
    pub(crate) gapless: bool,
}

impl Batch {
    /// The highest zxid that the batch speaks of.
    pub(super) fn reach(&self) -> Zxid {
        let of_item = |read: &Read| read.identity().map_or(0, |(czxid, mzxid)| mzxid.max(czxid));
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
            children: Children::new(Judge { service, directory: 0, format, limits }),
            suspects: (suspicion == Suspicion::Keep).then(|| Suspects::new(session_timeout * 2)),
            marks: Marks::default(),
            stirred: BTreeMap::new(),
            watermark: Watermark::default(),
            freshness: Freshness::Pending,
            cause: None,
            doubted: None,
            reading: None,
            sweeping: false,
            revision: 0,
            foreign: false,
            changed: false,
            shown: 0,
        }
    }

    /// The same of another directory of the service than the first one.
    pub(crate) fn in_directory(mut self, directory: usize) -> Self {
        self.children.judge.directory = directory;
        self
    }

    /// Begins with what a file remembered.
    pub(crate) fn restore(&mut self, Stored { members, rules, written }: Stored) {
        let format = Some(self.children.judge.format.name());
        let members = members.iter().map(|member| Arc::new(Member { format, ..Member::clone(member) }));
        self.children.restore(Members::from_sorted(members.collect()), rules);
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
        } else if self.children.depends_on_children(name) {
            self.marks.push(name, now);
        }
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
        let (reach, gapless) = (batch.reach(), batch.gapless);
        // What is about another ZooKeeper, or was written by a release that read records in another way, proves nothing.
        if std::mem::take(&mut self.foreign) {
            self.children.forget();
        }
        let asked = self.reading.take().unwrap_or(now);
        if matches!(self.freshness, Freshness::Disk { .. } | Freshness::Pending) {
            self.become_fresh(Freshness::Stale { since: asked });
        }
        self.changed |= self.cause.take().is_some();
        let effect = self.children.replace(batch.items);
        self.suspect(&effect, now);
        self.end_reading();
        if gapless {
            self.propose(reach);
        }
        self.read_again(effect, now)
    }

    /// Decodes one answer of several, while the next ones are on their way to be [`listed`](Self::listed) with it.
    pub(crate) fn decode_ahead(&mut self, name: String, answer: Result<Node, Fault>) -> Read {
        self.children.decode_ahead(name, answer)
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
        let gone: Vec<String> =
            self.children.names().filter(|name| !listed.contains(name.as_str())).collect();
        for name in names {
            if !self.children.is_known(name) {
                self.marks.push(name, now);
            }
        }
        self.apply(gone.into_iter().map(|name| Read::answer(name, Err(Fault::NoNode))).collect(), now)
    }

    /// Some children are read that no mark stands for; the answer is [`swept`](Self::swept), with nothing if it failed.
    pub(crate) fn begin_sweep(&mut self) {
        self.sweeping = true;
    }

    /// Children were read that no mark stands for; returns the names of those that changed.
    pub(crate) fn swept(&mut self, items: Vec<Read>, now: Instant) -> Vec<String> {
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
    fn apply(&mut self, items: Vec<Read>, now: Instant) -> Vec<String> {
        let effect = self.children.apply(items);
        self.suspect(&effect, now);
        self.read_again(effect, now)
    }

    /// Marks the children that have to be read again; returns the names of those that changed.
    fn read_again(&mut self, effect: Effect, now: Instant) -> Vec<String> {
        for name in &effect.again {
            self.marks.push(name, now);
        }
        effect.changed
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

    /// The service cannot be read, for this reason. Whether that is news.
    pub(crate) fn hindered(&mut self, cause: Error) -> bool {
        let news = self.cause.as_ref() != Some(&cause);
        self.changed |= news;
        self.cause = Some(cause);
        news
    }

    /// The view agrees with a server that was heard within its connection timeout.
    pub(crate) fn live(&mut self) {
        self.changed |= self.cause.take().is_some();
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
        self.children.count()
    }

    /// The children that could not be read.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        self.children.unreadable()
    }

    pub(crate) fn watermark(&self) -> Zxid {
        self.watermark.zxid()
    }

    /// Whether [`publish`](Self::publish) would give something.
    pub(crate) fn has_news(&self) -> bool {
        self.changed || self.has_other_instances()
    }

    /// Whether the next snapshot would have other instances than the last one, or other reasons why children are none.
    pub(crate) fn has_other_instances(&self) -> bool {
        self.shown != self.children.version()
    }

    /// The next snapshot, if it differs from the last one.
    pub(crate) fn publish(&mut self) -> Option<Snapshot> {
        if !self.has_news() {
            return None;
        }
        (self.changed, self.shown) = (false, self.children.version());
        self.revision += 1;
        Some(Snapshot::new(Contents {
            service: self.children.judge.service.clone(),
            members: self.children.members().clone(),
            suspects: self.suspects.as_ref().map(Suspects::current).unwrap_or_default(),
            rejected: self.children.rejected(),
            rules: self.children.rules(),
            shadows: self.children.shadows(),
            freshness: self.freshness,
            cause: self.cause.clone(),
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

    fn suspect(&mut self, Effect { gone, came, .. }: &Effect, now: Instant) {
        if let Some(suspects) = &mut self.suspects
            && !(gone.is_empty() && came.is_empty())
        {
            self.changed |= suspects.changed(gone, came, self.children.members(), now);
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
