//! What a view knows of one session: the watch, what has to be asked, and when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::pace::Pace;
use crate::session::{Link, Phase};
use crate::snapshot::Zxid;
use crate::store::{Listing, Stat, Store, Watch};

/// How often the parent is read while marks keep coming. It says whether anything is missing, and up to where the view is
/// complete: that is worth a fifth of the bytes of a change now and then, and not with each of a hundred a second.
const PARENT_EVERY: Duration = Duration::from_millis(100);

/// One session as a view lives through it.
pub(super) struct Epoch {
    pub(super) store: Arc<dyn Store>,
    pub(super) watch: Box<dyn Watch>,
    pub(super) number: u64,
    pub(super) line: Line,
    /// What a listing said that was sent right behind the watch, until it is taken up.
    pub(super) listed: Option<Listed>,
    pub(super) need: Need,
    pub(super) replies: Replies,
    /// Children that are being read again, between the reads of marks.
    pub(super) sweep: Option<Sweep>,
    /// How many audits there were.
    pub(super) audits: u32,
    pub(super) audit_at: Instant,
    /// The pace of what brings news: resyncs, and reads of marks.
    pub(super) reads: Pace,
    /// The pace of what only checks: audits, looks and barriers. A failure holds up no news.
    pub(super) checks: Pace,
    /// What was done last.
    pub(super) last: Option<Step>,
    /// The parent as it was last seen.
    pub(super) parent: Option<Stat>,
    /// When it was last read.
    pub(super) parent_read: Option<Instant>,
    /// When it has to be read, because marks were read without it: until then it is older than the view.
    pub(super) parent_due: Option<Instant>,
    /// When it last had as many children as the view.
    pub(super) agreed_at: Instant,
}

/// What a listing said.
pub(super) struct Listed {
    /// When it was asked for.
    pub(super) asked: Instant,
    pub(super) listing: Listing,
}

/// Where the connection stands, and whether events come over it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Line {
    /// Connected; the server was asked to send events over this connection. A refusal leads to `Unarmed`, a lost connection
    /// to `Lost`.
    Armed,
    /// Nothing can be asked. The next connection is `Unarmed`.
    Lost,
    /// Connected; no events come yet. The resync that follows asks for them, and with that it is `Armed`.
    Unarmed,
}

/// What has to be read besides the marks.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Need {
    /// Nothing more.
    Nothing,
    /// The service's own node, of which an event told. A failure leaves it so.
    Parent,
    /// A listing, and every child again, though nothing is known to be missing. A failure leaves it so.
    Audit,
    /// The same, because something is missing of which no event told. A failure leads to `Everything`.
    Doubt,
    /// Everything: events may have been missed. A failure leaves it so.
    Everything,
}

/// Children to read again since a listing: an audit, or after a doubt.
pub(super) struct Sweep {
    pub(super) names: VecDeque<String>,
    /// [`Need::Audit`] or [`Need::Doubt`].
    pub(super) cause: Need,
    /// The highest zxid that was seen.
    pub(super) reach: Zxid,
    /// When the listing was asked for.
    pub(super) asked: Instant,
}

/// Whether the server answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Replies {
    /// No reply took longer than silence may last.
    Timely,
    /// One did, and the view does not say `Live` any more. The next step that ends well makes it `Timely`.
    Overdue,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Audit,
    Barrier,
    List,
    Look,
    ReadMarks,
    Resync,
    Sweep,
}

/// Why an epoch, or the whole view, is over.
pub(super) enum Over {
    /// The session is lost.
    Epoch,
    /// The registry is closed, or the last watch was dropped.
    View,
}

impl Epoch {
    /// A session whose watch was just armed: everything has to be read.
    pub(super) fn new(
        store: Arc<dyn Store>,
        watch: Box<dyn Watch>,
        number: u64,
        audit_at: Instant,
        begin_at: Option<Instant>,
    ) -> Self {
        let mut reads = Pace::new();
        reads.begin(begin_at);
        Self {
            store,
            watch,
            number,
            line: Line::Armed,
            listed: None,
            need: Need::Everything,
            replies: Replies::Timely,
            sweep: None,
            audits: 0,
            audit_at,
            reads,
            checks: Pace::new(),
            last: None,
            parent: None,
            parent_read: None,
            parent_due: None,
            agreed_at: Instant::now(),
        }
    }

    /// Whether requests can be sent.
    pub(super) fn is_connected(&self) -> bool {
        self.line != Line::Lost
    }

    /// Whether events come over the connection that is there.
    pub(super) fn is_armed(&self) -> bool {
        self.line == Line::Armed && self.need != Need::Everything
    }

    /// Whether every change since the last complete read is known or marked.
    pub(super) fn is_gapless(&self) -> bool {
        let doubts = self.sweep.as_ref().is_some_and(|sweep| sweep.cause == Need::Doubt);
        self.is_connected() && self.need < Need::Doubt && !doubts
    }

