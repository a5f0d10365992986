//! One registration as its registrar holds it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tracing::warn;

use super::context::Context;
use super::decision::{Claim, Exclusivity, Intent, Seen, Step};
use super::desired::{Desired, Wish};
use super::registrar::NewRegistration;
use super::round::Write;
use super::state::{RegistrationState, closed};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::instance::{Attributes, Instance, InstanceId, NodeName, ServiceName};
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// The shortest and the longest delay between two tries of one registration.
const RETRY: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(50), std::time::Duration::from_secs(5));

/// One registration: what it wants, what it knows of its node, and who waits for it.
pub(super) struct Entry {
    pub(super) service: ServiceName,
    id: InstanceId,
    pub(super) name: NodeName,
    pub(super) path: String,
    instance: Instance,
    registered: SystemTime,
    desired: Arc<Desired>,
    /// The revision of the desired attributes that the record states.
    revision: u64,
    pub(super) intent: Intent,
    pub(super) stage: Stage,
    written: Written,
    pub(super) states: watch::Sender<RegistrationState>,
    updates: Vec<oneshot::Sender<Result<Zxid, Error>>>,
    withdrawals: Vec<oneshot::Sender<Withdrawn>>,
    pub(super) backoff: Backoff,
}

/// How the next round begins for a registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// A request is under way. Its answer decides between the other two; a lost session leads to `Create`.
    Asked,
    /// The node is created at once: no session of ours has it. A refusal, or a doubt, leads to `Read`; a missing parent back
    /// to `Create`.
    Create,
    /// The node is read first. An absent node leads to `Create`, a doubt back to `Read`.
    Read,
}

/// What was sent to the node so far.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Written {
    /// Nothing: a withdrawal has nothing to undo. Stays so until the first create is sent.
    Never,
    /// At least one record, which may stand there. Stays so over failures; a read or an acknowledgement leads to `Seen`.
    Sent,
    /// The node was seen to say what it should, once: what differs from then on was written by somebody else.
    Seen,
}

/// What the driver has to do next for one registration.
#[derive(Debug)]
pub(super) enum Next {
    /// The place is taken: wait, or fail, as the caller asked.
    Conflict(String),
    /// A round as soon as possible.
    Due,
    /// End with this error; it is not tried again.
    Fail(Error),
    /// End: the node is gone, or left alone.
    Finish(Withdrawn),
    /// Make the parents, then a round as soon as possible.
    MakeParents,
    /// Make the parents, then a round after a backoff.
    MakeParentsLater,
    /// The server put another session in the place of ours.
    Replaced { by: i64 },
    /// A round after a backoff.
    Retry,
    /// Send this write with the next round.
    Send(Write),
    /// The node says what it should since this write.
    Settled(Zxid),
}

impl Entry {
    /// A registration of which nothing was sent yet.
    pub(super) fn new(new: NewRegistration, may_inherit: bool) -> Self {
        let exclusivity = match new.how.exclusive {
            true if may_inherit => Exclusivity::Heir,
            true => Exclusivity::Exclusive,
            false => Exclusivity::Shared,
        };
        Self {
            intent: Intent {
                record: None,
                sent: Vec::new(),
                claim: Claim::Newer,
                exclusivity,
                on_conflict: new.how.on_conflict,
            },
            service: new.service,
            id: new.id,
            name: new.name,
            path: new.path,
            instance: new.instance,
            registered: SystemTime::now(),
            desired: new.desired,
            revision: 0,
            stage: Stage::Create,
            written: Written::Never,
            states: new.states,
            updates: Vec::new(),
            withdrawals: Vec::new(),
            backoff: Backoff::new(RETRY.0, RETRY.1),
        }
    }

    /// Makes the record say what is wanted now.
    pub(super) fn rewrite(&mut self, context: &Context) -> Result<(), Error> {
        self.encode(context)?;
        if self.written != Written::Never && self.stage != Stage::Asked {
            self.stage = Stage::Read;
        }
        Ok(())
    }

    fn encode(&mut self, context: &Context) -> Result<(), Error> {
        let Wish { attributes, revision, .. } = self.desired.wish();
        let instance = self.instance.clone().with_attributes(attributes);
        let record =
            context.format.encode(&self.service, &self.id, &instance, &context.us.owner, self.registered)?;
        (self.intent.record, self.revision) = (Some(record.into()), revision);
        Ok(())
    }

    /// The record of the user's newest update is newer than whatever stands there; `done` learns when it is written.
    pub(super) fn update(&mut self, done: oneshot::Sender<Result<Zxid, Error>>) {
        self.updates.push(done);
        self.intent.claim = Claim::Newer;
    }

    /// There should be no node of ours any more. Returns whether there may be one.
    pub(super) fn withdraw(&mut self, done: Option<oneshot::Sender<Withdrawn>>) -> bool {
        self.withdrawals.extend(done);
        self.intent.record = None;
        let may_stand = self.written != Written::Never || self.stage == Stage::Asked;
        if self.stage != Stage::Asked {
            self.stage = Stage::Read;
        }
        may_stand
    }

    /// Whether a withdrawal would have nothing to undo.
    pub(super) fn is_untouched(&self) -> bool {
        self.written == Written::Never
    }

    /// From now on these bytes may stand there.
    pub(super) fn sending(&mut self, record: Bytes) {
        if self.written == Written::Never {
            self.written = Written::Sent;
        }
        self.intent.sent.retain(|sent| *sent != record);
        self.intent.sent.push(record);
    }

