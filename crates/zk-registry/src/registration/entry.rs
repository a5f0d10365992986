//! One registration as its registrar holds it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use tracing::{debug, warn};

use super::context::Context;
use super::decision::{Address, Claim, Exclusivity, Intent, Listed, Seen, Step};
use super::desired::{Desired, Latest};
use super::next::Next;
use super::place::{Elsewhere, Places, Spot};
use super::registrar::NewRegistration;
use super::round::Write;
use super::stage::{Stage, Trouble, Written};
use super::state::{RegistrationState, closed};
use super::token::{FencingToken, TokenCell};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::format::Format;
use crate::format::sealed::{Drain, Owner, Place, Sharding};
use crate::format::shards::{Sharded, Shards};
use crate::instance::{Attributes, Instance, InstanceId, ServiceName, Status};
use crate::options::Source;
use crate::snapshot::Zxid;
use crate::store::Stat;
use crate::withdrawn::Withdrawn;

/// The shortest and the longest delay between two tries of one registration.
///
/// An administrator who lifts a refusal sees the registration at most so much later.
const RETRY: (std::time::Duration, std::time::Duration) =
    (std::time::Duration::from_millis(50), std::time::Duration::from_secs(5));

/// One registration: what it wants, what it knows of its node, and who waits for it.
pub(super) struct Entry {
    /// Where it stands, and how it is written.
    pub(super) source: Source,
    pub(super) service: ServiceName,
    /// The shards that `source` was told of.
    shards: Option<Shards>,
    /// The format of `source` without them.
    unsharded: Arc<dyn Format>,
    id: InstanceId,
    pub(super) held: String,
    pub(super) places: Places,
    pub(super) load: usize,
    instance: Instance,
    registered: SystemTime,
    desired: Arc<Desired>,
    /// The revision of the desired attributes that the record states.
    revision: u64,
    pub(super) intent: Intent,
    purpose: Purpose,
    pub(super) stage: Stage,
    written: Written,
    pub(super) states: watch::Sender<RegistrationState>,
    token: TokenCell,
    /// The session that owns a copy of our record, once the server did not list the node as ours.
    stranger: Option<i64>,
    /// The last write that made our node what it should be; 0 if there was none.
    last_write: Zxid,
    /// How many requests in a row have failed for want of an answer.
    doubts: u32,
    updates: Vec<oneshot::Sender<Result<Zxid, Error>>>,
    withdrawals: Vec<oneshot::Sender<Withdrawn>>,
    pub(super) backoff: Backoff,
}

/// From how many requests in a row on whose answers are lost the cause is in the log: a request of ours may be what ends the
/// connections.
const SUSPICIOUS: u32 = 3;

