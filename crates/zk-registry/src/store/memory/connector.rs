//! One process that connects to the servers in memory, and its network.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::Cluster;
use super::client::Session;
use super::server::Network;
use crate::store::{Connect, ConnectFault, End, Store};

impl Cluster {
    /// A process that may connect, without an identity.
    pub(crate) fn connector(&self, session_timeout: Duration) -> Connector {
        self.connector_as(None, session_timeout)
    }

    /// A process that may connect, and authenticates as this user.
    pub(crate) fn connector_as(&self, user: Option<&str>, session_timeout: Duration) -> Connector {
        let process = self.lock().add_process(user);
        Connector { cluster: self.clone(), process, session_timeout, chroot: String::new() }
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

    /// From now on nothing comes through, in either direction, and no end is told.
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
    fn cluster(&self) -> String {
        format!("memory{}", self.chroot)
    }

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
