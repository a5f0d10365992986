//! The driver: one task per session keeps all its registrations true, in rounds.
//!
//! A round sends what is due, all at once; its answers make the next round. What arrives while a round is under way waits
//! for the next one, or until it fills a transaction, so that a thousand registrations become a few requests. Nothing is
//! remembered across a doubt: an ambiguous answer, a reconnect or an audit means reading again.
//!
//! It never watches the parent: 10,000 registrants would each hear of every change. The audit finds what others did.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::OptionFuture;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::answers::{self, Circumstances};
use super::audit::Audits;
use super::connection::{Asked, Connection, SameSession, Turn};
use super::context::Context;
use super::entry::Entry;
use super::holders::{Hold, Key};
use super::markers::{Ask, Found, Markers, Wish};
use super::neighbours::{Company, Look, Neighbours};
use super::next::Next;
use super::parents::{self, Parents};
use super::registrar::{Command, NewRegistration, Registrar, millis};
use super::round::{Answer, Answers, Round, Write};
use super::schedule::Schedule;
use super::stage::{Stage, Trouble};
use super::state::{OnConflict, RegistrationState};
use super::under_way::{Room, UnderWay};
use crate::backoff::jittered;
use crate::error::{Error, ErrorKind};
use crate::options::Mixing;
use crate::session::{self, Link, Phase};
use crate::snapshot::Zxid;
use crate::store::{Fault, Node, Stat};
use crate::withdrawn::Withdrawn;

/// The delay after which a registration that found a foreign node looks again.
const CONFLICT_RECHECK: Duration = Duration::from_secs(1);

/// The task behind a [`Registrar`]. `run` it once.
pub(crate) struct Driver {
    context: Context,
    commands: mpsc::UnboundedReceiver<Command>,
    connection: Connection,
    supervisor: mpsc::WeakUnboundedSender<session::Command>,
    session_timeout: Arc<AtomicU64>,
    load: Arc<AtomicUsize>,
    rng: SmallRng,
    /// The registrations, boxed because a growing table moves its values.
    entries: HashMap<Key, Box<Entry>>,
    schedule: Schedule,
    /// Registrations whose path has become free.
    freed: (mpsc::UnboundedSender<Key>, mpsc::UnboundedReceiver<Key>),
    /// Fenced writes that the last answers asked for.
    writes: Vec<(Key, Write)>,
    parents: Parents,
    neighbours: Neighbours,
    markers: Markers,
    under_way: UnderWay,
    audits: Audits,
}

/// A registrar and the driver behind it, which has to be run.
pub(crate) fn registrar(
    context: Context,
    link: watch::Receiver<Link>,
    supervisor: mpsc::WeakUnboundedSender<session::Command>,
) -> (Registrar, Driver) {
    let (sender, commands) = mpsc::unbounded_channel();
    let session_timeout = Arc::new(AtomicU64::new(millis(context.session_timeout)));
    let load = Arc::new(AtomicUsize::new(0));
    let registrar = Registrar {
        holders: context.holders.clone(),
        commands: sender,
        session_timeout: session_timeout.clone(),
        load: load.clone(),
    };
    let under_way = UnderWay::new(context.full_transaction);
    let driver = Driver {
        rng: SmallRng::seed_from_u64(context.seed),
        audits: Audits::new(context.audit_interval),
        context,
        commands,
        connection: Connection::new(link),
        supervisor,
        session_timeout,
        load,
        entries: HashMap::new(),
        schedule: Schedule::default(),
        freed: mpsc::unbounded_channel(),
        writes: Vec::new(),
        parents: Parents::default(),
        neighbours: Neighbours::default(),
        markers: Markers::default(),
        under_way,
    };
    (registrar, driver)
}

