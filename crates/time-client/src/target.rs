//! The service that a subcommand is about: flags to registry, the first snapshot or why there is none, a polite close.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::{
    BasePath, ConnectString, ConnectionState, Error, Freshness, Options, Registry, Resolve, ServiceName,
    ServiceWatch, Snapshot,
};

use crate::common_args::CommonArgs;
use crate::exit::Exit;

/// A service in a ZooKeeper, and how long to wait until it is known. Nothing was connected yet.
#[derive(Debug)]
pub(crate) struct Target {
    to: ConnectString,
    options: Options,
    pub(crate) service: ServiceName,
    wait: Duration,
}

/// The reason why there is nothing to show or to ask.
#[derive(Debug)]
pub(crate) enum Unavailable {
    /// ZooKeeper says what waiting would not cure.
    Hopeless { to: ConnectString, cause: Error },
    /// A signal came first.
    Interrupted,
    /// The registry says so.
    NoInstance { service: ServiceName, bases: Vec<BasePath> },
    /// ZooKeeper was reached, but the service could not be read in time.
    NotRead { service: ServiceName, within: Duration, cause: Option<Error> },
    /// ZooKeeper was not reached in time.
    NotReached { to: ConnectString, within: Duration, cause: Option<Error> },
}

impl Target {
    /// Checks what the flags say, and creates the directory of `--snapshot-file`.
    ///
    /// # Errors
    ///
    /// The flag that cannot be used so.
    pub(crate) fn of(args: CommonArgs) -> Result<Self, UsageError> {
        let config = args.registry.resolve()?;
        let mut options = config.options;
        if let Some(directory) = args.snapshot_file {
            create_private(&directory).map_err(|error| {
                let accepted = "must be a directory, or one that can be created";
                UsageError::new("--snapshot-file", format!("{}: {accepted} ({error})", directory.display()))
            })?;
            options.snapshot_dir = Some(directory);
        }
        Ok(Self { to: config.to, options, service: config.service, wait: args.wait })
    }

    /// Opens a registry, runs `work` once the service is known, and closes the registry.
    ///
    /// # Errors
    ///
    /// Why the service did not become known, or the error of `work`.
    pub(crate) async fn with_watch(
        &self,
        stop: &CancellationToken,
        work: impl AsyncFnOnce(&Registry, &mut ServiceWatch) -> Result<Exit, Unavailable>,
    ) -> Result<Exit, Unavailable> {
        let registry = Registry::open(self.to.clone(), self.options.clone());
        let done = match self.known(&registry, stop).await {
            Ok(mut watch) => work(&registry, &mut watch).await,
            Err(nothing) => Err(nothing),
        };
        // Unavailable of ours is registered: an unacknowledged close costs nothing.
        let _ = registry.close(CLOSE_WITHIN).await;
        done
    }

    /// Waits until something is known of the service, or says why nothing is.
    ///
    /// What a file remembers is used only if ZooKeeper says nothing for a moment; that there was no instance, not at all.
    async fn known(
        &self,
        registry: &Registry,
        stop: &CancellationToken,
    ) -> Result<ServiceWatch, Unavailable> {
        let mut watch = registry.watch(&self.service);
        let until = Instant::now() + self.wait;
        let known = async {
            watch.ready().await.ok()?;
            if is_remembered(watch.current()) && !watch.current().is_empty() {
                let grace = until.min(Instant::now() + DISK_GRACE);
                // Late is fine: then the file's word counts.
                let _ = timeout_at(grace, watch.live()).await;
            }
            while is_remembered(watch.current()) && watch.current().is_empty() {
                watch.changed().await.ok()?;
            }
            Some(())
        };
        let known = tokio::select! {
            known = timeout_at(until, known) => known.ok().flatten(),
            () = stop.cancelled() => return Err(Unavailable::Interrupted),
            cause = hopeless(registry) => return Err(Unavailable::Hopeless { to: self.to.clone(), cause }),
        };
        match known {
            Some(()) => Ok(watch),
            None => Err(self.diagnose(&registry.connection().borrow(), watch.current().cause())),
        }
    }

    /// The reason why there is no instance: ZooKeeper has none, or nothing at all where one is looked for.
    pub(crate) async fn no_instance(&self, registry: &Registry) -> Unavailable {
        let service = self.service.clone();
        match timeout(LOOK_WITHIN, registry.lookup(&service)).await {
            Ok(Err(error)) => Unavailable::NotRead { service, within: self.wait, cause: Some(error) },
            Ok(Ok(_)) | Err(_) => Unavailable::NoInstance { service, bases: self.bases() },
        }
    }

    /// Where it is looked for.
    fn bases(&self) -> Vec<BasePath> {
        let further = self.options.further.iter().map(|source| &source.base);
        let mut bases: Vec<BasePath> = Vec::new();
        for base in std::iter::once(&self.options.base).chain(further) {
            if !bases.iter().any(|known| known.to_string() == base.to_string()) {
                bases.push(base.clone());
            }
        }
        bases
    }

    fn diagnose(&self, connection: &ConnectionState, unread: Option<&Error>) -> Unavailable {
        let cause = match connection {
            ConnectionState::Connected { .. } => {
                let (service, cause) = (self.service.clone(), unread.cloned());
                return Unavailable::NotRead { service, within: self.wait, cause };
            }
            ConnectionState::Connecting { last } => last.clone(),
            ConnectionState::Failed(cause) => {
                return Unavailable::Hopeless { to: self.to.clone(), cause: cause.clone() };
            }
            _ => None,
        };
        Unavailable::NotReached { to: self.to.clone(), within: self.wait, cause }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hopeless { to, cause } => write!(f, "ZooKeeper at {to} cannot be used: {cause}"),
            Self::Interrupted => f.write_str("interrupted before the instances were known"),
            Self::NoInstance { service, bases } => {
                let place = |base: &BasePath| format!("{}/{service}", base.to_string().trim_end_matches('/'));
                let places: Vec<_> = bases.iter().map(place).collect();
                write!(f, "no instance of {service} at {}", places.join(" or "))
            }
            Self::NotRead { service, within, cause } => {
                write!(f, "ZooKeeper was reached, but {service} could not be read within {within:?}")?;
                because(f, cause.as_ref())
            }
            Self::NotReached { to, within, cause } => {
                write!(f, "ZooKeeper was not reached at {to} within {within:?}")?;
                because(f, cause.as_ref())
            }
        }
    }
}

fn because(f: &mut fmt::Formatter<'_>, cause: Option<&Error>) -> fmt::Result {
    cause.map_or(Ok(()), |cause| write!(f, ": {cause}"))
}

/// Creates a directory, with its parents, for this user alone: in one that others could write no snapshot file is believed.
fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn is_remembered(snapshot: &Snapshot) -> bool {
    matches!(snapshot.freshness(), Freshness::Disk { .. })
}

/// Completes when the registry says that waiting would not help.
async fn hopeless(registry: &Registry) -> Error {
    match registry.connected().await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

/// How long ZooKeeper may take to say that there is nothing a service could be absent from.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// How long ZooKeeper may take to correct what a file remembers.
const DISK_GRACE: Duration = Duration::from_millis(500);

/// How long the end may take: the session's, and that of a snapshot file that is still being written.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);
