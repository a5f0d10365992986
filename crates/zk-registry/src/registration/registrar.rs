//! The driver: one task per session keeps all its registrations true, in rounds.
//!
//! A round sends what is due, all at once; its answers, seen by the pure decision of `entry.rs`, make the next round. What
//! arrives while a round is under way waits for the next one, so that a thousand registrations become a few requests.
//! Nothing is remembered across a doubt: an ambiguous answer, a reconnect or an audit means reading again.
//!
//! It never watches the parent: 10,000 registrants would each hear of every change. The audit finds what others did.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{BoxFuture, OptionFuture};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::book::Book;
use super::entry::{Identity, Intent, Seen, Step};
use super::requests::{Answer, Answers, Round, Write};
use super::{OnConflict, Registering, RegistrationState, Wanted, Withdrawn, closed};
use crate::backoff::{Backoff, jittered};
use crate::connect::Acl;
use crate::error::{Error, ErrorKind};
use crate::format::{Format, Parents};
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::path::BasePath;
use crate::session::{Command, Link, Phase, Sessions};
use crate::snapshot::Zxid;
use crate::store::{Fault, Kind, Stat};

/// One registration of one registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(pub(super) u64);

impl Key {
    /// A key that was never used in this process.
    pub(crate) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The largest record that is sent. The server takes requests of 1,048,575 bytes; a larger one costs the connection
/// for everything in flight.
pub(crate) const MAX_RECORD: usize = 1_000_000;
/// How many registrations one round carries at most.
const ROUND: usize = 4_000;
/// How long a registration that found somebody else's node waits before it looks again.
const CONFLICT_RECHECK: Duration = Duration::from_secs(1);

/// What the registrar is told.
pub(crate) enum Order {
    /// The registry is closed, and this is how.
    Close(Withdrawn),
    /// Somebody saw the node of this path change.
    Nudge {
        path: String,
    },
    Register(Box<New>),
    /// The wanted attributes changed.
    Update {
        key: Key,
        done: oneshot::Sender<Result<Zxid, Error>>,
    },
    Withdraw {
        key: Key,
        done: Option<oneshot::Sender<Withdrawn>>,
    },
}

/// A registration that begins.
pub(crate) struct New {
    pub(crate) key: Key,
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
    pub(crate) path: String,
    pub(crate) instance: Instance,
    pub(crate) how: Registering,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) states: watch::Sender<RegistrationState>,
}

/// The handle to one session's registrar.
#[derive(Clone)]
pub(crate) struct Registrar {
    orders: mpsc::UnboundedSender<Order>,
    session_timeout: Arc<AtomicU64>,
    load: Arc<AtomicUsize>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("load", &self.load).finish_non_exhaustive()
    }
}

impl Registrar {
    pub(crate) fn order(&self, order: Order) {
        // An ended registrar has nothing left to do; whoever waits for an answer learns from the dropped channel.
        let _ = self.orders.send(order);
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout.load(Ordering::Relaxed))
    }

    /// The ephemeral path bytes that its session owns, or is about to.
    pub(crate) fn load(&self) -> &AtomicUsize {
        &self.load
    }
}

/// What a registrar needs to know of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) base: BasePath,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) acl: Acl,
    pub(crate) audit_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) chroot_len: usize,
    /// Where every jitter of this registry comes from.
    pub(crate) seed: u64,
    pub(crate) us: Arc<Identity>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) book: Arc<Book>,
}

/// The task. `run` it once.
pub(crate) struct Task {
    context: Context,
    orders: mpsc::UnboundedReceiver<Order>,
    link: watch::Receiver<Link>,
    supervisor: mpsc::WeakUnboundedSender<Command>,
    session_timeout: Arc<AtomicU64>,
    load: Arc<AtomicUsize>,
    rng: SmallRng,
    entries: HashMap<Key, Entry>,
    due: BTreeSet<Key>,
    timers: BTreeSet<(Instant, Key)>,
    /// Fenced writes that the last reads asked for.
    writes: Vec<(Key, Write)>,
    /// Services whose parents are missing.
    parents: HashSet<ServiceName>,
    round: Option<BoxFuture<'static, Answers>>,
    /// The epoch and the connection count that the entries were last checked in.
    seen: (u64, u64),
    audit_at: Instant,
    audit_due: bool,
}

/// Ghosts are nodes that our session owns and nobody here wants: they are read, and deleted if they are ours.
enum Entry {
    Ghost(String),
    Kept(Box<Kept>),
}