impl Driver {
    /// Keeps the registrations true until the registry is closed or every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut commands = Vec::new();
        loop {
            self.begin_round();
            let timer = OptionFuture::from(self.schedule.next_timer().map(sleep_until));
            tokio::select! {
                biased;
                changed = self.connection.changed() => match changed {
                    Ok(()) => self.relink(),
                    // The supervisor is gone, and so is the session.
                    Err(_) => return self.end(),
                },
                (asked, answers) = self.under_way.answers() => self.learn(asked, answers),
                received = self.commands.recv_many(&mut commands, 4_096) => {
                    if received == 0 {
                        return;
                    }
                    commands.drain(..).for_each(|command| self.obey(command));
                }
                Some(key) = self.freed.1.recv() => self.schedule.due(key),
                Some(()) = timer => self.schedule.wake(Instant::now()),
                () = sleep_until(self.audits.next()) => self.begin_audit(),
            }
        }
    }

    /// Sends the registrations that are due, if there is a connection and room for them.
    fn begin_round(&mut self) {
        let Some(room) = self.under_way.room(self.due_beside()) else { return };
        let Some(store) = self.connection.store() else { return };
        let mut round = Round::default();
        if room == Room::Round {
            round.writes = std::mem::take(&mut self.writes);
            round.owned = self.audits.take_owed();
            self.parents.enlist(&mut round);
        }
        while round.creates.len() + round.reads.len() < self.under_way.most(room)
            && let Some(key) = self.schedule.pop()
        {
            self.enlist(key, &mut round);
        }
        if room == Room::Round {
            round.looks.extend(self.neighbours.wanted().cloned());
            round.markers.extend(self.markers.wanted());
        }
        if !round.is_empty() {
            self.under_way.sent(room, self.connection.asked(), round.send(store, self.context.acl));
        }
    }

    /// How many registrations may be sent beside the round under way: none while the next round has more to ask than registrations.
    /// Only that one makes missing parents, for instance: without it the same refusal would come again and again.
    fn due_beside(&self) -> usize {
        if self.writes.is_empty() && !self.audits.is_owed() && !self.parents.are_missing() {
            self.schedule.count()
        } else {
            0
        }
    }

    /// Adds one registration, or one leftover, to the round.
    fn enlist(&mut self, key: Key, round: &mut Round) {
        if let Some(path) = self.audits.leftover(key) {
            // The list is made after the read: it says whether the node that was read is our session's.
            round.owned = true;
            return round.reads.push((key, path.clone()));
        }
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.stage.is_asked() || entry.is_failed() {
            return;
        }
        if self.context.shards > 1 && entry.may_shard() && entry.intent.record.is_some() {
            let wish = Wish::AtLeast(self.context.shards);
            let (parents, kind) = (entry.parents(), parents::kind(&*entry.source.format));
            let due = (key, entry.stage);
            let shards = self.markers.judge(&entry.root(), due, || Ask { parents, kind, wish });
            let Some(shards) = shards else { return };
            if let Err(error) = entry.reshard(shards, &self.context) {
                return self.fail(key, error);
            }
        }
        match entry.intent.record.clone() {
            Some(record) => {
                if self.context.mixing == Mixing::Refuse && entry.may_disturb() {
                    match self.neighbours.judge(&entry.parent(), &*entry.source.format, key) {
                        Company::Fine => {}
                        Company::Unknown => return,
                        Company::Refused(error) => return self.fail(key, error),
                    }
                }
                match self.context.holders.hold(&entry.held, key, &self.freed.0) {
                    Hold::Held => {}
                    Hold::Leaving => return,
                    Hold::Taken => {
                        return self.conflict(key, "another registration of this registry".to_owned());
                    }
                }
                self.context.holders.stand(&entry.held, entry.places.paths());
                if entry.stage == Stage::Create {
                    entry.sending(record.clone());
                    round.creates.push((key, entry.path().to_owned(), record));
                } else {
                    round.reads.push((key, entry.path().to_owned()));
                }
            }
            None if entry.is_resting() && entry.is_untouched() => return self.rested(key),
            None if entry.is_untouched() => return self.finish(key, Withdrawn::Confirmed),
            // One that had failed let go of the path: what stands there is its successor's by now.
            None if entry.is_leaving() && !self.context.holders.leave(&entry.held, key) => {
                return self.finish(key, Withdrawn::Superseded);
            }
            None => round.reads.push((key, entry.path().to_owned())),
        }
        entry.stage = Stage::Asked;
    }

    /// Takes up the answers of a round.
    fn learn(&mut self, asked: Asked, answers: Answers) {
        let orphans: HashMap<String, Fault> = answers.orphans.into_iter().collect();
        let is_current = self.connection.is_current(asked);
        let owned = answers.owned.as_ref().filter(|_| is_current);
        let mut has_judged_leftovers = false;
        for (directory, seen) in answers.looks {
            let (waiting, look) = self.neighbours.saw(directory.clone(), seen);
            for key in waiting {
                let next = match &look {
                    Look::Known => Next::Due,
                    // A create would only find that out.
                    Look::NoDirectory => Next::MakeParents,
                    // As after any other request that failed: later and later, and with a cause.
                    Look::Failed(fault) => answers::classify_fault(&directory, fault.clone()),
                };
                self.act(key, next);
            }
        }
        for (root, found) in answers.markers {
            self.saw_marker(&root, found);
        }
        for (path, acl) in answers.acls {
            self.parents.examine(path, acl, self.context.acl);
        }
        for (key, answer) in answers.items {
            answer.count(&self.context.counters.writes);
            if let Some(path) = self.audits.take(key) {
                has_judged_leftovers = true;
                if let Some(Ok(owned)) = owned
                    && owned.contains(&path)
                {
                    self.clear(key, path, answer);
                }
            } else if let Some(entry) = self.entries.get_mut(&key) {
                let was_nudged = entry.stage == Stage::AskedAgain;
                let next = if matches!(answer, Answer::Read(_)) && !is_current {
                    // The server that answered may not know yet what was sent before: nothing follows from it.
                    entry.stage = Stage::Read;
                    Next::Due
                } else {
                    let around = Circumstances { orphan: orphans.get(&entry.parent()), owned };
                    answers::meaning(entry, answer, &around, &self.context)
                };
                self.act(key, next);
                if was_nudged
                    && let Some(entry) = self.entries.get_mut(&key)
                    && entry.nudge()
                {
                    self.schedule.due(key);
                }
            }
        }
        // A list beside the reads of leftovers has them still, and is no audit: their deletes are sent after it.
        if let (Some(Ok(owned)), true, false) = (answers.owned, is_current, has_judged_leftovers) {
            self.look_for_leftovers(owned);
        }
        self.settle_session();
    }

    /// A marker was looked at: who waited for it goes on, and who stands where it does not say moves.
    fn saw_marker(&mut self, root: &str, found: Result<Found, Fault>) {
        let (waiting, news, again) = self.markers.saw(root, found);
        for key in waiting {
            // As after any other request that failed: later and later, and with a cause.
            let next = again.clone().map_or(Next::Due, |fault| answers::classify_fault(root, fault));
            self.act(key, next);
        }
        if news.is_some() {
            for (key, entry) in &self.entries {
                if entry.may_shard() && entry.root() == root {
                    self.schedule.due(*key);
                }
            }
        }
    }

    /// Reads, in the next round, the nodes that our session owns and no registration wants. The node of a registration that
    /// has failed stays until its guard is dropped.
    fn look_for_leftovers(&mut self, owned: HashSet<String>) {
        let held: HashSet<&str> = self.entries.values().flat_map(|entry| entry.places.paths()).collect();
        let bases = self.context.sources.iter().map(|source| &source.base);
        let is_ours = |path: &str| bases.clone().any(|base| base.contains(path));
        let wanted = |path: &str| held.contains(path) || self.context.holders.holder(path).is_some();
        let unwanted: Vec<_> = owned.into_iter().filter(|path| is_ours(path) && !wanted(path)).collect();
        for key in self.audits.found(unwanted, !self.entries.is_empty()) {
            self.schedule.due(key);
        }
    }

    /// Once every registration of the session was written, or found gone, in it, no node of an earlier one stands.
    fn settle_session(&mut self) {
        let stands = |entry: &Entry| {
            let is_done = matches!(
                *entry.states.borrow(),
                RegistrationState::Registered { .. } | RegistrationState::Drained { .. }
            );
            is_done || entry.is_failed()
        };
        if !self.connection.is_unsettled()
            || !self.writes.is_empty()
            || self.audits.has_leftovers()
            || !self.entries.values().all(|entry| stands(entry))
        {
            return;
        }
        if let Some(session) = self.connection.settle() {
            self.context.sessions.settle(session);
        }
    }

    /// Deletes a leftover that our session owns, unless it is wanted by now. The answer of the delete is of no interest: the next
    /// audit finds a node that is still there.
    fn clear(&mut self, key: Key, path: String, answer: Answer) {
        let Answer::Read(Ok(Node { stat, .. })) = answer else { return };
        if self.context.holders.holder(&path).is_none()
            && self.entries.values().all(|entry| entry.places.paths().all(|other| other != path))
        {
            info!(path, "deleting a node of ours that nobody wants any more");
            self.writes.push((key, Write::Delete { path, version: stat.version }));
        }
    }

    /// Does what an answer asks for.
    fn act(&mut self, key: Key, next: Next) {
        match next {
            Next::Conflict(with) => self.conflict(key, with),
            Next::Due => self.schedule.due(key),
            Next::Fail(error) => self.fail(key, error),
            Next::Finish(outcome) => match self.entries.get(&key) {
                Some(entry) if entry.is_resting() => self.rest(key, outcome),
                _ => self.finish(key, outcome),
            },
            Next::ListOwned => {
                self.audits.owe();
                self.schedule.due(key);
            }
            Next::MakeParents => {
                self.make_parents(key);
                self.schedule.due(key);
            }
            Next::Replaced { by } => {
                self.context.sessions.disowned(by);
                if let Some(supervisor) = self.supervisor.upgrade() {
                    // A supervisor that is gone has lost the session too.
                    let _ = supervisor.send(session::Command::Replaced { epoch: self.connection.session() });
                }
                self.later(key);
            }
            Next::Retry(trouble) => self.retry(key, trouble),
            Next::Send(write) => {
                if let Write::TakeOver { path, .. } = &write {
                    info!(path, "taking over the node of a predecessor");
                }
                self.writes.push((key, write));
            }
            Next::Settled(stat) => self.settled(key, stat),
        }
    }

    /// Has the parents made in the next round, unless no node is wanted any more.
    fn make_parents(&mut self, key: Key) {
        if let Some(entry) = self.entries.get(&key)
            && entry.intent.record.is_some()
        {
            self.parents.missing(&entry.source, &entry.places.wanted.directory);
        }
    }

    /// The node says what it should.
    fn settled(&mut self, key: Key, stat: Stat) {
        let Some(entry) = self.entries.get(&key) else { return };
        if entry.intent.exclusivity.is_exclusive() {
            self.context.holders.inherited(&entry.held);
        }
        // The answer may have been on its way when the connection, or the session, was lost.
        let news = match self.connection.phase() {
            Some(Phase::Up) => entry.listed(stat, true),
            Some(Phase::Suspended { .. }) => {
                entry.listed(stat, false);
                false
            }
            Some(Phase::Connecting | Phase::Greeting | Phase::Closed) | None => false,
        };
        if news {
            debug!(path = entry.path(), zxid = stat.mzxid, "registered");
            self.parents.registered(entry.source.base.service(&entry.places.at.directory), self.context.acl);
        }
    }

    /// Asks again, a little later. A reconnect asks sooner.
    fn retry(&mut self, key: Key, trouble: Trouble) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.troubled(trouble);
        self.later(key);
    }

    /// Puts a registration into a round after its backoff.
    fn later(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let delay = entry.backoff.delay(&mut self.rng);
        self.schedule.later(key, delay);
    }

    /// A foreign node stands in the place.
    fn conflict(&mut self, key: Key, with: String) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.intent.on_conflict == OnConflict::Fail {
            let error = Error::new(ErrorKind::Conflict, format!("{} is taken by {with}", entry.path()));
            return self.fail(key, error);
        }
        entry.yield_place();
        if entry.conflict(&with) {
            warn!(path = entry.path(), with, "the place is taken; waiting");
        }
        let delay = jittered(CONFLICT_RECHECK, &mut self.rng);
        self.schedule.later(key, delay);
    }

    /// It will not be tried again.
    fn fail(&mut self, key: Key, error: Error) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        warn!(path = entry.path(), %error, "registration failed");
        entry.fail(&error);
        self.context.holders.release(&entry.held, key);
        if entry.is_leaving() {
            self.finish(key, Withdrawn::Unconfirmed { gone_within: self.granted_timeout() });
        }
    }

    /// The node of a registration that rests was taken away, or could not be.
    fn rest(&mut self, key: Key, outcome: Withdrawn) {
        if outcome == Withdrawn::Forbidden {
            let message = "ZooKeeper does not let us delete the node of an instance that drains";
            return self.retry(key, Trouble::Refused(Error::new(ErrorKind::NoAuth, message)));
        }
        self.rested(key);
    }

    fn rested(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.rested()
        {
            info!(path = entry.path(), "drained: the node is gone until the instance is up again");
        }
    }

    /// Withdrawn: nothing of it is left here.
    fn finish(&mut self, key: Key, outcome: Withdrawn) {
        if let Some(entry) = self.entries.remove(&key) {
            self.context.holders.release(&entry.held, key);
            self.load.fetch_sub(entry.load, Ordering::Relaxed);
            self.schedule.forget(key);
            self.audits.entry_went();
            entry.end(outcome);
        }
    }

    /// The session, or its connection, changed.
    fn relink(&mut self) {
        match self.connection.take_up() {
            Turn::Up { store, session } => {
                self.session_timeout.store(millis(store.timeout()), Ordering::Relaxed);
                if session == SameSession::No {
                    self.start_over();
                }
                self.begin_audit();
                self.settle_session();
            }
            Turn::Suspended => self.entries.values().for_each(|entry| entry.suspended()),
            Turn::Connecting { refused } => {
                self.entries.values().for_each(|entry| entry.unlisted());
                if let Some(refused) = refused {
                    self.entries.values_mut().for_each(|entry| entry.refused(&refused));
                }
            }
            Turn::Failed => {
                self.under_way.forget();
                let keys: Vec<_> = self.entries.keys().copied().collect();
                keys.into_iter().for_each(|key| self.give_up_if_hopeless(key));
            }
            Turn::Nothing => {}
        }
    }

    /// Ends a registration if there will be no session that waiting could bring.
    fn give_up_if_hopeless(&mut self, key: Key) {
        let Some(error) = self.connection.failed() else { return };
        let Some(entry) = self.entries.get(&key) else { return };
        if !entry.is_leaving() {
            self.fail(key, error);
        } else {
            self.finish(key, Withdrawn::Unconfirmed { gone_within: self.granted_timeout() });
        }
    }

    /// A new session: whatever was under way in the last one is in doubt, and what we want is created at once.
    fn start_over(&mut self) {
        self.under_way.forget();
        self.writes.clear();
        self.audits.start_over();
        self.entries.values_mut().for_each(|entry| entry.start_over());
        self.entries.values().for_each(|entry| entry.unlisted());
    }

    /// Everything is read again, and what the session owns is listed.
    fn begin_audit(&mut self) {
        self.audits.begin(!self.entries.is_empty(), &mut self.rng);
        if self.context.shards > 1 {
            let roots: HashSet<String> = self.entries.values().map(|entry| entry.root()).collect();
            self.markers.look_again(|root| roots.contains(root));
        }
        for (key, entry) in &mut self.entries {
            if !entry.is_failed() {
                entry.compare();
                self.schedule.due(*key);
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Alarm { within, done } => drop(tokio::spawn(async move {
                sleep(within).await;
                // The caller may have stopped waiting.
                let _ = done.send(());
            })),
            Command::Nudge { path } => {
                if let Some(key) = self.context.holders.holder(&path)
                    && let Some(entry) = self.entries.get_mut(&key)
                    && entry.nudge()
                {
                    self.schedule.due(key);
                }
            }
            Command::Register(new) => self.register(*new),
            Command::Update { key, done } => self.update(key, done),
            Command::Withdraw { key, goodbye } => {
                let done = goodbye.map(|goodbye| goodbye.in_time(self.session_timeout.clone()));
                self.withdraw(key, done);
            }
        }
    }

    fn register(&mut self, new: NewRegistration) {
        let key = new.key;
        let may_inherit = self.context.holders.may_inherit(&new.held);
        self.entries.insert(key, Box::new(Entry::new(new, may_inherit)));
        self.rewrite(key);
        if let Some(refused) = self.connection.refused()
            && let Some(entry) = self.entries.get_mut(&key)
        {
            entry.refused(&refused);
        }
        self.give_up_if_hopeless(key);
    }

    fn update(&mut self, key: Key, done: oneshot::Sender<Result<Zxid, Error>>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if let RegistrationState::Failed(error) = &*entry.states.borrow() {
            // The caller may have stopped waiting.
            let _ = done.send(Err(error.clone()));
            return;
        }
        entry.update(done);
        if let Some(refused) = self.connection.refused() {
            entry.refused(&refused);
        }
        self.rewrite(key);
    }

    /// Encodes what is wanted now, and makes it due.
    fn rewrite(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        match entry.rewrite(&self.context) {
            Ok(()) => self.schedule.due(key),
            Err(error) => self.fail(key, error),
        }
    }

    fn withdraw(&mut self, key: Key, done: Option<oneshot::Sender<Withdrawn>>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.withdraw(done) {
            self.schedule.due(key);
            self.give_up_if_hopeless(key);
        } else {
            self.finish(key, Withdrawn::Confirmed);
        }
    }

    /// Ends every registration, also those whose commands were not taken up yet.
    fn end(mut self) {
        let gone_within = self.granted_timeout();
        let outcome = self.connection.closed().unwrap_or(Withdrawn::Unconfirmed { gone_within });
        self.under_way.forget();
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command);
        }
        for (key, entry) in self.entries.drain() {
            self.context.holders.release(&entry.held, key);
            entry.end(outcome);
        }
    }

    fn granted_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout.load(Ordering::Relaxed))
    }
}
