//! A registry for unit tests: the real registration and view code over a ZooKeeper in memory, with faults on command.
//!
//! It runs on the caller's runtime, so a paused clock governs it, and needs neither java nor a network.
//!
//! ```
//! use std::time::Duration;
//! use zk_registry::{Freshness, Instance, Resolve, ServiceName, testing};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
//! # runtime.block_on(async {
//! let server = testing::registry();
//! let client = server.sibling(); // another process, the same ZooKeeper
//! let time: ServiceName = "time".parse().unwrap();
//!
//! let mut registration = server.register(&time, Instance::new("10.0.0.1", 8897));
//! registration.registered().await.unwrap();
//! let mut watch = client.watch(&time);
//! assert_eq!(watch.live().await.unwrap().len(), 1);
//!
//! client.disconnect(); // losing ZooKeeper loses no instance
//! while watch.current().freshness() == Freshness::Live {
//!     watch.changed().await.unwrap();
//! }
//! assert_eq!(watch.current().len(), 1);
//!
//! client.reconnect();
//! registration.withdraw(Duration::from_secs(1)).await;
//! while !watch.current().is_empty() {
//!     watch.changed().await.unwrap();
//! }
//! # });
//! ```

#[cfg(feature = "testing")]
mod behaviours;
#[doc(hidden)]
pub mod dialects;
#[doc(hidden)]
#[cfg(feature = "testing")]
pub mod fuzzing;
#[cfg(feature = "testing")]
mod hostile;
#[doc(hidden)]
#[cfg(feature = "testing")]
pub mod internal;
mod server;
mod storm;

pub use server::{Frozen, Reach, Server, ServerOptions};
pub use storm::{World, storm};

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::instance::ServiceName;
use crate::options::Options;
use crate::registry::background::Background;
use crate::resolve::{Resolve, ServiceWatch};
use crate::store::memory::{Cluster, Connector, Fate};

/// A registry of a new, empty ZooKeeper in memory, with the default options.
///
/// # Panics
///
/// Outside of a tokio runtime with a clock.
pub fn registry() -> Registry {
    Registry::with(Options::default(), 0)
}

/// A [`Registry`](crate::Registry), to which it derefs, with a network that can be cut.
#[derive(Clone)]
pub struct Registry {
    registry: crate::Registry,
    cluster: Cluster,
    network: Connector,
}

impl Registry {
    /// A registry of a new, empty ZooKeeper in memory; whatever is left to chance depends on the seed alone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock.
    pub fn with(options: Options, seed: u64) -> Self {
        Self::join(Cluster::new(seed), options, seed)
    }

    /// Another process that uses the same ZooKeeper, with the default options.
    pub fn sibling(&self) -> Self {
        self.sibling_with(Options::default())
    }

    /// Another process that uses the same ZooKeeper.
    pub fn sibling_with(&self, options: Options) -> Self {
        Self::join(self.cluster.clone(), options, 1)
    }

    fn join(cluster: Cluster, options: Options, seed: u64) -> Self {
        let network = cluster.connector(options.session_timeout);
        let background = options.validate().map(|()| Background::on(Handle::current()));
        let registry = crate::Registry::over(Arc::new(network.clone()), 0, options, background, seed);
        Self { registry, cluster, network }
    }

    /// Cuts this process off, until [`reconnect`](Self::reconnect). Requests under way may or may not be executed.
    pub fn disconnect(&self) {
        self.network.cut();
    }

    /// Cuts this process off without a sign: packets vanish, in both directions.
    pub fn freeze(&self) {
        self.network.freeze();
    }

    /// Ends a [`disconnect`](Self::disconnect) or a [`freeze`](Self::freeze).
    pub fn reconnect(&self) {
        self.network.heal();
    }

    /// ZooKeeper expires this process's session; its instances vanish, until it has registered them again.
    pub fn expire_session(&self) {
        if let Some(session) = self.network.session() {
            self.cluster.expire(session);
        }
    }

    /// Sets how long every request takes from now on, there and back. 1 ms at first.
    pub fn delay(&self, latency: Duration) {
        self.cluster.set_latency(latency);
    }

    /// The connection that carries the next write is lost after the write was executed: no client learns that it was.
    pub fn lose_next_reply(&self) {
        self.cluster.lose_next_write(Fate::Executed);
    }

    /// Stops ZooKeeper; sessions survive.
    pub fn stop_zookeeper(&self) {
        self.cluster.stop();
    }

    /// Starts ZooKeeper again.
    pub fn start_zookeeper(&self) {
        self.cluster.start();
    }

    /// Writes a node as an operator or a foreign program would.
    pub fn put(&self, path: &str, data: &[u8]) {
        self.cluster.put(path, data);
    }

    /// Deletes a node as an operator would; `false` if it is not there or has children.
    pub fn delete(&self, path: &str) -> bool {
        self.cluster.delete(path)
    }

    /// The data of a node; `None` if it is not there.
    pub fn data(&self, path: &str) -> Option<Vec<u8>> {
        self.cluster.node(path).map(|node| node.data.to_vec())
    }
}

impl Deref for Registry {
    type Target = crate::Registry;

    fn deref(&self) -> &crate::Registry {
        &self.registry
    }
}

impl Resolve for Registry {
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        self.registry.watch(service)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.registry.fmt(f)
    }
}
