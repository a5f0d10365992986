//! ZooKeeper in memory, on tokio's clock, with faults on command: what the tests of everything above the seam run on.
//!
//! A [`Cluster`] is the servers; a [`Connector`] is one process that connects to them, with a network of its own that
//! can be cut. It is in addition to tests on a real ZooKeeper, never instead: what it knows about ZooKeeper is what the
//! conformance suite asks of both.
//!
//! It does not model quotas, TTL nodes, sequential nodes, one-shot watches, or ensembles beyond one lagging follower per
//! client.

mod client;
mod server;
mod tree;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, sleep_until};

use self::client::Session;
use self::server::{Client, Network, Next, Settings, State};
use self::tree::{Actor, Identity};
use self::wire::{Packet, Request, Served};
use super::{Connect, ConnectFault, End, Fault, Kind, Node, Op, Store};
use crate::options::Acl;

/// What becomes of a request that is under way when its connection is cut. Either way the client learns nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Executed,
    Lost,
    /// As the seed has it. Of several requests the first ones are executed, as TCP would have it.
    Random,
}

/// What a cluster has done so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    /// Sessions that were opened.
    pub(crate) connects: u64,
    /// Events that reached a client.
    pub(crate) events: u64,
    /// Requests that were served and change nothing.
    pub(crate) reads: u64,
    /// Transactions of sessions.
    pub(crate) transactions: u64,
    /// Operations in them.
    pub(crate) writes: u64,
}

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
            container_check: Duration::from_secs(60),
        };
        Self(Arc::new(Mutex::new(State::new(seed, settings))))
    }

    /// A process that may connect, known to nobody.
    pub(crate) fn connector(&self, session_timeout: Duration) -> Connector {
        self.connector_as(None, session_timeout)
    }

    /// A process that may connect, and authenticates as this user.
    pub(crate) fn connector_as(&self, user: Option<&str>, session_timeout: Duration) -> Connector {
        let mut state = self.lock();
        state.clients.push(Client {
            identity: user.map(str::to_owned),
            network: Network::Up,
            refuses: None,
            session: None,
            follower: None,
            untold: false,
        });
        let client = state.clients.len() - 1;
        Connector { cluster: self.clone(), client, session_timeout, chroot: String::new() }
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
        self.lock().settings.container_check = interval;
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
        self.lock().refuse_read = Some(fault);
    }

    /// The next request that would change something is answered with this; its connection stays.
    pub(crate) fn refuse_next_write(&self, fault: Fault) {
        self.lock().refuse_write = Some(fault);
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
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(key) = state.key(session) {
            state.end_session(key, now);
        }
    }

    // Direct access: no session, no latency, no access control.

    /// Every node by its path, whoever may read it.
    pub(crate) fn dump(&self) -> BTreeMap<String, Node> {
        let mut state = self.lock();
        state.reap(Instant::now());
        state.tree.dump()
    }

    /// A node, whoever may read it.
    pub(crate) fn node(&self, path: &str) -> Option<Node> {
        self.dump().remove(path)
    }

    /// Writes a persistent node, with its parents if need be.
    pub(crate) fn put(&self, path: &str, data: &[u8]) {
        self.put_as(path, data, Foreign::default());
    }

    /// Writes a node of somebody else, with its parents if need be. If it exists, its data is replaced.
    pub(crate) fn put_as(&self, path: &str, data: &[u8], foreign: Foreign<'_>) {
        let parents = std::iter::successors(Some(tree::parent(path)), |path| Some(tree::parent(path)))
            .take_while(|path| *path != "/");
        let mut parents: Vec<_> = parents.map(str::to_owned).collect();
        parents.reverse();
        for path in parents {
            // It may exist.
            let _ = self.transact(
                &[Op::Create { path, data: Bytes::new(), kind: Kind::Persistent, acl: Acl::Open }],
                Foreign::default(),
            );
        }
        let (path, data) = (path.to_owned(), Bytes::copy_from_slice(data));
        let kind = if foreign.session == 0 { Kind::Persistent } else { Kind::Ephemeral };
        let create = Op::Create { path: path.clone(), data: data.clone(), kind, acl: foreign.acl };
        if !self.transact(&[create], foreign) {
            self.transact(&[Op::Set { path, data, version: None }], foreign);
        }
    }

    /// Deletes a node; `false` if it is not there or has children.
    pub(crate) fn delete(&self, path: &str) -> bool {
        self.transact(&[Op::Delete { path: path.to_owned(), version: None }], Foreign::default())
    }

    /// What was done so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn transact(&self, ops: &[Op], foreign: Foreign<'_>) -> bool {
        let identity: Identity = foreign.user.map(str::to_owned);
        let mut state = self.lock();
        match state.tree.apply(Actor { session: foreign.session, identity: &identity }, ops) {
            Ok(applied) => {
                state.publish(applied.changes, Instant::now());
                true
            }
            Err(_) => false,
        }
    }

    // For the sessions.

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed already; the others need no second reason.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, key: i64) {
        let execute = Box::new(move |served: Result<Served<'_>, Fault>| {
            if let Ok(served) = served {
                served.state.close_session(key, served.now);
            }
            Packet::Closed
        });
        self.lock().send(key, Request { writes: true, execute }, Instant::now());
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

/// Whose node is written past all sessions. By default: nobody's, persistent, open to all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Foreign<'a> {
    /// The owner of an ephemeral node; 0 makes it persistent.
    pub(crate) session: i64,
    pub(crate) user: Option<&'a str>,
    pub(crate) acl: Acl,
}

/// One process that connects to a cluster, and its network. Clones are the same process.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    cluster: Cluster,
    client: usize,
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
        self.cluster.lock().clients[self.client].session
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

    /// Cuts the connection, which may come back at once.
    pub(crate) fn blip(&self) {
        self.cut();
        self.heal();
    }

    /// Answers attempts to connect with this from now on; `None` ends it.
    pub(crate) fn refuse(&self, fault: Option<ConnectFault>) {
        self.cluster.lock().clients[self.client].refuses = fault;
    }

    /// The client believes that its session is over, while the servers keep it for its timeout.
    pub(crate) fn expire_locally(&self) {
        let mut state = self.cluster.lock();
        if let Some(key) = state.clients[self.client].session {
            state.end(key, End::Expired, Instant::now());
        }
    }

    /// Its server learns nothing more from the leader, until this client writes or asks for a `sync`.
    pub(crate) fn lag(&self) {
        self.cluster.lock().lag(self.client);
    }

    /// Its server hears the leader again.
    pub(crate) fn catch_up(&self) {
        self.cluster.lock().catch_up(self.client, Instant::now());
    }

    /// Whether its watches are told nothing, though they are armed: what no server does, and an audit is there for.
    pub(crate) fn lose_events(&self, lose: bool) {
        self.cluster.lock().clients[self.client].untold = lose;
    }

    fn set_network(&self, network: Network) {
        self.cluster.lock().set_network(self.client, network, Instant::now());
    }
}

impl Connect for Connector {
    fn cluster(&self) -> String {
        format!("memory{}", self.chroot)
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let Self { cluster, client, session_timeout, chroot } = self.clone();
        Box::pin(async move {
            let latency = cluster.lock().settings.latency;
            sleep(latency).await;
            let key = cluster.lock().open(client, session_timeout, Instant::now())?;
            let store = Session::new(cluster.clone(), key, chroot)
                .ok_or_else(|| ConnectFault::Unavailable("memory: the session ended at once".to_owned()))?;
            tokio::spawn(cluster.drive(key));
            Ok(Arc::new(store) as Arc<dyn Store>)
        })
    }
}

#[cfg(test)]
mod tests;