    /// Whether marks that are read at `now` can do without the parent, which is due later then: its own data, in which there may be
    /// a marker, are as they were.
    pub(super) fn spares_parent(&mut self, now: Instant) -> bool {
        let due = self.parent_read.map(|read| read + PARENT_EVERY);
        let Some(due) = due.filter(|due| *due > now && self.need < Need::Parent) else { return false };
        self.parent_due = Some(due);
        true
    }

    /// The parent, as it was read just now.
    pub(super) fn saw_parent(&mut self, parent: Option<Stat>) {
        (self.parent, self.parent_read, self.parent_due) = (parent, Some(Instant::now()), None);
    }

    /// What has to be asked of the server now, if anything. Nothing is put off for ever by marks that keep coming: an audit
    /// and a barrier have their own time, and a sweep takes turns with the marks.
    pub(super) fn next_step(&self, dirty: bool, wants_barrier: bool, now: Instant) -> Option<Step> {
        let (may_read, may_check) = (self.reads.allows(now), self.checks.allows(now));
        let turn_of_sweep = !dirty || !may_read || self.last == Some(Step::ReadMarks);
        if !self.is_connected() {
            None
        } else if self.need == Need::Everything {
            may_read.then_some(Step::Resync)
        } else if may_check && self.audit_at <= now {
            Some(Step::Audit)
        } else if may_check && wants_barrier && self.is_gapless() {
            Some(Step::Barrier)
        } else if self.need == Need::Doubt && may_read || self.need == Need::Audit && may_check {
            Some(Step::List)
        } else if may_check && self.sweep.is_some() && turn_of_sweep {
            Some(Step::Sweep)
        } else if may_read && (dirty || self.parent_due.is_some_and(|due| due <= now)) {
            Some(Step::ReadMarks)
        } else {
            (may_check && self.need == Need::Parent).then_some(Step::Look)
        }
    }

    /// When [`next_step`](Self::next_step) may say something else, if no event comes before.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let read_at = self.reads.until(now);
        if !self.is_connected() || self.need == Need::Everything {
            return read_at.filter(|_| self.is_connected());
        }
        let check_at = self.checks.until(now);
        let audit_at = check_at.map_or(self.audit_at, |check_at| check_at.max(self.audit_at));
        let parent_at = self.parent_due.map(|due| read_at.map_or(due, |read_at| read_at.max(due)));
        [read_at, check_at, Some(audit_at), parent_at].into_iter().flatten().min()
    }
}

/// Resolves when the session of this number is over.
pub(super) async fn lost_epoch(link: &mut watch::Receiver<Link>, number: u64) -> Over {
    loop {
        {
            let link = link.borrow_and_update();
            if link.phase == Phase::Closed {
                return Over::View;
            }
            if link.epoch != number || link.phase == Phase::Connecting {
                return Over::Epoch;
            }
        }
        if link.changed().await.is_err() {
            return Over::View;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;
    use crate::store::Connect as _;
    use crate::store::memory::Cluster;

    /// An epoch that has read everything.
    async fn settled() -> Epoch {
        let cluster = Cluster::new(0);
        let store = cluster.connector(Duration::from_secs(4)).connect().await.unwrap();
        let watch = store.watch("/services/time").await.unwrap();
        let mut epoch = Epoch::new(store, watch, 1, Instant::now() + Duration::from_secs(60), None);
        epoch.need = Need::Nothing;
        epoch
    }

    #[tokio::test(start_paused = true)]
    async fn marks_that_keep_coming_put_off_no_sweep_and_no_sweep_puts_off_the_marks() {
        let mut epoch = settled().await;
        let sweep =
            Sweep { names: VecDeque::new(), cause: Need::Audit, reach: Zxid(0), asked: Instant::now() };
        epoch.sweep = Some(sweep);
        let mut steps = Vec::new();
        for _ in 0..4 {
            epoch.last = epoch.next_step(true, false, Instant::now());
            steps.push(epoch.last);
        }
        let turns = [Some(Step::ReadMarks), Some(Step::Sweep)];
        assert_eq!(steps, [turns, turns].concat());
        assert_eq!(epoch.next_step(false, false, Instant::now()), Some(Step::Sweep));
    }

    #[tokio::test(start_paused = true)]
    async fn marks_that_keep_coming_put_off_no_audit_and_no_barrier() {
        let mut epoch = settled().await;
        assert_eq!(epoch.next_step(true, true, Instant::now()), Some(Step::Barrier));
        assert_eq!(epoch.next_step(true, true, epoch.audit_at), Some(Step::Audit));
        epoch.line = Line::Lost;
        assert_eq!(epoch.next_step(true, true, epoch.audit_at), None, "nothing can be asked");
    }
}