struct Kept {
    service: ServiceName,
    id: InstanceId,
    path: String,
    instance: Instance,
    registered: SystemTime,
    wanted: Arc<Wanted>,
    intent: Intent,
    exclusive: bool,
    approach: Approach,
    states: watch::Sender<RegistrationState>,
    updates: Vec<oneshot::Sender<Result<Zxid, Error>>>,
    withdrawals: Vec<oneshot::Sender<Withdrawn>>,
    backoff: Backoff,
    /// Whether a request for it is under way.
    busy: bool,
    /// Whether anything was ever sent: if not, there is nothing to undo.
    touched: bool,
}

/// How the next round begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Approach {
    /// Create at once: nothing of ours can be there.
    Create,
    /// Read first.
    Read,
}

pub(crate) fn registrar(
    context: Context,
    link: watch::Receiver<Link>,
    supervisor: mpsc::WeakUnboundedSender<Command>,
) -> (Registrar, Task) {
    let (sender, orders) = mpsc::unbounded_channel();
    let session_timeout = Arc::new(AtomicU64::new(millis(context.session_timeout)));
    let load = Arc::new(AtomicUsize::new(0));
    let handle = Registrar { orders: sender, session_timeout: session_timeout.clone(), load: load.clone() };
    let task = Task {
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
        writes: Vec::new(),
        parents: HashSet::new(),
        round: None,
        seen: (0, 0),
        audit_due: false,
    };
    (handle, task)
}

