//! A thin client of the test's own, to look at the truth from outside and to change it past what is tested.
//!
//! It is not what is tested: it has no retries, and it is meant for a server that is up. Its sessions hold persistent
//! watches only, never a one-shot watch beside them: the client crate does not survive the mixture.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Handle;
pub use zookeeper_client::{Acls, CreateMode, Error, MultiReadResult, Stat};
use zookeeper_client::{Client, Connector};

use crate::eventually::eventually;
use crate::fair_time::fair_timeout;
use crate::raw_events::Events;

/// One session with ZooKeeper. Dropping it closes the session; [`Raw::close`] also waits for that.
#[derive(Clone, Debug)]
pub struct Raw {
    client: Client,
}

impl Raw {
    /// Opens a session of 40 seconds at `host:port[,host:port]...[/chroot]`: the client crate gives a connection up after two
    /// fifths of that without an answer, which on an overloaded machine takes seconds.
    ///
    /// # Panics
    ///
    /// When no server takes it within 20 seconds.
    pub async fn connect(to: &str) -> Self {
        Self::connect_with(to, Client::connector().with_session_timeout(Duration::from_secs(40))).await
    }

    /// Opens a session with settings of the caller's choice: timeout, credentials, TLS.
    ///
    /// # Panics
    ///
    /// As [`Raw::connect`].
    pub async fn connect_with(to: &str, connector: Connector) -> Self {
        // One eager pass per try: a connect that retries by itself can spin past its deadline.
        let connector = connector.with_fail_eagerly();
        let client = eventually(CONNECTING, &format!("a session at {to}"), async || {
            on_this_runtime(connector.clone().connect(to)).await
        })
        .await;
        Self { client }
    }

    /// The session's id, as `ephemeral_owner` shows it.
    pub fn session(&self) -> i64 {
        self.client.session_id().0
    }

    /// The timeout that the server granted.
    pub fn session_timeout(&self) -> Duration {
        self.client.session_timeout()
    }

    /// The client itself, for what this wrapper does not offer. No one-shot watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The children of `path`, sorted; `None` without such a node.
    ///
    /// # Errors
    ///
    /// Like every request here: what the client crate says.
    pub async fn list(&self, path: &str) -> Result<Option<Vec<String>>, Error> {
        let mut names = present(self.client.list_children(path).await)?;
        if let Some(names) = &mut names {
            names.sort_unstable();
        }
        Ok(names)
    }

    /// Data and stat of a node; `None` without such a node.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
        present(self.client.get_data(path).await)
    }

    /// Data and stat of many nodes in one request, `None` for each that does not exist.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`], also when a single node cannot be read.
    pub async fn get_many(&self, paths: &[String]) -> Result<Vec<Option<(Vec<u8>, Stat)>>, Error> {
        let mut reader = self.client.new_multi_reader();
        for path in paths {
            reader.add_get_data(path)?;
        }
        let read = reader.commit().await?;
        read.into_iter()
            .map(|one| match one {
                MultiReadResult::Data { data, stat } => Ok(Some((data, stat))),
                MultiReadResult::Error { err } => present(Err(err)),
                other => Err(Error::UnexpectedError(format!("{other:?} in answer to a read of data"))),
            })
            .collect()
    }

    /// Creates a node that any client may change.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn create(&self, path: &str, data: &[u8], mode: CreateMode) -> Result<Stat, Error> {
        let (stat, _) = self.client.create(path, data, &mode.with_acls(Acls::anyone_all())).await?;
        Ok(stat)
    }

    /// Creates a persistent node and its ancestors, as far as they are missing.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn mkdir(&self, path: &str) -> Result<(), Error> {
        self.client.mkdir(path, &CreateMode::Persistent.with_acls(Acls::anyone_all())).await
    }

    /// Replaces the data of a node of any version.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn set(&self, path: &str, data: &[u8]) -> Result<Stat, Error> {
        self.client.set_data(path, data, None).await
    }

    /// Deletes a node of any version.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.client.delete(path, None).await
    }

    /// Creates many persistent nodes, in transactions of 500: a load that outlives sessions.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`]; the transactions before the failed one stay.
    pub async fn create_many(&self, nodes: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        let mut nodes = nodes.into_iter().peekable();
        while nodes.peek().is_some() {
            let mut writer = self.client.new_multi_writer();
            for (path, data) in nodes.by_ref().take(500) {
                writer.add_create(&path, &data, &options)?;
            }
            writer.commit().await.map_err(|error| Error::UnexpectedError(error.to_string()))?;
        }
        Ok(())
    }

    /// Creates many ephemeral nodes in one transaction.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`]; none is created then.
    pub async fn create_ephemerals(
        &self,
        nodes: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<(), Error> {
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        let mut writer = self.client.new_multi_writer();
        for (path, data) in nodes {
            writer.add_create(&path, &data, &options)?;
        }
        writer.commit().await.map_err(|error| Error::UnexpectedError(error.to_string()))?;
        Ok(())
    }

    /// Deletes many nodes, in transactions of 500.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`]; the transactions before the failed one are done.
    pub async fn delete_many(&self, paths: impl IntoIterator<Item = String>) -> Result<(), Error> {
        let mut paths = paths.into_iter().peekable();
        while paths.peek().is_some() {
            let mut writer = self.client.new_multi_writer();
            for path in paths.by_ref().take(500) {
                writer.add_delete(&path, None)?;
            }
            writer.commit().await.map_err(|error| Error::UnexpectedError(error.to_string()))?;
        }
        Ok(())
    }

    /// Waits until this session's server has caught up with the leader.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn sync(&self, path: &str) -> Result<(), Error> {
        self.client.sync(path).await
    }

    /// Records every change of `path` and of everything below it from now on.
    ///
    /// # Errors
    ///
    /// As [`Raw::list`].
    pub async fn events(&self, path: &str) -> Result<Events, Error> {
        Events::watch(self.client.clone(), path).await
    }

    /// Closes the session and waits until the server has done so: its ephemeral nodes are gone.
    ///
    /// # Panics
    ///
    /// When another clone or an [`Events`] keeps the session open, or ZooKeeper is away, for more than 20 seconds.
    pub async fn close(self) {
        let mut states = self.client.state_watcher();
        drop(self);
        let closed = async {
            // A terminal state that was consumed before is never announced again.
            while !states.peek_state().is_terminated() {
                states.changed().await;
            }
        };
        if fair_timeout(CONNECTING, closed).await.is_none() {
            panic!("the session did not close within {CONNECTING:?}: is a clone of it alive?");
        }
    }
}

/// "No such node" is an answer, not a failure.
fn present<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoNode) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Polls `connect` so that the task it spawns lands on the test's runtime, without a spawner chosen at link time.
async fn on_this_runtime<F: Future>(connect: F) -> F::Output {
    let spawner = Spawner(Handle::current());
    let mut connect = pin!(connect);
    poll_fn(move |context| {
        let _scope = spawns_core::enter(&spawner);
        connect.as_mut().poll(context)
    })
    .await
}

struct Spawner(Handle);

impl spawns_core::Spawn for Spawner {
    fn spawn(&self, task: spawns_core::Task) {
        let spawns_core::Task { future, .. } = task;
        self.0.spawn(Box::into_pin(future));
    }
}

const CONNECTING: Duration = Duration::from_secs(20);
