//! What the answers of a round mean: the other half of the registrar's task.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::context::path_load;
use super::decision::{Seen, Step};
use super::driver::Task;
use super::entry::{Approach, Entry};
use super::holders::Key;
use super::round::{Answer, Answers, Write};
use super::state::{OnConflict, RegistrationState};
use crate::backoff::jittered;
use crate::error::{Error, ErrorKind};
use crate::instance::ServiceName;
use crate::options::Acl;
use crate::session::Command;
use crate::snapshot::Zxid;
use crate::store::{Fault, Node, Stat};
use crate::withdrawn::Withdrawn;

/// How long a registration that found somebody else's node waits before it looks again.
const CONFLICT_RECHECK: Duration = Duration::from_secs(1);

impl Task {
    /// The answers of a round.
    pub(super) fn learn(&mut self, answers: Answers) {
        let orphans: HashMap<ServiceName, Fault> = answers.orphans.into_iter().collect();
        for (service, path, acl) in answers.acls {
            self.examine(service, &path, acl);
        }
        for (key, answer) in answers.items {
            if let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) {
                kept.busy = false;
            }
            match answer {
                Answer::Read(answer) => self.decide(key, answer),
                Answer::Created(Ok(stat)) | Answer::Written(Ok(stat)) => self.wrote(key, &stat),
                Answer::Deleted(Ok(()) | Err(Fault::NoNode)) => self.gone(key),
                Answer::Created(Err(Fault::NoNode)) => self.orphaned(key, &orphans),
                Answer::Created(Err(Fault::NodeExists))
                | Answer::Written(Err(Fault::BadVersion | Fault::NoNode | Fault::NodeExists))
                | Answer::Deleted(Err(Fault::BadVersion)) => self.again(key),
                Answer::Created(Err(fault)) | Answer::Written(Err(fault)) | Answer::Deleted(Err(fault)) => {
                    self.failed(key, fault);
                }
            }
        }
        for path in answers.owned.unwrap_or_default() {
            if self.context.book.holder(&path).is_none() && self.context.base.contains(&path) {
                let key = Key::fresh();
                self.entries.insert(key, Entry::Ghost(path));
                self.due.insert(key);
            }
        }
    }

    /// A read came back: what now?
    fn decide(&mut self, key: Key, answer: Result<Node, Fault>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let context = &self.context;
        match entry {
            Entry::Ghost(path) => {
                let path = std::mem::take(path);
                self.entries.remove(&key);
                if let Ok(node) = answer
                    && context.sessions.with(|ids| ids.live.contains(&node.stat.owner))
                    && context.book.holder(&path).is_none()
                {
                    info!(path, "deleting a node of ours that nobody wants any more");
                    self.writes.push((key, Write::Delete { path, version: node.stat.version }));
                }
            }
            Entry::Kept(kept) => {
                let decode = |data: &[u8]| {
                    let decoded = context.format.decode(&kept.service, &kept.id, data).ok()?;
                    Some((decoded.instance, decoded.owner))
                };
                let Some(seen) = Seen::new(answer, decode) else {
                    return self.retry(key);
                };
                let mut step = context.sessions.with(|ids| kept.intent.step(&seen, &context.us, ids));
                if let Step::Adopt(_) | Step::WriteOver = step {
                    match step {
                        Step::Adopt(attributes) => kept.adopt(&attributes, &seen, context),
                        _ => kept.write_over(&seen),
                    }
                    step = context.sessions.with(|ids| kept.intent.step(&seen, &context.us, ids));
                }
                self.take(key, step);
            }
        }
    }

    fn take(&mut self, key: Key, step: Step) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let path = kept.path.clone();
        let record = kept.intent.record.clone();
        match (step, record) {
            (Step::Rest(stat), _) => self.settle(key, &stat),
            (Step::Create, _) => {
                kept.approach = Approach::Create;
                self.due.insert(key);
            }
            (Step::Set { version }, Some(data)) => {
                kept.sending(data.clone());
                kept.busy = true;
                self.writes.push((key, Write::Set { path, data, version }));
            }
            (Step::TakeOver { version }, Some(data)) => {
                info!(path, "taking over the node of a predecessor");
                kept.sending(data.clone());
                kept.busy = true;
                self.writes.push((key, Write::TakeOver { path, data, version }));
            }
            (Step::Delete { version }, _) => {
                kept.busy = true;
                self.writes.push((key, Write::Delete { path, version }));
            }
            (Step::Gone, _) => self.finish(key, Withdrawn::Confirmed),
            (Step::Superseded, _) => self.finish(key, Withdrawn::Superseded),
            (Step::Conflict(with), _) => self.conflict(key, with),
            (Step::Replaced { by }, _) => {
                let epoch = self.seen.0;
                self.context.sessions.disowned(by);
                if let Some(supervisor) = self.supervisor.upgrade() {
                    // A supervisor that is gone has lost the session too.
                    let _ = supervisor.send(Command::Replaced { epoch });
                }
                self.retry(key);
            }
            // Judged just before, or a write without a record: neither can be; reading again is always right.
            (Step::Adopt(_) | Step::WriteOver | Step::Set { .. } | Step::TakeOver { .. }, _) => {
                self.retry(key);
            }
        }
    }

    /// A create, set or takeover was acknowledged.
    fn wrote(&mut self, key: Key, stat: &Stat) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        // What was sent last is what stands there.
        kept.intent.sent.drain(..kept.intent.sent.len().saturating_sub(1));
        kept.approach = Approach::Read;
        if kept.intent.record.as_ref() == kept.intent.sent.last() {
            self.settle(key, stat);
        } else {
            self.due.insert(key);
        }
    }

    /// The node is ours and says what it should.
    fn settle(&mut self, key: Key, stat: &Stat) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let zxid = Zxid(stat.mzxid);
        kept.approach = Approach::Read;
        kept.backoff.reset();
        kept.intent.inherit = false;
        kept.intent.insist = false;
        kept.settled = true;
        kept.intent.sent = kept.intent.record.iter().cloned().collect();
        if kept.exclusive {
            self.context.book.inherited(&kept.path);
        }
        let news = kept.states.send_if_modified(|state| match state {
            RegistrationState::Registered { zxid: known } if *known == zxid => false,
            _ => {
                *state = RegistrationState::Registered { zxid };
                true
            }
        });
        if news {
            debug!(path = kept.path, %zxid, "registered");
            if self.context.acl != Acl::Open && !self.examined.contains(&kept.service) {
                self.unexamined.insert(kept.service.clone());
            }
        }
        for done in kept.updates.drain(..) {
            // Nobody may be waiting any more.
            let _ = done.send(Ok(zxid));
        }
    }

    /// What it takes to delete an instance, or to put another one beside it, is the parent's to give.
    fn examine(&mut self, service: ServiceName, path: &str, acl: Result<Acl, Fault>) {
        let found = match acl {
            Ok(found) => found,
            Err(fault) => return debug!(path, ?fault, "the ACL of the parent could not be read"),
        };
        let asked = self.context.acl;
        if found == Acl::Open || (found == Acl::ReadOnly && asked == Acl::Creator) {
            warn!(
                path,
                ?asked,
                ?found,
                "the parent was there before us, and allows strangers more than our ACL does"
            );
        }
        self.examined.insert(service);
    }

    /// Ours was deleted, as asked.
    fn gone(&mut self, key: Key) {
        let wanted = match self.entries.get(&key) {
            Some(Entry::Kept(kept)) => kept.intent.record.is_some(),
            _ => return,
        };
        if wanted { self.again(key) } else { self.finish(key, Withdrawn::Confirmed) }
    }

    /// A create found no parent.
    fn orphaned(&mut self, key: Key, orphans: &HashMap<ServiceName, Fault>) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let service = kept.service.clone();
        kept.approach = Approach::Create;
        match orphans.get(&service) {
            None => {
                self.parents.insert(service);
                self.due.insert(key);
            }
            Some(Fault::NoNode) => {
                warn!(path = kept.path, "the parents cannot be made: does the chroot exist?");
                self.parents.insert(service);
                self.retry(key);
            }
            Some(fault) => {
                self.parents.insert(service);
                self.failed(key, fault.clone());
            }
        }
    }

    /// The world moved between the read and the write: read again.
    fn again(&mut self, key: Key) {
        if let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) {
            kept.approach = Approach::Read;
            self.due.insert(key);
        }
    }

    /// Not known what happened: read again, a little later. A reconnect asks sooner.
    fn retry(&mut self, key: Key) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let delay = kept.backoff.delay(&mut self.rng);
        self.wake_in(key, delay);
    }

    /// Makes it due a little later; what it was to be due at before does not count any more.
    fn wake_in(&mut self, key: Key, delay: Duration) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let at = Instant::now() + delay;
        if let Some(before) = kept.timer.replace(at) {
            self.timers.remove(&(before, key));
        }
        self.timers.insert((at, key));
    }

    fn failed(&mut self, key: Key, fault: Fault) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let path = kept.path.clone();
        let error = match fault {
            Fault::NoAuth if kept.intent.record.is_none() => {
                warn!(path, "not allowed to delete the node; it stays until the session ends");
                return self.finish(key, Withdrawn::Forbidden);
            }
            Fault::NoAuth => {
                Error::new(ErrorKind::NoAuth, format!("{path}: ZooKeeper's access control forbids it"))
            }
            Fault::InvalidAcl => Error::new(
                ErrorKind::Invalid,
                format!("{path}: the ACL needs an identity, and ZooKeeper knows none of us"),
            ),
            Fault::TooLarge => Error::new(ErrorKind::TooLarge, format!("{path}: the record is too large")),
            Fault::Unimplemented => {
                Error::new(ErrorKind::ServerTooOld, format!("{path}: the server lacks an operation"))
            }
            Fault::NoChildrenForEphemerals => {
                return self.conflict(key, "the parent is somebody's ephemeral node".to_owned());
            }
            Fault::Definite(why) => {
                warn!(path, why, "ZooKeeper refused, trying again");
                kept.approach = Approach::Read;
                return self.retry(key);
            }
            _ => {
                kept.approach = Approach::Read;
                return self.retry(key);
            }
        };
        self.fail(key, error);
    }

    /// Somebody else's node is in the place.
    pub(super) fn conflict(&mut self, key: Key, with: String) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        if kept.intent.on_conflict == OnConflict::Fail {
            let error = Error::new(ErrorKind::Conflict, format!("{} is taken by {with}", kept.path));
            return self.fail(key, error);
        }
        kept.approach = Approach::Read;
        kept.intent.inherit = false;
        kept.states.send_if_modified(|state| {
            let news = !matches!(state, RegistrationState::Conflict { with: known } if *known == with);
            if news {
                warn!(path = kept.path, with, "the place is taken; waiting");
                *state = RegistrationState::Conflict { with };
            }
            news
        });
        let delay = jittered(CONFLICT_RECHECK, &mut self.rng);
        self.wake_in(key, delay);
    }

    /// It will not be tried again.
    pub(super) fn fail(&mut self, key: Key, error: Error) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        warn!(path = kept.path, %error, "registration failed");
        for done in kept.updates.drain(..) {
            // Nobody may be waiting any more.
            let _ = done.send(Err(error.clone()));
        }
        kept.states.send_replace(RegistrationState::Failed(error));
        self.context.book.release(&kept.path, key);
        if kept.intent.record.is_none() {
            self.finish(key, Withdrawn::Superseded);
        }
    }

    /// Withdrawn: nothing of it is left here.
    pub(super) fn finish(&mut self, key: Key, outcome: Withdrawn) {
        if let Some(Entry::Kept(kept)) = self.entries.remove(&key) {
            self.context.book.release(&kept.path, key);
            self.load.fetch_sub(path_load(&kept.path, self.context.chroot_len), Ordering::Relaxed);
            self.due.remove(&key);
            if let Some(at) = kept.timer {
                self.timers.remove(&(at, key));
            }
            kept.end(outcome);
        }
    }
}
