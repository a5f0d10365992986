//! What has to be read again, and what is known once it has been.
//!
//! Why the watermark is right: everything that the server sent before a reply is queued when the reply is seen. So once
//! the marks that were queued at a batch's reply have been read again, every change up to the highest zxid of that batch
//! is in the view. Marks are read first in, first out; the count of them is the clock of that argument.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use crate::snapshot::Zxid;

/// Names to read again, each once, first in, first out, and since when.
#[derive(Debug, Default)]
pub(super) struct Marks {
    queue: VecDeque<(String, Instant)>,
    queued: HashSet<String>,
    enqueued: u64,
    read: u64,
}

impl Marks {
    pub(super) fn push(&mut self, name: &str, now: Instant) {
        if self.queued.insert(name.to_owned()) {
            self.queue.push_back((name.to_owned(), now));
            self.enqueued += 1;
        }
    }

    pub(super) fn take(&mut self, most: usize) -> Vec<String> {
        let names: Vec<_> = self.queue.drain(..most.min(self.queue.len())).map(|(name, _)| name).collect();
        for name in &names {
            self.queued.remove(name);
        }
        names
    }

    /// So many of those that were taken have been read.
    pub(super) fn read(&mut self, count: usize) {
        self.read += count as u64;
    }

    /// Everything is read: nothing that was marked so far is left to read.
    pub(super) fn cover(&mut self) {
        self.queue.clear();
        self.queued.clear();
        self.read = self.enqueued;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The time of the oldest.
    pub(super) fn since(&self) -> Option<Instant> {
        self.queue.front().map(|(_, since)| *since)
    }
}

/// A point of a view's reads; see [`View::barrier`](super::View::barrier).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Barrier(u64);

/// Up to where the view is complete.
#[derive(Debug, Default)]
pub(super) struct Watermark {
    zxid: Zxid,
    /// Zxids that it rises to once so many marks have been read.
    candidates: VecDeque<(u64, Zxid)>,
    /// How many of them there were so far, and how many of those came to it.
    proposed: u64,
    accepted: u64,
}

impl Watermark {
    pub(super) fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// It rises to `zxid` once every mark that is queued now has been read. Whether it has risen.
    pub(super) fn propose(&mut self, zxid: Zxid, marks: &Marks) -> bool {
        self.candidates.push_back((marks.enqueued, zxid));
        self.proposed += 1;
        let before = self.zxid;
        while let Some((required, zxid)) = self.candidates.front().copied()
            && required <= marks.read
        {
            self.candidates.pop_front();
            self.accepted += 1;
            self.zxid = self.zxid.max(zxid);
        }
        self.zxid > before
    }

    /// The zxids so far are those of another ZooKeeper; barriers stay what they are.
    pub(super) fn start_over(&mut self) {
        self.zxid = Zxid(0);
        self.candidates.iter_mut().for_each(|(_, zxid)| *zxid = Zxid(0));
    }

    /// The point of the last proposal.
    pub(super) fn barrier(&self) -> Barrier {
        Barrier(self.proposed)
    }

    pub(super) fn has_passed(&self, barrier: Barrier) -> bool {
        barrier.0 <= self.accepted
    }
}
