//! The whole program but for its process: listen, register, serve, and leave in the order that loses no request.
//!
//! Leaving: say "draining" and wait for the notice, withdraw, accept a little longer, empty the accept queues and close the
//! listeners, finish what is under way, close the session. What ZooKeeper does not acknowledge in time is not waited for.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};
use zk_registry::{Attributes, ConnectionState, Error, ErrorKind, Registry, Secrets, Withdrawn};

use crate::daemon::admin::{Admin, AdminListener};
use crate::daemon::advertise::{Advertise, plan};
use crate::daemon::announce::{Announcer, Announcing};
use crate::daemon::args::{AdminAddress, ReadyWhen};
use crate::daemon::board::Board;
use crate::daemon::config::Config;
use crate::daemon::listener::{adopt, listen, listen_for};
use crate::daemon::load::Loaded;
use crate::daemon::logging::LogFilter;
use crate::daemon::metrics::Metrics;
use crate::daemon::privileges::become_user;
use crate::daemon::registry_metrics::RegistryCollector;
use crate::daemon::reload::Reload;
use crate::daemon::secrets_in_use::SecretsInUse;
use crate::daemon::server::{Finished, Server};
use crate::daemon::service_manager;
use zk_registry::cli::UsageError;

/// A server that listens already and is not registered yet.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    server: Server,
    listeners: Vec<TcpListener>,
    advertise: Vec<(SocketAddr, Advertise)>,
    admin: Option<AdminListener>,
    attributes: watch::Sender<Attributes>,
    secrets: SecretsInUse,
}

/// Why a daemon did not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum DaemonError {
    /// The system failed us.
    System(io::Error),
    /// The arguments cannot work; nothing was registered.
    Usage(UsageError),
}

impl Daemon {
    /// Listens on every address of the configuration, or on the sockets that were handed over, if there are any. Then becomes
    /// the configured user. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The first address that cannot be listened on, two listeners that would advertise the same, or a user that this process
    /// cannot become.
    pub fn bind(config: Config, passed: Vec<std::net::TcpListener>) -> Result<Self, UsageError> {
        let cannot = |flag: &'static str, address: SocketAddr| {
            move |error: io::Error| UsageError::new(flag, format!("cannot listen on {address}: {error}"))
        };
        let bind = |&address: &SocketAddr| {
            let listener =
                listen_for(address, config.limits.slow_reader).map_err(cannot("--listen", address))?;
            let bound = listener.local_addr().map_err(cannot("--listen", address))?;
            Ok((bound, listener))
        };
        let adopt = |listener: std::net::TcpListener| {
            let handed_over = |error| UsageError::new("LISTEN_FDS", format!("cannot use a socket: {error}"));
            let bound = listener.local_addr().map_err(handed_over)?;
            Ok((bound, adopt(listener, config.limits.slow_reader).map_err(handed_over)?))
        };
        let listening: Result<Vec<_>, _> = match passed.is_empty() {
            true => config.listen.iter().map(bind).collect(),
            false => passed.into_iter().map(adopt).collect(),
        };
        let (addresses, listeners): (Vec<_>, _) = listening?.into_iter().unzip();
        let plans = plan(&addresses, &config.advertise, config.pod_ip)?;
        let admin = config.admin.as_ref().map(|address| {
            let cannot = |error| UsageError::new("--admin", format!("cannot listen on {address}: {error}"));
            listen_admin(address).map_err(cannot)
        });
        let admin = admin.transpose()?;
        if let Some(user) = &config.user {
            become_user(user)?;
            // Not only while it was root.
            config.secret_files.read()?;
        }
        let metrics = Metrics::default();
        let server = Server::new(config.limits.clone()).with_metrics(metrics.clone());
        let options = &config.registry.options;
        let read = Secrets { credentials: options.credentials.clone(), tls: options.tls.clone() };
        let secrets = SecretsInUse::new(config.secret_files.clone(), &read, metrics);
        let attributes = watch::Sender::new(config.attributes.clone());
        let advertise = addresses.into_iter().zip(plans).collect();
        Ok(Self { config, server, listeners, advertise, admin, attributes, secrets })
    }

    /// The reload of this server: it reads the command line `words` again, whose configuration now is `loaded`.
    pub fn reload(&self, words: Vec<OsString>, loaded: Loaded, filter: LogFilter) -> Reload {
        let (attributes, secrets) = (self.attributes.clone(), self.secrets.clone());
        let metrics = self.server.metrics().clone();
        Reload { words, loaded, filter, attributes, secrets, metrics }
    }

    /// The addresses that are listened on, in the order of the configuration.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.advertise.iter().map(|(address, _)| *address)
    }

    /// The address of the admin endpoint, if it has one: none on a Unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        match self.admin.as_ref()? {
            AdminListener::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            AdminListener::Unix(_) => None,
        }
    }

    /// Registers and serves until `shutdown` completes, then leaves. When `hurry` completes, nothing is waited for any
    /// longer but the end of the session, and that for 250 ms: a session that is not closed stays listed until it times out.
    ///
    /// # Errors
    ///
    /// What makes registering impossible from the start.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes everything at once; the registrations are withdrawn best effort.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        hurry: impl Future<Output = ()>,
    ) -> Result<(), DaemonError> {
        let Self { config, server, listeners, advertise, admin, attributes, secrets } = self;
        let metrics = server.metrics().clone();
        let board = Board::new(advertise.iter().map(|(listener, _)| *listener), metrics.clone());
        for (listener, _) in &advertise {
            info!(%listener, "listening");
        }

        let options = config.registry.options.with_secrets(secrets.source());
        let registry = Registry::open(config.registry.to, options);
        if let ConnectionState::Failed(error) = &*registry.connection().borrow() {
            return Err(DaemonError::Usage(UsageError::from_registry(error)));
        }
        metrics.add(RegistryCollector(registry.clone()));
        let usage = wrong_use(registry.connection());
        let announcing = Announcing {
            registry: registry.clone(),
            service: config.registry.service,
            attributes: attributes.subscribe(),
            notice: config.shutdown.notice,
            patience: ACKNOWLEDGED_WITHIN,
            board: board.clone(),
            refusal: watch::Sender::new(None),
        };
        let refused = refused(announcing.refusal.subscribe());
        let announcer = Announcer::start(&announcing, advertise).map_err(|error| unusable(&error))?;
        drop(announcing);

        let leaving_within = ACKNOWLEDGED_WITHIN * 3
            + config.shutdown.notice.unwrap_or_default()
            + config.shutdown.linger
            + config.shutdown.drain_timeout;
        let stop = async {
            shutdown.await;
            info!("leaving");
            service_manager::stopping(leaving_within);
            board.set_draining();
            announcer.leave().await;
            sleep(config.shutdown.linger).await;
        };
        let serving = server.run(listeners, stop, config.shutdown.drain_timeout);
        let admin_endpoint = async {
            match admin {
                Some(listener) => Admin { board: board.clone(), metrics }.serve(listener).await,
                None => std::future::pending().await,
            }
        };
        let closing = registry.clone();
        let leave = async {
            let finished = serving.await.map_err(DaemonError::System)?;
            if finished != (Finished { dropped: 0 }) {
                warn!(dropped = finished.dropped, "connections did not finish in time");
            }
            if let Withdrawn::Unconfirmed { gone_within } = registry.close(ACKNOWLEDGED_WITHIN).await {
                warn!(?gone_within, "ZooKeeper did not confirm the end of the session");
            }
            Ok(())
        };
        tokio::select! {
            ended = leave => ended,
            () = hurry => {
                let _ = closing.close(HURRIED_CLOSE).await; // it is tried, and nothing more
                Ok(())
            }
            error = usage => Err(DaemonError::Usage(error)),
            error = refused => Err(unusable(&error)),
            never = admin_endpoint => match never {},
            never = tell_service_manager(&board, config.ready) => match never {},
            never = service_manager::feed_watchdog() => match never {},
        }
    }
}

