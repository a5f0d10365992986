//! The registry that a subcommand works with: connected in time or not, and closed at the end.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::operate::{Directory, Operator};
use zk_registry::{ConnectString, ConnectionState, ErrorKind, InstanceId, Options, Registry, ServiceName};

use crate::common_args::CommonArgs;
use crate::exit::Failure;

/// A ZooKeeper and how services are written in it.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    pub(crate) to: ConnectString,
    pub(crate) options: Options,
    wait: Duration,
}

impl Fleet {
    /// What the flags say. Nothing is connected yet.
    pub(crate) fn of(args: CommonArgs) -> Result<Self, UsageError> {
        let config = args.cluster.resolve()?;
        Ok(Self { to: config.to, options: config.options, wait: args.connect_timeout })
    }

    /// The same services in another ZooKeeper.
    pub(crate) fn at(&self, to: ConnectString) -> Self {
        Self { to, ..self.clone() }
    }

    /// Runs `work` once ZooKeeper answers, until it ends or a signal comes, and closes the registry.
    pub(crate) async fn with<T>(
        &self,
        stop: &CancellationToken,
        work: impl AsyncFnOnce(&Registry) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let registry = self.open();
        let done = tokio::select! {
            done = async {
                self.connected(&registry).await?;
                work(&registry).await
            } => done,
            () = stop.cancelled() => Err(Failure::Interrupted),
        };
        // Nothing of ours is registered: an unacknowledged close costs nothing.
        let _ = registry.close(CLOSE_WITHIN).await;
        done
    }

    /// A further registry: a reader of its own session.
    pub(crate) fn open(&self) -> Registry {
        Registry::open(self.to.clone(), self.options.clone())
    }

    async fn connected(&self, registry: &Registry) -> Result<(), Failure> {
        match timeout(self.wait, registry.connected()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == ErrorKind::Invalid => Err(error.into()),
            Ok(Err(error)) => {
                Err(Failure::NotReached { to: self.to.clone(), within: self.wait, cause: Some(error) })
            }
            Err(_) => {
                let cause = match &*registry.connection().borrow() {
                    ConnectionState::Connecting { last } => last.clone(),
                    _ => None,
                };
                Err(Failure::NotReached { to: self.to.clone(), within: self.wait, cause })
            }
        }
    }
}

/// Fails where a service could never be seen: without the chroot, or without the right to read. A watch would take a chroot that is
/// not there for one that comes later, and show an empty fleet meanwhile.
pub(crate) async fn reachable(registry: &Registry, service: &ServiceName) -> Result<(), Failure> {
    Operator::new(registry).directories(service).await?;
    Ok(())
}

/// The same for the services that were named, or else for all.
pub(crate) async fn any_reachable(registry: &Registry, services: &[ServiceName]) -> Result<(), Failure> {
    match services {
        [] => registry.services().await.map(drop)?,
        [first, ..] => reachable(registry, first).await?,
    }
    Ok(())
}

/// The failure of a node that is not there: with the nodes that are.
pub(crate) async fn not_there(operator: &Operator, service: &ServiceName, node: &str) -> Failure {
    let directories = operator.directories(service).await.unwrap_or_default();
    let names: Vec<_> = directories.iter().flat_map(Directory::names).collect();
    let mut others: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    if names.len() > SHOWN {
        others.push(format!("and {} more", names.len() - SHOWN));
    }
    Failure::NotThere { service: service.clone(), node: node.to_owned(), others }
}

/// An instance's id, as an argument.
pub(crate) fn id(text: &str) -> Result<InstanceId, String> {
    text.parse().map_err(|error: zk_registry::Error| error.to_string())
}

/// How many of the nodes that are there an error names.
const SHOWN: usize = 5;

/// How long the end may take.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
