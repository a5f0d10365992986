//! The means of a subject: the number of runs, and a ZooKeeper that is started when the first subject asks.

use std::time::Duration;

use tokio::sync::OnceCell;

use super::runs::Runs;
use crate::four_letter;
use crate::servers::{Launch, Servers};
use crate::zookeeper::ZooKeeper;

/// Shared by all subjects of one run.
#[derive(Debug)]
pub struct World {
    /// How often each thing is measured.
    pub runs: Runs,
    zookeeper: OnceCell<Given>,
}

#[derive(Debug)]
struct Given {
    zookeeper: ZooKeeper,
    version: Option<String>,
    /// Stopped with the world; `None` when `ZK_TEST` names another.
    _own: Option<Servers>,
}

impl World {
    /// Nothing is started yet.
    pub fn new(runs: Runs) -> Self {
        Self { runs, zookeeper: OnceCell::new() }
    }

    /// The server to measure against: that of the environment variable `ZK_TEST`, else one of our own with the tick
    /// of 2 seconds that users have.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    pub async fn zookeeper(&self) -> &ZooKeeper {
        let given = self.zookeeper.get_or_init(async || {
            let own = match std::env::var_os("ZK_TEST") {
                Some(_) => None,
                None => Some(Launch::single().on_disk().tick(Duration::from_secs(2)).start().await),
            };
            let zookeeper = own.as_deref().cloned().unwrap_or_else(ZooKeeper::shared);
            let version = four_letter::version(zookeeper.address(1)).await;
            Given { zookeeper, version, _own: own }
        });
        &given.await.zookeeper
    }

    /// The version of the server, if any subject has asked for one.
    pub fn zookeeper_version(&self) -> Option<String> {
        self.zookeeper.get()?.version.clone()
    }
}
