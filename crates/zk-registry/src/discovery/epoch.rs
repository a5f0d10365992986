//! What a view knows of one session: the watch, what has to be asked, and when.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::session::{Link, Phase};
use crate::store::limits::MOST_PER_REQUEST;
use crate::store::{Stat, Store, Watch};

/// The bounds of the delay after the first request that failed, and after many.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// One session as a view lives through it.
pub(super) struct Epoch {
    pub(super) store: Arc<dyn Store>,
    pub(super) watch: Box<dyn Watch>,
    pub(super) number: u64,
    pub(super) line: Line,
    pub(super) need: Need,
    pub(super) replies: Replies,
    /// How many children one request reads: fewer after a request that was refused, which may have been too large.
    pub(super) chunk: usize,
    /// How many audits there were.
    pub(super) audits: u32,
    pub(super) audit_at: Instant,
    /// The time before which nothing is asked: a request failed, or jitter.
    pub(super) hold: Option<Instant>,
    pub(super) backoff: Backoff,
    /// The parent as it was last seen.
    pub(super) parent: Option<Stat>,
    /// When it last had as many children as the view.
    pub(super) agreed_at: Instant,
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
    /// Everything: events may have been missed. A failure leaves it so.
    Everything,
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
    Look,
    ReadMarks,
    Resync,
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
        hold: Option<Instant>,
    ) -> Self {
        Self {
            store,
            watch,
            number,
            line: Line::Armed,
            need: Need::Everything,
            replies: Replies::Timely,
            chunk: MOST_PER_REQUEST,
            audits: 0,
            audit_at,
            hold,
            backoff: Self::backoff(),
            parent: None,
            agreed_at: Instant::now(),
        }
    }

    /// The delays between requests that fail.
    pub(super) fn backoff() -> Backoff {
        Backoff::new(RETRY.0, RETRY.1)
    }

    /// Whether requests can be sent.
    pub(super) fn is_connected(&self) -> bool {
        self.line != Line::Lost
    }

    /// Whether every change since the last complete read is known or marked.
    pub(super) fn is_gapless(&self) -> bool {
        self.is_connected() && self.need != Need::Everything
    }

    /// What has to be asked of the server now, if anything.
    pub(super) fn next_step(&self, dirty: bool, wants_barrier: bool, now: Instant) -> Option<Step> {
        if !self.is_connected() || self.hold.is_some_and(|hold| hold > now) {
            None
        } else if self.need == Need::Everything {
            Some(Step::Resync)
        } else if dirty {
            Some(Step::ReadMarks)
        } else if wants_barrier {
            Some(Step::Barrier)
        } else if self.audit_at <= now {
            Some(Step::Audit)
        } else {
            (self.need == Need::Parent).then_some(Step::Look)
        }
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