/// What a registration is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Purpose {
    /// There should be no node of ours, and the registration ends once there is none.
    Leave,
    /// It drains in a format that cannot say so: there should be no node of ours until it is up again.
    Rest,
    /// There should be a node.
    Stand,
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
                address: Address::from(&new.instance),
            },
            unsharded: new.source.format.clone(),
            purpose: Purpose::Stand,
            source: new.source,
            service: new.service,
            shards: None,
            id: new.id,
            held: new.held,
            places: Places::new(new.spot),
            load: new.load,
            instance: new.instance,
            registered: new.registered,
            desired: new.desired,
            revision: 0,
            stage: Stage::Create,
            written: Written::Never,
            states: new.states,
            token: new.token,
            stranger: None,
            last_write: Zxid::default(),
            doubts: 0,
            updates: Vec::new(),
            withdrawals: Vec::new(),
            backoff: Backoff::new(RETRY.0, RETRY.1),
        }
    }

    /// Whether it may stand in a shard.
    pub(super) fn may_shard(&self) -> bool {
        self.source.format.sharding() == Sharding::ReadAndWrite
    }

    /// The path of the service's own node.
    pub(super) fn root(&self) -> String {
        self.source.base.service(&self.service)
    }

    /// The nodes above the service's own.
    pub(super) fn parents(&self) -> Vec<String> {
        let mut parents = self.source.base.parents(&self.service);
        parents.pop();
        parents
    }

    /// From now on it stands where these shards say.
    pub(super) fn reshard(&mut self, shards: Shards, context: &Context) -> Result<(), Error> {
        if self.shards == Some(shards) {
            return Ok(());
        }
        self.source.format = Arc::new(Sharded::new(self.unsharded.clone(), shards));
        self.shards = Some(shards);
        self.rewrite(context)
    }

    /// Makes the record say what is wanted now.
    pub(super) fn rewrite(&mut self, context: &Context) -> Result<(), Error> {
        self.encode(context)?;
        if self.written != Written::Never {
            self.read_next();
        }
        Ok(())
    }

    fn encode(&mut self, context: &Context) -> Result<(), Error> {
        let Latest { attributes, revision, .. } = self.desired.latest();
        let drains = attributes.status == Status::Draining;
        let rests = drains && self.source.format.carries().drain == Drain::Remove;
        self.purpose = match self.purpose {
            Purpose::Leave => Purpose::Leave,
            Purpose::Rest | Purpose::Stand if rests => Purpose::Rest,
            Purpose::Rest | Purpose::Stand => Purpose::Stand,
        };
        let instance = self.instance.clone().with_attributes(attributes);
        let (service, id, owner) = (&self.service, &self.id, &context.us.owner);
        let place = Place { service, id, owner, registered: self.registered };
        let record = self.source.format.record(&place, &instance)?;
        self.places.want(Spot::new(&self.source.base, &record)?, self.written == Written::Never);
        let stands = self.purpose == Purpose::Stand;
        (self.intent.record, self.revision) = (stands.then(|| record.data.into()), revision);
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
        self.purpose = Purpose::Leave;
        self.intent.record = None;
        !self.is_untouched()
    }

    /// The next request is a read, unless one is under way.
    fn read_next(&mut self) {
        if !self.stage.is_asked() {
            self.stage = Stage::Read;
        }
    }

    /// The node may have changed: it is read in the next round. `false` when a request is under way: it is read after that.
    pub(super) fn nudge(&mut self) -> bool {
        let is_asked = self.stage.is_asked();
        self.stage = if is_asked { Stage::AskedAgain } else { Stage::Read };
        !is_asked
    }

    /// Whether its first node may disturb what stands beside it.
    pub(super) fn may_disturb(&self) -> bool {
        self.is_untouched() && self.source.format.may_disturb()
    }

    /// Whether it ends once no node of ours stands.
    pub(super) fn is_leaving(&self) -> bool {
        self.purpose == Purpose::Leave
    }

    /// Whether there should be no node of ours for a while.
    pub(super) fn is_resting(&self) -> bool {
        self.purpose == Purpose::Rest
    }

    /// No node of ours stands, as it should be for a while; `true` when that is news.
    pub(super) fn rested(&mut self) -> bool {
        self.backoff.reset();
        self.doubts = 0;
        self.intent.sent.clear();
        let zxid = self.last_write;
        for done in self.updates.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(Ok(zxid));
        }
        self.token.set(None);
        self.say(RegistrationState::Drained { zxid })
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
        self.stage = if self.places.is_astray() { Stage::Read } else { Stage::Create };
    }

    /// The next audit, or a reconnect, compares the node. A registration that was never created, or must be again, is not
    /// read first.
    pub(super) fn compare(&mut self) {
        let pending = matches!(*self.states.borrow(), RegistrationState::Pending);
        if !pending {
            self.read_next();
        }
    }

    /// What to do after a read: the decision of the intent, and what follows from it for this entry.
    pub(super) fn decide(&mut self, seen: &Seen, listed: Listed, context: &Context) -> Next {
        let listed = self.known(seen, listed);
        let mut step = context.sessions.with(|ids| self.intent.step(seen, &context.us, ids, listed));
        if let Step::Adopt(_) | Step::WriteOver = step {
            match step {
                Step::Adopt(attributes) => self.adopt(&attributes, seen, context),
                _ => self.write_over(seen, context),
            }
            step = context.sessions.with(|ids| self.intent.step(seen, &context.us, ids, listed));
        }
        if let (Step::Conflict(_) | Step::Superseded, Listed::No, Seen::Node { node, .. }) =
            (&step, listed, seen)
        {
            self.stranger = Some(node.stat.owner);
        }
        self.follow(step, seen)
    }

    /// What needs no list of what our session owns: it can be long, and a conflict looks again every second.
    fn known(&self, seen: &Seen, listed: Listed) -> Listed {
        match seen {
            Seen::Node { node, .. } if self.stranger == Some(node.stat.owner) => Listed::No,
            // A node that was never seen to be ours, and is not withdrawn, counts as foreign until it can be read.
            Seen::Unreadable if self.written != Written::Seen && self.intent.record.is_some() => Listed::No,
            _ => listed,
        }
    }

    fn follow(&mut self, step: Step, seen: &Seen) -> Next {
        self.stage = Stage::Read;
        if self.places.is_astray()
            && let Some(next) = self.follow_astray(&step, seen)
        {
            return next;
        }
        let path = self.path().to_owned();
        match (step, self.intent.record.clone()) {
            (Step::Rest(stat), _) => self.settle(stat),
            (Step::Create, _) => {
                self.stage = Stage::Create;
                self.unlisted();
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
            (Step::ListOwned, _) => Next::ListOwned,
            (Step::Forbidden, None) => {
                warn!(
                    path,
                    "not allowed to read the node, so it is not deleted; it stays until the session ends"
                );
                Next::Finish(Withdrawn::Forbidden)
            }
            (Step::Forbidden, Some(_)) => {
                let message = format!("{path}: ZooKeeper's access control forbids us to read our own node");
                Next::Retry(Trouble::Refused(Error::new(ErrorKind::NoAuth, message)))
            }
            (Step::Replaced { by }, _) => Next::Replaced { by },
            // Judged just before, or a write without a record: neither can be; reading again is always right.
            (Step::Adopt(_) | Step::WriteOver | Step::Set { .. } | Step::TakeOver { .. }, _) => Next::Due,
        }
    }

    /// What follows where the node stands, or may stand, elsewhere than it should. `None`: what would follow anyway.
    fn follow_astray(&mut self, step: &Step, seen: &Seen) -> Option<Next> {
        match (step, &self.intent.record, seen) {
            (
                Step::Rest(_) | Step::Set { .. } | Step::TakeOver { .. },
                Some(data),
                Seen::Node { node, .. },
            ) => {
                let (data, from) = (data.clone(), self.path().to_owned());
                let (to, version) = (self.places.wanted.path.clone(), node.stat.version);
                // A node that was written after a lost move stands where it should, by what it says there.
                if from == to {
                    self.places.stayed();
                    return None;
                }
                self.sending(data.clone());
                self.places.sending();
                Some(self.send(Write::Move { from, version, to, data }))
            }
            (Step::Create | Step::Conflict(_), Some(_), _) | (Step::Gone | Step::Superseded, None, _) => {
                match self.places.missing() {
                    Elsewhere::Moved => Some(Next::Due),
                    Elsewhere::Nowhere if matches!(step, Step::Conflict(_)) => Some(Next::Due),
                    Elsewhere::Nowhere => None,
                }
            }
            _ => None,
        }
    }

    fn send(&mut self, write: Write) -> Next {
        self.stage = Stage::Asked;
        Next::Send(write)
    }

    /// A create, set or takeover was acknowledged.
    pub(super) fn wrote(&mut self, stat: Stat) -> Next {
        // What was sent last is what stands there.
        self.intent.sent.drain(..self.intent.sent.len().saturating_sub(1));
        self.stage = Stage::Read;
        self.places.written();
        match self.intent.record.as_ref() == self.intent.sent.last() && !self.places.is_astray() {
            true => self.settle(stat),
            false => Next::Due,
        }
    }

    /// The node is ours and says what it should.
    fn settle(&mut self, stat: Stat) -> Next {
        self.backoff.reset();
        self.doubts = 0;
        self.intent.exclusivity = self.intent.exclusivity.spent();
        self.intent.claim = Claim::Seen;
        self.written = Written::Seen;
        self.last_write = Zxid(stat.mzxid);
        self.intent.sent = self.intent.record.iter().cloned().collect();
        for done in self.updates.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(Ok(Zxid(stat.mzxid)));
        }
        Next::Settled(stat)
    }

    /// Says that our node stands, or stood when the connection was lost; `true` when that is news.
    pub(super) fn listed(&self, stat: Stat, is_connected: bool) -> bool {
        let zxid = Zxid(stat.mzxid);
        let token = FencingToken { created: Zxid(stat.czxid), session: stat.owner };
        // An answer without a stat leaves the token to the next read.
        self.token.set((stat.owner != 0).then_some(token));
        self.say(match is_connected {
            true => RegistrationState::Registered { zxid },
            false => RegistrationState::Suspended { zxid },
        })
    }

    /// Says that the connection is lost.
    pub(super) fn suspended(&self) {
        let state = self.states.borrow().clone();
        if let RegistrationState::Registered { zxid } = state {
            self.say(RegistrationState::Suspended { zxid });
        }
    }

    /// Says that our node does not stand any more.
    pub(super) fn unlisted(&self) {
        if self.standing().is_some() {
            self.token.set(None);
            self.say(RegistrationState::Pending);
        }
    }

    /// Says whose node is in the place; `true` when that is news.
    pub(super) fn conflict(&self, with: &str) -> bool {
        self.token.set(None);
        self.say(RegistrationState::Conflict { with: with.to_owned() })
    }

    /// Says why a request is made again. A cause is logged once.
    pub(super) fn troubled(&mut self, trouble: Trouble) {
        let (cause, is_refused) = match trouble {
            Trouble::Doubt(cause) => (cause, false),
            Trouble::Refused(cause) => (cause, true),
        };
        let standing = self.standing();
        self.doubts = if is_refused { 0 } else { self.doubts.saturating_add(1) };
        if is_refused {
            for done in self.updates.drain(..) {
                // The caller may have stopped waiting.
                let _ = done.send(Err(cause.clone()));
            }
        }
        let is_known = matches!(&*self.states.borrow(), RegistrationState::Retrying { cause: known, .. } if *known == cause);
        match is_refused {
            true if !is_known => warn!(path = self.path(), %cause, "refused; trying on"),
            false if self.doubts == SUSPICIOUS => {
                let bytes = self.intent.record.as_ref().map_or(0, Bytes::len);
                warn!(path = self.path(), %cause, bytes, "the answers of several requests in a row were lost; trying on");
            }
            _ => debug!(path = self.path(), %cause, "trying again"),
        }
        // What the connection is to blame for is the connection's state; our node stands all the while.
        let is_pending = *self.states.borrow() == RegistrationState::Pending;
        if is_refused || is_pending || self.doubts >= SUSPICIOUS {
            self.say(RegistrationState::Retrying { cause, standing });
        }
    }

    /// Says that no server takes our credentials.
    pub(super) fn refused(&mut self, cause: &Error) {
        if !self.is_failed() && !self.is_leaving() {
            for done in self.updates.drain(..) {
                // The caller may have stopped waiting.
                let _ = done.send(Err(cause.clone()));
            }
            let standing = self.standing();
            self.say(RegistrationState::Retrying { cause: cause.clone(), standing });
        }
    }

    /// The write that made what our node says, if it stands.
    fn standing(&self) -> Option<Zxid> {
        match *self.states.borrow() {
            RegistrationState::Registered { zxid } | RegistrationState::Suspended { zxid } => Some(zxid),
            RegistrationState::Retrying { standing, .. } => standing,
            _ => None,
        }
    }

    fn say(&self, next: RegistrationState) -> bool {
        self.states.send_if_modified(|state| {
            let news = *state != next;
            *state = next;
            news
        })
    }

    /// Takes up a foreign write of our node: status, weight and the reason of a drain are adopted, the rest is not. Desired
    /// attributes that are newer than the record win all the same.
    fn adopt(&mut self, foreign: &Attributes, seen: &Seen, context: &Context) {
        if !self.desired.adopt(self.revision, foreign) {
            self.intent.claim = Claim::Newer;
            self.write_over(seen, context);
        } else {
            context.counters.adopted.add(1);
            warn!(
                path = self.path(),
                status = %foreign.status,
                weight = foreign.weight,
                "somebody else wrote our node; its status, weight and drain reason are adopted, the rest is restored"
            );
            self.judged(seen);
        }
        if let Err(error) = self.encode(context) {
            // It was checked before it was wanted.
            warn!(path = self.path(), %error, "what is wanted cannot be written; the last record stays");
        }
    }

    /// A foreign write of our node of which nothing is adopted: it cannot be read, or the desired attributes are newer.
    fn write_over(&mut self, seen: &Seen, context: &Context) {
        // What stood there before a registration ever did is that of the one before it.
        if self.written == Written::Seen {
            warn!(path = self.path(), "somebody else wrote our node; what it should say is restored");
            self.desired.written_over();
            context.counters.written_over.add(1);
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
        matches!(*self.states.borrow(), RegistrationState::Failed(_)) && !self.is_leaving()
    }

    /// The path of the node, as far as known.
    pub(super) fn path(&self) -> &str {
        &self.places.at.path
    }

    /// The path of the node above the one that is wanted.
    pub(super) fn parent(&self) -> String {
        self.source.base.service(&self.places.wanted.directory)
    }

    /// What its node says with these data, with the weight as it was asked for, and who wrote it.
    pub(super) fn read(&self, data: &[u8]) -> Option<(Instance, Option<Owner>)> {
        self.places.at.read(&self.source, &self.service, data)
    }

    /// Says that it will not be tried again.
    pub(super) fn fail(&mut self, error: &Error) {
        for done in self.updates.drain(..) {
            // The caller may have stopped waiting.
            let _ = done.send(Err(error.clone()));
        }
        self.token.set(None);
        self.states.send_replace(RegistrationState::Failed(error.clone()));
    }

    /// Says how it ended.
    pub(super) fn end(self, outcome: Withdrawn) {
        for done in self.updates {
            // The caller may have stopped waiting.
            let _ = done.send(Err(closed()));
        }
        self.token.set(None);
        self.states.send_replace(RegistrationState::Withdrawn(outcome));
        for done in self.withdrawals {
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        }
    }
}
