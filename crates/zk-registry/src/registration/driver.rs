//! The driver: one task per session keeps all its registrations true, in rounds.
//!
//! A round sends what is due, all at once; its answers make the next round. What arrives while a round is under way waits
//! for the next one, so that a thousand registrations become a few requests. Nothing is remembered across a doubt: an
//! ambiguous answer, a reconnect or an audit means reading again.
//!
//! It never watches the parent: 10,000 registrants would each hear of every change. The audit finds what others did.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::{BoxFuture, OptionFuture};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::context::Context;
use super::decision::Intent;
use super::entry::{Approach, Entry, Kept};
use super::holders::{Hold, Key};
use super::registrar::{New, Order, Registrar, millis};
use super::round::{Answers, Round, Write};
use super::state::RegistrationState;
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::format::Parents;
use crate::instance::ServiceName;
use crate::session::{Command, Link, Phase};
use crate::snapshot::Zxid;
use crate::store::Kind;
use crate::withdrawn::Withdrawn;

/// How many registrations one round carries at most.
const ROUND: usize = 4_000;

/// The task. `run` it once.
pub(crate) struct Task {
    pub(super) context: Context,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) link: watch::Receiver<Link>,
    pub(super) supervisor: mpsc::WeakUnboundedSender<Command>,
    pub(super) session_timeout: Arc<AtomicU64>,
    pub(super) load: Arc<AtomicUsize>,
    pub(super) rng: SmallRng,
    pub(super) entries: HashMap<Key, Entry>,
    pub(super) due: BTreeSet<Key>,
    pub(super) timers: BTreeSet<(Instant, Key)>,
    /// Whose path has become free.
    pub(super) freed: (mpsc::UnboundedSender<Key>, mpsc::UnboundedReceiver<Key>),
    /// Fenced writes that the last reads asked for.
    pub(super) writes: Vec<(Key, Write)>,
    /// Services whose parents are missing.
    pub(super) parents: HashSet<ServiceName>,
    /// Services whose parents may be open to others than our nodes are, and those of which that is known.
    pub(super) unexamined: HashSet<ServiceName>,
    pub(super) examined: HashSet<ServiceName>,
    pub(super) round: Option<BoxFuture<'static, Answers>>,
    /// The epoch and the connection count that the entries were last checked in.
    pub(super) seen: (u64, u64),
    pub(super) audit_at: Instant,
    pub(super) audit_due: bool,
}

