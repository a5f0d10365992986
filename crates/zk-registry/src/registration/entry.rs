//! One registration as its registrar holds it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::warn;

use super::context::Context;
use super::decision::{Intent, Seen};
use super::desired::{Wanted, Wish};
use super::state::{RegistrationState, closed};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::instance::{Attributes, Instance, InstanceId, ServiceName};
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// Ghosts are nodes that our session owns and nobody here wants: they are read, and deleted if they are ours.
pub(super) enum Entry {
    Ghost(String),
    Kept(Box<Kept>),
}

pub(super) struct Kept {
    pub(super) service: ServiceName,
    pub(super) id: InstanceId,
    pub(super) path: String,
    pub(super) instance: Instance,
    pub(super) registered: SystemTime,
    pub(super) wanted: Arc<Wanted>,
    /// Which of its wishes the record says.
    pub(super) revision: u64,
    pub(super) intent: Intent,
    pub(super) exclusive: bool,
    pub(super) approach: Approach,
    pub(super) states: watch::Sender<RegistrationState>,
    pub(super) updates: Vec<oneshot::Sender<Result<Zxid, Error>>>,
    pub(super) withdrawals: Vec<oneshot::Sender<Withdrawn>>,
    pub(super) backoff: Backoff,
    /// When it is due by itself.
    pub(super) timer: Option<Instant>,
    /// Whether a request for it is under way.
    pub(super) busy: bool,
    /// Whether the node was ever seen to say what it should.
    pub(super) settled: bool,
    /// Whether anything was ever sent: if not, there is nothing to undo.
    pub(super) touched: bool,
}

/// How the next round begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Approach {
    /// Create at once: nothing of ours can be there.
    Create,
    /// Read first.
    Read,
}

impl Kept {
    /// Makes the record say what is wanted now.
    pub(super) fn rewrite(&mut self, context: &Context) -> Result<(), Error> {
        let Wish { attributes, revision, .. } = self.wanted.wish();
        let instance = self.instance.clone().with_attributes(attributes);
        let record =
            context.format.encode(&self.service, &self.id, &instance, &context.us.owner, self.registered)?;
        (self.intent.record, self.revision) = (Some(record.into()), revision);
        Ok(())
    }

    /// From now on these bytes may stand there.
    pub(super) fn sending(&mut self, record: Bytes) {
        self.touched = true;
        self.intent.sent.retain(|sent| *sent != record);
        self.intent.sent.push(record);
    }

    /// Somebody else wrote our node: status and weight are theirs to change, the rest is not. A wish that is newer than the
    /// record wins all the same.
    pub(super) fn adopt(&mut self, foreign: &Attributes, seen: &Seen, context: &Context) {
        if !self.wanted.adopt(self.revision, foreign) {
            self.intent.insist = true;
            self.write_over(seen);
        } else {
            warn!(
                path = self.path,
                status = %foreign.status,
                weight = foreign.weight,
                "somebody else wrote our node; its status and weight are adopted, the rest is restored"
            );
            self.judged(seen);
        }
        if let Err(error) = self.rewrite(context) {
            // It was checked before it was wanted.
            warn!(path = self.path, %error, "what is wanted cannot be written; the last record stays");
        }
    }

    /// Somebody else wrote our node, and none of it is adopted: it cannot be read, or there is a newer wish.
    pub(super) fn write_over(&mut self, seen: &Seen) {
        // What stood there before a registration ever did is that of the one before it.
        if self.settled {
            warn!(path = self.path, "somebody else wrote our node; what it should say is restored");
            self.wanted.written_over();
        }
        self.judged(seen);
    }

    /// What was there needs no second thought.
    fn judged(&mut self, seen: &Seen) {
        if let Seen::Node { node, .. } = seen {
            self.intent.sent.push(node.data.clone());
        }
    }

    pub(super) fn is_failed(&self) -> bool {
        matches!(*self.states.borrow(), RegistrationState::Failed(_)) && self.intent.record.is_some()
    }

    pub(super) fn end(self, outcome: Withdrawn) {
        for done in self.updates {
            // Nobody may be waiting any more.
            let _ = done.send(Err(closed()));
        }
        self.states.send_replace(RegistrationState::Withdrawn(outcome));
        for done in self.withdrawals {
            // Nobody may be waiting any more.
            let _ = done.send(outcome);
        }
    }
}