/// Tells the service manager how far we are, with each change, and once that we are ready.
async fn tell_service_manager(board: &Board, ready: ReadyWhen) -> Infallible {
    let mut changes = board.changes();
    let mut is_ready = false;
    let mut told = String::new();
    loop {
        changes.mark_unchanged();
        if !is_ready && (ready == ReadyWhen::Listening || board.is_ready()) {
            is_ready = true;
            service_manager::ready();
        }
        let summary = board.summary();
        if summary != told {
            service_manager::status(&summary);
            told = summary;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

impl Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Usage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DaemonError {}

/// Listens for the admin endpoint. A socket that a dead process left at the path is replaced; nothing else is.
fn listen_admin(address: &AdminAddress) -> io::Result<AdminListener> {
    match address {
        AdminAddress::Tcp(address) => listen(*address).map(AdminListener::Tcp),
        #[cfg(unix)]
        AdminAddress::Unix(path) => {
            use std::os::unix::fs::FileTypeExt as _;
            use std::os::unix::net::UnixStream;

            let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
            if is_socket && UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            tokio::net::UnixListener::bind(path).map(AdminListener::Unix)
        }
        #[cfg(not(unix))]
        AdminAddress::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Completes if connecting shows that the options cannot work: serving on, unregistered for ever, would hide that.
async fn wrong_use(mut connection: watch::Receiver<ConnectionState>) -> UsageError {
    let invalid = |state: &ConnectionState| match state {
        ConnectionState::Failed(error) if error.kind() == ErrorKind::Invalid => Some(error.clone()),
        _ => None,
    };
    loop {
        if let Some(error) = invalid(&connection.borrow_and_update()) {
            return UsageError::from_registry(&error);
        }
        if connection.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Completes if a listener is refused before it ever stood: serving on, unregistered for ever, would hide that.
async fn refused(mut refusal: watch::Receiver<Option<Error>>) -> Error {
    loop {
        if let Some(error) = &*refusal.borrow_and_update() {
            return error.clone();
        }
        if refusal.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// How long ZooKeeper has to acknowledge a step of leaving. It answers in milliseconds or, being down, not at all.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(3);

/// The time for the end of the session when a second signal came.
const HURRIED_CLOSE: Duration = Duration::from_millis(250);

fn unusable(error: &impl Display) -> DaemonError {
    DaemonError::Usage(UsageError::new("cannot register", error))
}