    /// A new session begins: nothing of ours stands in it.
    pub(super) fn start_over(&mut self) {
        self.stage = Stage::Create;
    }

    /// The next audit, or a reconnect, compares the node. A registration that was never created, or must be again, is not
    /// read first.
    pub(super) fn compare(&mut self) {
        let pending = matches!(*self.states.borrow(), RegistrationState::Pending);
        if !pending && self.stage != Stage::Asked {
            self.stage = Stage::Read;
        }
    }

    /// What to do after a read: the decision of the intent, and what follows from it for this entry.
    pub(super) fn decide(&mut self, seen: &Seen, context: &Context) -> Next {
        let mut step = context.sessions.with(|ids| self.intent.step(seen, &context.us, ids));
        if let Step::Adopt(_) | Step::WriteOver = step {
            match step {
                Step::Adopt(attributes) => self.adopt(&attributes, seen, context),
                _ => self.write_over(seen),
            }
            step = context.sessions.with(|ids| self.intent.step(seen, &context.us, ids));
        }
        self.follow(step)
    }

    fn follow(&mut self, step: Step) -> Next {
        let path = self.path.clone();
        self.stage = Stage::Read;
        match (step, self.intent.record.clone()) {
            (Step::Rest(stat), _) => self.settle(Zxid(stat.mzxid)),
            (Step::Create, _) => {
                self.stage = Stage::Create;
                Next::Due
            }
            (Step::Set { version }, Some(data)) => {
                self.sending(data.clone());
                self.send(Write::Set { path, data, version })
            }
            (Step::TakeOver { version }, Some(data)) => {
                self.sending(data.clone());
                self.send(Write::TakeOver { path, data, version })
            }
            (Step::Delete { version }, _) => self.send(Write::Delete { path, version }),
            (Step::Gone, _) => Next::Finish(Withdrawn::Confirmed),
            (Step::Superseded, _) => Next::Finish(Withdrawn::Superseded),
            (Step::Conflict(with), _) => Next::Conflict(with),
            (Step::Replaced { by }, _) => Next::Replaced { by },
            // Judged just before, or a write without a record: neither can be; reading again is always right.
            (Step::Adopt(_) | Step::WriteOver | Step::Set { .. } | Step::TakeOver { .. }, _) => Next::Retry,
        }
    }

    fn send(&mut self, write: Write) -> Next {
        self.stage = Stage::Asked;
        Next::Send(write)
    }

    /// A create, set or takeover was acknowledged.
    pub(super) fn wrote(&mut self, zxid: Zxid) -> Next {
        // What was sent last is what stands there.
        self.intent.sent.drain(..self.intent.sent.len().saturating_sub(1));
        self.stage = Stage::Read;
        match self.intent.record.as_ref() == self.intent.sent.last() {
            true => self.settle(zxid),
            false => Next::Due,
        }
    }

    /// The node is ours and says what it should.
    fn settle(&mut self, zxid: Zxid) -> Next {
        self.backoff.reset();
        self.intent.exclusivity = self.intent.exclusivity.spent();
        self.intent.claim = Claim::Seen;
        self.written = Written::Seen;
        self.intent.sent = self.intent.record.iter().cloned().collect();
        for done in self.updates.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(Ok(zxid));
        }
        Next::Settled(zxid)
    }

    /// Somebody else wrote our node: status and weight are theirs to change, the rest is not. Desired attributes that are
    /// newer than the record win all the same.
    fn adopt(&mut self, foreign: &Attributes, seen: &Seen, context: &Context) {
        if !self.desired.adopt(self.revision, foreign) {
            self.intent.claim = Claim::Newer;
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
        if let Err(error) = self.encode(context) {
            // It was checked before it was wanted.
            warn!(path = self.path, %error, "what is wanted cannot be written; the last record stays");
        }
    }

    /// Somebody else wrote our node, and none of it is adopted: it cannot be read, or the desired attributes are newer.
    fn write_over(&mut self, seen: &Seen) {
        // What stood there before a registration ever did is that of the one before it.
        if self.written == Written::Seen {
            warn!(path = self.path, "somebody else wrote our node; what it should say is restored");
            self.desired.written_over();
        }
        self.judged(seen);
    }

    /// These data need no second decision.
    fn judged(&mut self, seen: &Seen) {
        if let Seen::Node { node, .. } = seen {
            self.intent.sent.push(node.data.clone());
        }
    }

    /// The place is taken: the node is read before anything else is tried, and no sibling is inherited any more.
    pub(super) fn yield_place(&mut self) {
        self.stage = Stage::Read;
        self.intent.exclusivity = self.intent.exclusivity.spent();
    }

    /// Whether it has failed for good.
    pub(super) fn is_failed(&self) -> bool {
        matches!(*self.states.borrow(), RegistrationState::Failed(_)) && self.intent.record.is_some()
    }

    /// Says that it will not be tried again.
    pub(super) fn fail(&mut self, error: &Error) {
        for done in self.updates.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(Err(error.clone()));
        }
        self.states.send_replace(RegistrationState::Failed(error.clone()));
    }

    /// Says how it ended.
    pub(super) fn end(self, outcome: Withdrawn) {
        for done in self.updates {
            // The caller may have stopped waiting.
            let _ = done.send(Err(closed()));
        }
        self.states.send_replace(RegistrationState::Withdrawn(outcome));
        for done in self.withdrawals {
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        }
    }
}
