//! ZooKeeper in memory, on tokio's clock, with faults on command: what the tests of everything above the seam run on.
//!
//! A [`Cluster`] is the servers; a [`Connector`] is one process that connects to them, with a network of its own that
//! can be cut. It is in addition to tests on a real ZooKeeper, never instead: what it knows about ZooKeeper is what the
//! conformance suite asks of both.
//!
//! The servers are the [`engine`], a state machine on which `testing::Server` runs too. Here stands what is around them: a
//! simulated wire, clients, and faults.

mod client;
pub(crate) mod engine;
mod fault;
mod server;
mod session;
mod wire;
mod words;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use self::client::Session;
use self::engine::record;
use self::fault::Refusal;
pub(crate) use self::fault::{Counts, Fate, Foreign};
use self::server::{Network, Next, Settings, State};
use self::wire::{Recipient, Request};
use super::{Connect, ConnectFault, End, Fault, Kind, Node, Op, Store};
use crate::connect::Acl;

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

    /// A process that may connect, known to nobody.
    pub(crate) fn connector(&self, session_timeout: Duration) -> Connector {
        self.connector_as(None, session_timeout)
    }

    /// A process that may connect, and authenticates as this user.
    pub(crate) fn connector_as(&self, user: Option<&str>, session_timeout: Duration) -> Connector {
        let process = self.lock().add_process(user);
        Connector { cluster: self.clone(), process, session_timeout, chroot: String::new() }
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

    /// Every node by its path, whoever may read it.
    pub(crate) fn dump(&self) -> BTreeMap<String, Node> {
        let mut state = self.lock();
        state.advance(Instant::now());
        let nodes = state.engine.dump();
        nodes.map(|(path, data, stat)| (path.to_owned(), words::node(data, &stat))).collect()
    }

    /// A node, whoever may read it.
    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        let mut state = self.lock();
        state.advance(Instant::now());
        state.engine.node(path).map(|(data, stat)| words::node(data, &stat))
    }

    /// Writes a persistent node, with its parents if need be.
    pub(crate) fn put(&self, path: &str, data: &[u8]) {
        self.put_as(path, data, Foreign::default());
    }

    /// Writes a node of somebody else, with its parents if need be. If it exists, its data is replaced.
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

/// One process that connects to a cluster, and its network. Clones are the same process.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    cluster: Cluster,
    process: usize,
    session_timeout: Duration,
    chroot: String,
}

impl Connector {
    /// The same process, below another root.
    pub(crate) fn with_chroot(&self, chroot: &str) -> Self {
        Self { chroot: chroot.to_owned(), ..self.clone() }
    }

    /// The session that it opened last.
    pub(crate) fn session(&self) -> Option<i64> {
        self.cluster.lock().processes[self.process].session
    }

    /// Cuts the connection, and lets none come up.
    pub(crate) fn cut(&self) {
        self.set_network(Network::Cut);
    }

    /// Cuts the connection; the network is back after `outage`.
    pub(crate) fn cut_for(&self, outage: Duration) {
        self.cut();
        let healed = self.clone();
        tokio::spawn(async move {
            sleep(outage).await;
            healed.heal();
        });
    }

    /// From now on nothing comes through, in either direction, and nobody is told.
    pub(crate) fn freeze(&self) {
        self.set_network(Network::Frozen);
    }

    /// Ends a cut or a freeze.
    pub(crate) fn heal(&self) {
        self.set_network(Network::Up);
    }

    /// Cuts the connection. The next one is greeted by a server, which is what a client calls connected, and dies when the
    /// first request arrives on it; from then on none comes up, until the network is [healed](Self::heal).
    pub(crate) fn greet_and_cut(&self) {
        self.set_network(Network::Greeting);
    }

    /// Cuts the connection, which may come back at once.
    pub(crate) fn blip(&self) {
        self.cut();
        self.heal();
    }

    /// Answers attempts to connect with this from now on; `None` ends it.
    pub(crate) fn refuse(&self, fault: Option<ConnectFault>) {
        self.cluster.lock().processes[self.process].refuses = fault;
    }

    /// The client believes that its session is over, while the servers keep it for its timeout.
    pub(crate) fn expire_locally(&self) {
        let mut state = self.cluster.lock();
        if let Some(key) = state.processes[self.process].session {
            state.end(key, End::Expired, Instant::now());
        }
    }

    /// Its server learns nothing more from the leader, until this client writes or asks for a `sync`.
    pub(crate) fn lag(&self) {
        let mut state = self.cluster.lock();
        let member = state.processes[self.process].member;
        state.engine.lag(member);
    }

    /// Its server hears the leader again.
    pub(crate) fn catch_up(&self) {
        let mut state = self.cluster.lock();
        let member = state.processes[self.process].member;
        state.engine.catch_up(member);
        state.dispatch(Instant::now());
    }

    /// Whether its watches are told nothing, though they are armed: what no server does, and an audit is there for.
    pub(crate) fn lose_events(&self, lose: bool) {
        self.cluster.lock().processes[self.process].untold = lose;
    }

    fn set_network(&self, network: Network) {
        self.cluster.lock().set_network(self.process, network, Instant::now());
    }
}

impl Connect for Connector {
    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let Self { cluster, process, session_timeout, chroot } = self.clone();
        Box::pin(async move {
            let latency = cluster.lock().settings.latency;
            sleep(latency).await;
            let key = cluster.lock().open(process, session_timeout, Instant::now())?;
            let store = Session::new(cluster.clone(), key, chroot)
                .ok_or_else(|| ConnectFault::Unavailable("memory: the session ended at once".to_owned()))?;
            tokio::spawn(cluster.drive(key));
            Ok(Arc::new(store) as Arc<dyn Store>)
        })
    }
}

#[cfg(test)]
mod tests;