impl Task {
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
                    // The supervisor is gone: only the last word of the registry is left to hear.
                    Err(_) => return self.outlive().await,
                },
                Some(answers) = round => {
                    self.round = None;
                    self.learn(answers);
                }
                received = self.orders.recv_many(&mut orders, 4_096) => {
                    if received == 0 {
                        return;
                    }
                    for order in orders.drain(..) {
                        if let Order::Close(outcome) = order {
                            return self.close(outcome);
                        }
                        self.obey(order);
                    }
                }
                Some(()) = timer => {
                    let now = Instant::now();
                    while let Some((at, key)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
                        self.timers.remove(&(at, key));
                        self.due.insert(key);
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
            Some(Entry::Kept(kept)) if !kept.busy => kept,
            Some(Entry::Ghost(path)) => return round.reads.push((key, path.clone())),
            _ => return,
        };
        match kept.intent.record.clone() {
            Some(record) => {
                if !self.context.book.hold(&kept.path, key) {
                    return self.conflict(key, "another registration of this registry".to_owned());
                }
                if kept.approach == Approach::Create {
                    kept.sending(record.clone());
                    round.creates.push((key, kept.path.clone(), record));
                } else {
                    round.reads.push((key, kept.path.clone()));
                }
            }
            None if !kept.touched => return self.finish(key, Withdrawn::Confirmed),
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
            Phase::Connecting | Phase::Closed => self.each_state(|state| match state {
                RegistrationState::Registered { .. } | RegistrationState::Suspended { .. } => {
                    Some(RegistrationState::Pending)
                }
                _ => None,
            }),
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
            // `run` ends with it.
            Order::Close(_) => {}
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
                inherit: new.how.exclusive && self.context.book.may_inherit(&new.path),
                on_conflict: new.how.on_conflict,
            },
            service: new.service,
            id: new.id,
            path: new.path,
            instance: new.instance,
            registered: SystemTime::now(),
            wanted: new.wanted,
            exclusive: new.how.exclusive,
            approach: Approach::Create,
            states: new.states,
            updates: Vec::new(),
            withdrawals: Vec::new(),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(5)),
            busy: false,
            touched: false,
        };
        self.entries.insert(key, Entry::Kept(Box::new(kept)));
        self.rewrite(key);
    }

    fn update(&mut self, key: Key, done: oneshot::Sender<Result<Zxid, Error>>) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        if let RegistrationState::Failed(error) = &*kept.states.borrow() {
            // Nobody may be waiting any more.
            let _ = done.send(Err(error.clone()));
            return;
        }
        kept.updates.push(done);
        self.rewrite(key);
    }

    /// Encodes what is wanted now, and makes it due.
    fn rewrite(&mut self, key: Key) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        match kept.encode(&self.context) {
            Ok(record) => {
                kept.intent.record = Some(record);
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
        } else {
            self.finish(key, Withdrawn::Confirmed);
        }
    }

    /// The answers of a round.
    fn learn(&mut self, answers: Answers) {
        let orphans: HashMap<ServiceName, Fault> = answers.orphans.into_iter().collect();
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
    fn decide(&mut self, key: Key, answer: Result<crate::store::Node, Fault>) {
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
                if let Step::Adopt(attributes) = step {
                    kept.adopt(&attributes, &seen, context);
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
            // Adopted just before, or a write without a record: neither can be; reading again is always right.
            (Step::Adopt(_) | Step::Set { .. } | Step::TakeOver { .. }, _) => self.retry(key),
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
        kept.intent.sent.drain(..kept.intent.sent.len().saturating_sub(1));
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
        }
        for done in kept.updates.drain(..) {
            // Nobody may be waiting any more.
            let _ = done.send(Ok(zxid));
        }
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
        self.timers.insert((Instant::now() + delay, key));
    }

    fn failed(&mut self, key: Key, fault: Fault) {
        let Some(Entry::Kept(kept)) = self.entries.get_mut(&key) else { return };
        let path = kept.path.clone();
        let error = match fault {
            Fault::NoAuth if kept.intent.record.is_none() => {
                warn!(path, "not allowed to delete the node; it goes with the session");
                let gone_within = Duration::from_millis(self.session_timeout.load(Ordering::Relaxed));
                return self.finish(key, Withdrawn::Unconfirmed { gone_within });
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
    fn conflict(&mut self, key: Key, with: String) {
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
        self.timers.insert((Instant::now() + jittered(CONFLICT_RECHECK, &mut self.rng), key));
    }

    /// It will not be tried again.
    fn fail(&mut self, key: Key, error: Error) {
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
    fn finish(&mut self, key: Key, outcome: Withdrawn) {
        if let Some(Entry::Kept(kept)) = self.entries.remove(&key) {
            self.context.book.release(&kept.path, key);
            self.load.fetch_sub(path_load(&kept.path, self.context.chroot_len), Ordering::Relaxed);
            self.due.remove(&key);
            kept.end(outcome);
        }
    }

    fn close(mut self, outcome: Withdrawn) {
        self.round = None;
        for (key, entry) in self.entries.drain() {
            if let Entry::Kept(kept) = entry {
                self.context.book.release(&kept.path, key);
                kept.end(outcome);
            }
        }
    }

    /// The supervisor is gone; the registry may still say how the session ended.
    async fn outlive(mut self) {
        self.round = None;
        while let Some(order) = self.orders.recv().await {
            match order {
                Order::Close(outcome) => return self.close(outcome),
                Order::Update { .. } | Order::Withdraw { .. } | Order::Register(_) | Order::Nudge { .. } => {}
            }
        }
    }
}

impl Kept {
    fn encode(&self, context: &Context) -> Result<Bytes, Error> {
        let instance = self.instance.clone().with_attributes(self.wanted.current());
        let record =
            context.format.encode(&self.service, &self.id, &instance, &context.us.owner, self.registered)?;
        Ok(record.into())
    }

    /// From now on these bytes may stand there.
    fn sending(&mut self, record: Bytes) {
        self.touched = true;
        self.intent.sent.retain(|sent| *sent != record);
        self.intent.sent.push(record);
    }

    /// Somebody else wrote our node: status and weight are theirs to change, the rest is not.
    fn adopt(&mut self, foreign: &crate::instance::Attributes, seen: &Seen, context: &Context) {
        let adopted = self.wanted.change(|wanted| {
            (wanted.status, wanted.weight) = (foreign.status, foreign.weight);
        });
        warn!(
            path = self.path,
            status = %foreign.status,
            weight = foreign.weight,
            "somebody else wrote our node; its status and weight are adopted, the rest is restored"
        );
        // What the record could not carry was not adopted; what was there counts as ours from now on.
        if adopted.is_ok()
            && let Ok(record) = self.encode(context)
        {
            self.intent.record = Some(record);
        }
        if let Seen::Node { node, .. } = seen {
            self.intent.sent.push(node.data.clone());
        }
    }

    fn is_failed(&self) -> bool {
        matches!(*self.states.borrow(), RegistrationState::Failed(_)) && self.intent.record.is_some()
    }

    fn end(self, outcome: Withdrawn) {
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

/// What a path costs the transaction that closes its session: the server writes every path into it.
pub(crate) fn path_load(path: &str, chroot_len: usize) -> usize {
    path.len() + chroot_len + 4
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