impl Task {
    pub(super) fn new(
        context: Context,
        orders: mpsc::UnboundedReceiver<Order>,
        link: watch::Receiver<Link>,
        supervisor: mpsc::WeakUnboundedSender<Command>,
        session_timeout: Arc<AtomicU64>,
        load: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(context.seed),
            audit_at: Instant::now() + context.audit_interval,
            context,
            orders,
            link,
            supervisor,
            session_timeout,
            load,
            entries: HashMap::new(),
            due: BTreeSet::new(),
            timers: BTreeSet::new(),
            freed: mpsc::unbounded_channel(),
            writes: Vec::new(),
            parents: HashSet::new(),
            unexamined: HashSet::new(),
            examined: HashSet::new(),
            round: None,
            seen: (0, 0),
            audit_due: false,
        }
    }

    /// Keeps the registrations true until the registry is closed or every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut orders = Vec::new();
        loop {
            self.begin_round();
            let round = OptionFuture::from(self.round.as_mut());
            let timer = OptionFuture::from(self.timers.first().map(|(at, _)| sleep_until(*at)));
            tokio::select! {
                biased;
                changed = self.link.changed() => match changed {
                    Ok(()) => self.relink(),
                    // The supervisor is gone, and so is the session.
                    Err(_) => return self.end(),
                },
                Some(answers) = round => {
                    self.round = None;
                    self.learn(answers);
                }
                received = self.orders.recv_many(&mut orders, 4_096) => {
                    if received == 0 {
                        return;
                    }
                    orders.drain(..).for_each(|order| self.obey(order));
                }
                Some(key) = self.freed.1.recv() => drop(self.due.insert(key)),
                Some(()) = timer => {
                    let now = Instant::now();
                    while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
                        self.timers.remove(&(at, key));
                        if let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) {
                            kept.timer = None;
                            self.due.insert(key);
                        }
                    }
                }
                () = sleep_until(self.audit_at) => self.audit(),
            }
        }
    }

    /// Sends what is due, if there is a connection and no round is under way.
    fn begin_round(&mut self) {
        if self.round.is_some() {
            return;
        }
        let store = {
            let link = self.link.borrow();
            match (&link.store, link.phase) {
                (Some(store), Phase::Up) if (link.epoch, link.ups) == self.seen => store.clone(),
                _ => return,
            }
        };
        let mut round =
            Round { writes: std::mem::take(&mut self.writes), owned: self.audit_due, ..Round::default() };
        self.audit_due = false;
        for service in std::mem::take(&mut self.parents) {
            let kind = match self.context.format.parents() {
                Parents::Container => Kind::Container,
                Parents::Persistent => Kind::Persistent,
            };
            let paths = self.context.base.parents(&service);
            round.parents.push((service, paths, kind));
        }
        for service in std::mem::take(&mut self.unexamined) {
            let path = self.context.base.service(&service);
            round.acls.push((service, path));
        }
        while round.creates.len() + round.reads.len() < ROUND
            && let Some(key) = self.due.pop_first()
        {
            self.enlist(key, &mut round);
        }
        if !round.is_empty() {
            self.round = Some(round.send(store, self.context.acl));
        }
    }

    /// Adds one registration to the round.
    fn enlist(&mut self, key: Key, round: &mut Round) {
        let kept = match self.entries.get_mut(&key) {
            Some(Entry::Kept(kept)) if !kept.busy && !kept.is_failed() => kept,
            Some(Entry::Ghost(path)) => return round.reads.push((key, path.clone())),
            _ => return,
        };
        match kept.intent.record.clone() {
            Some(record) => {
                match self.context.book.hold(&kept.path, key, &self.freed.0) {
                    Hold::Held => {}
                    Hold::Leaving => return,
                    Hold::Taken => {
                        return self.conflict(key, "another registration of this registry".to_owned());
                    }
                }
                if kept.approach == Approach::Create {
                    kept.sending(record.clone());
                    round.creates.push((key, kept.path.clone(), record));
                } else {
                    round.reads.push((key, kept.path.clone()));
                }
            }
            None if !kept.touched => return self.finish(key, Withdrawn::Confirmed),
            // One that had failed let go of the path: what stands there is its successor's by now.
            None if !self.context.book.leave(&kept.path, key) => {
                return self.finish(key, Withdrawn::Superseded);
            }
            None => round.reads.push((key, kept.path.clone())),
        }
        kept.busy = true;
    }

    /// The session, or its connection, changed.
    fn relink(&mut self) {
        let link = self.link.borrow_and_update().clone();
        match link.phase {
            Phase::Up if (link.epoch, link.ups) != self.seen => {
                if let Some(store) = &link.store {
                    self.session_timeout.store(millis(store.timeout()), Ordering::Relaxed);
                }
                let same_session = self.seen.0 == link.epoch;
                self.seen = (link.epoch, link.ups);
                if !same_session {
                    self.start_over();
                }
                self.audit();
            }
            Phase::Up => {}
            Phase::Suspended { .. } => self.each_state(|state| match state {
                RegistrationState::Registered { zxid } => Some(RegistrationState::Suspended { zxid: *zxid }),
                _ => None,
            }),
            Phase::Closed if link.failed.is_some() => {
                self.round = None;
                let keys: Vec<_> = self.entries.keys().copied().collect();
                keys.into_iter().for_each(|key| self.give_up(key));
            }
            Phase::Connecting | Phase::Closed => self.each_state(|state| match state {
                RegistrationState::Registered { .. } | RegistrationState::Suspended { .. } => {
                    Some(RegistrationState::Pending)
                }
                _ => None,
            }),
        }
    }

    /// There will be no session, if waiting cannot cure that.
    fn give_up(&mut self, key: Key) {
        let Some(error) = self.link.borrow().failed.clone() else { return };
        let Some(Entry::Kept(kept)) = self.entries.get(&key) else { return };
        if kept.intent.record.is_some() {
            self.fail(key, error);
        } else {
            let gone_within = Duration::from_millis(self.session_timeout.load(Ordering::Relaxed));
            self.finish(key, Withdrawn::Unconfirmed { gone_within });
        }
    }

    /// A new session: whatever was under way in the last one is in doubt, and what we want is created at once.
    fn start_over(&mut self) {
        self.round = None;
        self.writes.clear();
        for entry in self.entries.values_mut() {
            if let Entry::Kept(kept) = entry {
                kept.busy = false;
                kept.approach = Approach::Create;
                kept.states.send_if_modified(|state| {
                    let was_up = matches!(
                        state,
                        RegistrationState::Registered { .. } | RegistrationState::Suspended { .. }
                    );
                    if was_up {
                        *state = RegistrationState::Pending;
                    }
                    was_up
                });
            }
        }
        // Ghosts were the last session's; what it still owns is found, if it matters, by reading what we want.
        self.entries.retain(|_, entry| matches!(entry, Entry::Kept(_)));
    }

    /// Everything is read again, and what the session owns is listed.
    fn audit(&mut self) {
        self.audit_at = Instant::now() + jittered(self.context.audit_interval, &mut self.rng);
        if self.entries.is_empty() {
            return;
        }
        self.audit_due = true;
        for (key, entry) in &mut self.entries {
            if let Entry::Kept(kept) = entry
                && !kept.is_failed()
            {
                // What was never created, or must be again, is not read first.
                let settled = matches!(*kept.states.borrow(), RegistrationState::Pending);
                if !settled {
                    kept.approach = Approach::Read;
                }
                self.due.insert(*key);
            }
        }
    }

    fn each_state(&mut self, change: impl Fn(&RegistrationState) -> Option<RegistrationState>) {
        for entry in self.entries.values() {
            if let Entry::Kept(kept) = entry {
                kept.states.send_if_modified(|state| match change(state) {
                    Some(next) => {
                        *state = next;
                        true
                    }
                    None => false,
                });
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Nudge { path } => {
                if let Some(key) = self.context.book.holder(&path)
                    && let Some(Entry::Kept(kept)) = self.entries.get_mut(&key)
                    && !kept.busy
                {
                    kept.approach = Approach::Read;
                    self.due.insert(key);
                }
            }
            Order::Register(new) => self.register(*new),
            Order::Update { key, done } => self.update(key, done),
            Order::Withdraw { key, done } => self.withdraw(key, done),
        }
    }

    fn register(&mut self, new: New) {
        let key = new.key;
        let kept = Kept {
            intent: Intent {
                record: None,
                sent: Vec::new(),
                insist: true,
                inherit: new.how.exclusive && self.context.book.may_inherit(&new.path),
                on_conflict: new.how.on_conflict,
            },
            service: new.service,
            id: new.id,
            path: new.path,
            instance: new.instance,
            registered: SystemTime::now(),
            wanted: new.wanted,
            revision: 0,
            exclusive: new.how.exclusive,
            approach: Approach::Create,
            states: new.states,
            updates: Vec::new(),
            withdrawals: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            timer: None,
            busy: false,
            settled: false,
            touched: false,
        };
        self.entries.insert(key, Entry::Kept(Box::new(kept)));
        self.rewrite(key);
        self.give_up(key);
    }

    fn update(&mut self, key: Key, done: oneshot::Sender<Result<Zxid, Error>>) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        if let RegistrationState::Failed(error) = &*kept.states.borrow() {
            // Nobody may be waiting any more.
            let _ = done.send(Err(error.clone()));
            return;
        }
        kept.updates.push(done);
        kept.intent.insist = true;
        self.rewrite(key);
    }

    /// Encodes what is wanted now, and makes it due.
    fn rewrite(&mut self, key: Key) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        match kept.rewrite(&self.context) {
            Ok(()) => {
                if kept.touched {
                    kept.approach = Approach::Read;
                }
                self.due.insert(key);
            }
            Err(error) => self.fail(key, error),
        }
    }

    fn withdraw(&mut self, key: Key, done: Option<oneshot::Sender<Withdrawn>>) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        kept.withdrawals.extend(done);
        kept.intent.record = None;
        kept.approach = Approach::Read;
        if kept.touched || kept.busy {
            self.due.insert(key);
            self.give_up(key);
        } else {
            self.finish(key, Withdrawn::Confirmed);
        }
    }

    /// Ends every registration, also those that nobody has heard of yet.
    fn end(mut self) {
        let gone_within = Duration::from_millis(self.session_timeout.load(Ordering::Relaxed));
        let outcome = self.link.borrow().closed.unwrap_or(Withdrawn::Unconfirmed { gone_within });
        self.round = None;
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        for (key, entry) in self.entries.drain() {
            if let Entry::Kept(kept) = entry {
                self.context.book.release(&kept.path, key);
                kept.end(outcome);
            }
        }
    }
}

/// A registrar and the task behind it, which has to be run.
pub(crate) fn registrar(
    context: Context,
    link: watch::Receiver<Link>,
    supervisor: mpsc::WeakUnboundedSender<Command>,
) -> (Registrar, Task) {
    let (sender, orders) = mpsc::unbounded_channel();
    let session_timeout = Arc::new(AtomicU64::new(millis(context.session_timeout)));
    let load = Arc::new(AtomicUsize::new(0));
    let handle = Registrar {
        book: context.book.clone(),
        orders: sender,
        session_timeout: session_timeout.clone(),
        load: load.clone(),
    };
    (handle, Task::new(context, orders, link, supervisor, session_timeout, load))
}
