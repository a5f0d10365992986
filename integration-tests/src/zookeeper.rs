//! The ZooKeeper that a test talks to: the one that the whole run shares, or servers of its own.
//!
//! A test that only reads and writes uses [`ZooKeeper::shared`] below a [`chroot`](ZooKeeper::chroot) of its own; a
//! test that breaks servers starts its own, see [`servers`](crate::servers).

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::eventually::eventually;
use crate::four_letter;
use crate::proxy::Proxy;
use crate::raw::Raw;

/// A ZooKeeper that serves: one server or an ensemble.
#[derive(Clone, Debug)]
pub struct ZooKeeper {
    addresses: Vec<SocketAddr>,
}

impl ZooKeeper {
    /// The ZooKeeper of this test run, named by the environment variable `ZK_TEST` (`host:port[,host:port]...`).
    ///
    /// # Panics
    ///
    /// When `ZK_TEST` is missing or wrong: a test without its server fails, it is never skipped.
    pub fn shared() -> Self {
        let Ok(list) = std::env::var("ZK_TEST") else {
            panic!(
                "ZK_TEST is not set: this test needs a ZooKeeper. Run `make test`, which brings its own, \
                 or name one that may be written to: ZK_TEST=127.0.0.1:2181 cargo test"
            );
        };
        Self::at(list.split(',').map(|address| {
            let mut found = address.trim().to_socket_addrs().unwrap_or_else(|error| {
                panic!("ZK_TEST={list}: {address:?} is not host:port ({error})");
            });
            found.next().unwrap_or_else(|| panic!("ZK_TEST={list}: {address:?} has no address"))
        }))
    }

    /// A ZooKeeper that runs already, at `addresses`.
    pub fn at(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { addresses: addresses.into_iter().collect() }
    }

    /// The client address of every server.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The client address of server `node`, counted from 1.
    ///
    /// # Panics
    ///
    /// When there is no such server.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node - 1]
    }

    /// `host:port` of every server, separated by commas.
    pub fn connect_string(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// A session of the test's own, for a look from outside.
    ///
    /// # Panics
    ///
    /// When no server takes it within 20 seconds.
    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.connect_string()).await
    }

    /// A [`Proxy::zookeeper`] before every server; [`hosts`](crate::proxy::hosts) names them all.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub async fn proxies(&self) -> Vec<Proxy> {
        let mut proxies = Vec::new();
        for address in &self.addresses {
            proxies.push(Proxy::zookeeper(*address).await);
        }
        proxies
    }

    /// Creates an empty subtree for one test, so that no two tests ever see each other.
    ///
    /// # Panics
    ///
    /// When it cannot be created.
    pub async fn chroot(&self, name: &str) -> Chroot {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (run, n) = (rand::random::<u32>(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = format!("/test-{name}-{run:08x}-{n}");
        let raw = self.raw().await;
        raw.mkdir(&path).await.unwrap_or_else(|error| panic!("creating the chroot {path}: {error}"));
        raw.close().await;
        Chroot { hosts: self.connect_string(), path }
    }

    /// The role of server `node` (`standalone`, `leader`, `follower`), `None` while it does not serve.
    pub async fn mode(&self, node: usize) -> Option<String> {
        four_letter::mode(self.address(node)).await
    }

    /// The number of the server that leads, once one does.
    ///
    /// # Panics
    ///
    /// When none does for a minute.
    pub async fn leader(&self) -> usize {
        eventually(ELECTION, "a leader", async || self.leader_now().await).await
    }

    /// The number of a server other than `old` that leads, once one does.
    ///
    /// # Panics
    ///
    /// When none does for a minute.
    pub async fn another_leader(&self, old: usize) -> usize {
        let other = async || self.leader_now().await.filter(|leader| *leader != old);
        eventually(ELECTION, "another leader", other).await
    }

    /// The number of the server that says at this moment that it leads. One that is too busy to answer does not.
    pub async fn leader_now(&self) -> Option<usize> {
        for node in 1..=self.addresses.len() {
            if matches!(self.mode(node).await.as_deref(), Some("leader" | "standalone")) {
                return Some(node);
            }
        }
        None
    }
}

/// A subtree of one test's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chroot {
    hosts: String,
    path: String,
}

impl Chroot {
    /// The connect string for a client under test: `host:port[,host:port]/path`.
    pub fn connect_string(&self) -> String {
        self.through(&self.hosts)
    }

    /// The same subtree, reached over other hosts: a [`Proxy`], a dead server beside a living one.
    pub fn through(&self, hosts: impl std::fmt::Display) -> String {
        format!("{hosts}{}", self.path)
    }

    /// The subtree's path on the server, for four-letter words.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A session of the test's own within the subtree.
    ///
    /// # Panics
    ///
    /// When no server takes it within 20 seconds.
    pub async fn raw(&self) -> Raw {
        Raw::connect(&self.connect_string()).await
    }
}

/// An election that fails costs 10 seconds, and is no fault of what is tested.
const ELECTION: Duration = Duration::from_secs(60);
