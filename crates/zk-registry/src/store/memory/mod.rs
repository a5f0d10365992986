//! ZooKeeper in memory, on tokio's clock, with faults on command: what the tests of everything above the seam run on.
//!
//! A [`Cluster`] is the servers; a [`Connector`] is one process that connects to them, with a network of its own that
//! can be cut. It is in addition to tests on a real ZooKeeper, never instead: what it knows about ZooKeeper is what the
//! conformance suite asks of both.
//!
//! The servers are the [`engine`], a state machine on which `testing::Server` runs too. Here stands what is around them: a
//! simulated wire, clients, and faults.

mod client;
mod connector;
pub(crate) mod engine;
mod fault;
mod server;
mod session;
mod steps;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::connector::Connector;
use self::engine::record;
use self::fault::Refusal;
pub(crate) use self::fault::{Counts, Fate, Foreign};
use self::server::{Settings, State};
use self::steps::Next;
use self::wire::{Recipient, Request};
use super::{End, Fault, Kind, Node, Op};
use crate::options::Acl;

/// The servers. Clones are the same cluster.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Mutex<State>>);

impl Cluster {
    /// A cluster whose chances depend on the seed alone. Its requests take 1 ms, there and back.
    pub(crate) fn new(seed: u64) -> Self {
        let settings = Settings {
            latency: Duration::from_millis(1),
            reconnect_delay: Duration::from_millis(10),
            fate: Fate::Random,
            replaces_sessions: false,
        };
        Self(Arc::new(Mutex::new(State::new(seed, settings, Duration::from_secs(60)))))
    }

    // Faults.

    /// How long a request takes, there and back.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.lock().settings.latency = latency;
    }

    /// How long a client waits after it lost a connection before it tries to get another.
    pub(crate) fn set_reconnect_delay(&self, delay: Duration) {
        self.lock().settings.reconnect_delay = delay;
    }

    /// What becomes of the requests that are under way when a connection is cut.
    pub(crate) fn set_fate(&self, fate: Fate) {
        self.lock().settings.fate = fate;
    }

    /// How long a container stays after it has lost its last child.
    pub(crate) fn set_container_check(&self, interval: Duration) {
        self.lock().engine.set_container_check(interval);
    }

    /// Whether a client that comes back too late silently gets another session in place of its expired one.
    pub(crate) fn replace_sessions(&self, replace: bool) {
        self.lock().settings.replaces_sessions = replace;
    }

    /// The connection that carries the next write is cut, after the write was executed or before.
    pub(crate) fn lose_next_write(&self, fate: Fate) {
        self.lock().lose = Some(fate);
    }

    /// The next request that changes nothing is answered with this; its connection stays.
    pub(crate) fn refuse_next_read(&self, fault: Fault) {
        self.lock().refuse_reads = Some(Refusal { fault, until: None });
    }

    /// The next request that would change something is answered with this; its connection stays.
    pub(crate) fn refuse_next_write(&self, fault: Fault) {
        self.lock().refuse_writes = Some(Refusal { fault, until: None });
    }

    /// Requests that change nothing are answered with this for a while; their connections stay.
    pub(crate) fn refuse_reads_for(&self, duration: Duration, fault: Fault) {
        self.lock().refuse_reads = Some(Refusal { fault, until: Some(Instant::now() + duration) });
    }

    /// Requests that would change something are answered with this for a while; their connections stay. A permission that
    /// is missing for a while is [`Fault::NoAuth`]; a quota (-125) and an ephemeral node refused to a local session (-120)
    /// are [`Fault::Definite`].
    pub(crate) fn refuse_writes_for(&self, duration: Duration, fault: Fault) {
        self.lock().refuse_writes = Some(Refusal { fault, until: Some(Instant::now() + duration) });
    }

    /// All servers stop. The sessions' time stands still, as it does on a real ensemble without a leader.
    pub(crate) fn stop(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.running = false;
        for key in state.keys() {
            state.disconnect(key, now, now);
        }
    }

    /// The servers start again; every session that had not expired gets its whole timeout once more.
    pub(crate) fn start(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        state.running = true;
        state.renew(now);
    }

    /// Stops and starts.
    pub(crate) fn restart(&self) {
        self.stop();
        self.start();
    }

    /// The servers end this session, as if it had not been heard for its timeout.
    pub(crate) fn expire(&self, session: i64) {
        self.lock().expire(session, Instant::now());
    }

    // Direct access: no session, no latency, no access control.

    /// Every node by its path, past access control.
    pub(crate) fn dump(&self) -> BTreeMap<String, Node> {
        let mut state = self.lock();
        state.advance(Instant::now());
        let nodes = state.engine.dump();
        nodes.map(|(path, data, stat)| (path.to_owned(), words::node(data, &stat))).collect()
    }

    /// A node, past access control.
    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.engine.node(path).map(|(data, stat)| words::node(data, &stat))
    }

    /// Writes a persistent node, with its parents if need be.
    pub(crate) fn put(&self, path: &str, data: &[u8]) {
        self.put_as(path, data, Foreign::default());
    }

    /// Writes a foreign node, with its parents if need be. If it exists, its data is replaced.
    pub(crate) fn put_as(&self, path: &str, data: &[u8], foreign: Foreign<'_>) {
        for (at, _) in path.match_indices('/').skip(1) {
            // It may exist.
            self.transact(
                Op::Create {
                    path: path[..at].to_owned(),
                    data: Bytes::new(),
                    kind: Kind::Persistent,
                    acl: Acl::Open,
                },
                Foreign::default(),
            );
        }
        let (path, data) = (path.to_owned(), Bytes::copy_from_slice(data));
        let kind = if foreign.session == 0 { Kind::Persistent } else { Kind::Ephemeral };
        let create = Op::Create { path: path.clone(), data: data.clone(), kind, acl: foreign.acl };
        if !self.transact(create, foreign) {
            self.transact(Op::Set { path, data, version: None }, foreign);
        }
    }

    /// Deletes a node; `false` if it is not there or has children.
    pub(crate) fn delete(&self, path: &str) -> bool {
        self.transact(Op::Delete { path: path.to_owned(), version: None }, Foreign::default())
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn transact(&self, op: Op, foreign: Foreign<'_>) -> bool {
        self.lock().administer(foreign.session, foreign.user, &words::write(op), Instant::now())
    }

    // For the sessions.

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed already; the others need no second reason.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, key: i64) {
        let to = Recipient { resolve: None, watcher: None };
        self.lock().send(key, Request { asked: record::Request::CloseSession, to }, Instant::now());
    }

    fn abort(&self, key: i64) {
        self.lock().end(key, End::Closed, Instant::now());
    }

    /// Drives one session until both ends have forgotten it.
    async fn drive(self, key: i64) {
        loop {
            let (next, wake) = {
                let mut state = self.lock();
                let next = state.step(key, Instant::now());
                (next, state.sessions.get(&key).map(|session| session.wake.clone()))
            };
            let Some(wake) = wake else { return };
            match next {
                Next::Gone => return,
                Next::Woken => wake.notified().await,
                Next::At(at) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = wake.notified() => {}
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
