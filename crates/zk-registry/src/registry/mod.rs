//! The facade: one [`Registry`] per process registers instances and watches services over shared sessions.

pub(crate) mod background;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::info;

use self::background::Background;
use crate::discovery::{self, Channel, Driver, SnapshotFile, Subscription, Subscriptions};
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::options::{ConnectString, LONGEST_AUDIT, LONGEST_SESSION, Options};
use crate::registration::{
    self, Context, Desired, Holders, Identity, Key, NewRegistration, Registering, Registrar, Registration,
    RegistrationState, path_load,
};
use crate::resolve::{Resolve, ServiceWatch, Waiter};
use crate::session::last_heard::LastHeard;
use crate::session::{Command, ConnectionState, Link, Phase, SessionSettings, Sessions, Supervisor};
use crate::snapshot::Snapshot;
use crate::store::zookeeper::ZooKeeper;
use crate::store::{Connect, Store};
use crate::withdrawn::Withdrawn;

/// How many ephemeral path bytes one session owns at most.
///
/// The server closes a session in one transaction that carries every path; past its packet limit (1 MB by default) that
/// transaction is written but can never be read again, and the server does not start any more (ZOOKEEPER-4306).
const SESSION_PATH_BYTES: usize = 512 * 1024;

/// Registers instances and watches services.
///
/// Clones share everything. Guards and watches keep it alive; when the last of them and the last clone are gone, the
/// sessions are closed in the background. [`close`](Self::close) is the polite way: it waits for the acknowledgement.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    background: Background,
    connect: Arc<dyn Connect>,
    context: Context,
    options: Options,
    heard: LastHeard,
    /// One supervisor per session: the first carries the watches.
    slots: Mutex<Slots>,
    /// The registrars of all slots, for views that saw one of our nodes change.
    registrars: Arc<Mutex<Vec<Registrar>>>,
    views: Arc<Subscriptions>,
    /// The tasks behind the views: the last thing that they do is to write their snapshot files.
    drivers: TaskTracker,
    connection: watch::Receiver<ConnectionState>,
}

/// The sessions.
#[derive(Default)]
struct Slots {
    /// At least one.
    all: Vec<Slot>,
    /// No further one is opened: nobody would close it.
    closed: bool,
}

/// One session and what lives on it.
struct Slot {
    supervisor: mpsc::UnboundedSender<Command>,
    link: watch::Receiver<Link>,
    registrar: Registrar,
}

impl Registry {
    /// Starts connecting in the background and returns at once: it does not wait for ZooKeeper, needs no ambient runtime
    /// and never panics. What cannot work at all is told by [`connected`](Self::connected) and every later call.
    pub fn open(to: ConnectString, options: Options) -> Self {
        let background = match &options.runtime {
            Some(handle) => Ok(Background::on(handle.clone())),
            None => Background::own_thread().map_err(|error| {
                Error::with_source(ErrorKind::Unavailable, "the background thread cannot be started", error)
            }),
        };
        let zookeeper = ZooKeeper::new(&to, &options);
        let background = options.validate().and_then(|()| zookeeper.validate()).and(background);
        let chroot_len = to.chroot.as_ref().map_or(0, String::len);
        Self::over(Arc::new(zookeeper), chroot_len, options, background, rand::random())
    }

    /// The same over any store.
    pub(crate) fn over(
        connect: Arc<dyn Connect>,
        chroot_len: usize,
        options: Options,
        background: Result<Background, Error>,
        seed: u64,
    ) -> Self {
        let context = Context {
            base: options.base.clone(),
            format: options.format.clone(),
            acl: options.acl,
            // Also what was refused must not overflow a clock.
            audit_interval: options.audit_interval.min(LONGEST_AUDIT),
            session_timeout: options.session_timeout.min(LONGEST_SESSION),
            chroot_len,
            seed,
            us: Arc::new(Identity::new(registration::host_identity())),
            sessions: Arc::new(Sessions::default()),
            holders: Arc::new(Holders::default()),
        };
        let (state, connection) = watch::channel(ConnectionState::Connecting { last: None });
        let background = background.unwrap_or_else(|error| {
            state.send_replace(ConnectionState::Failed(error));
            Background::nowhere()
        });
        let heard = LastHeard::new(Instant::now());
        let inner = Inner {
            background,
            connect,
            context,
            options,
            heard,
            slots: Mutex::default(),
            registrars: Arc::default(),
            views: Arc::default(),
            drivers: TaskTracker::new(),
            connection,
        };
        let first = inner.open_slot(state, inner.heard.clone());
        inner.slots().all.push(first);
        Self(Arc::new(inner))
    }

    /// Waits for the first connection.
    ///
    /// # Errors
    ///
    /// Only what waiting cannot cure: [`ErrorKind::AuthFailed`], [`ErrorKind::ServerTooOld`], [`ErrorKind::Invalid`],
    /// [`ErrorKind::Closed`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn connected(&self) -> Result<(), Error> {
        let mut connection = self.0.connection.clone();
        loop {
            match &*connection.borrow_and_update() {
                ConnectionState::Connected { .. } => return Ok(()),
                ConnectionState::Failed(error) => return Err(error.clone()),
                ConnectionState::Connecting { last: Some(error) }
                    if error.kind() == ErrorKind::AuthFailed =>
                {
                    return Err(error.clone());
                }
                ConnectionState::Closed => return Err(closed()),
                _ => {}
            }
            connection.changed().await.map_err(|_| closed())?;
        }
    }

    /// The state of the (first) connection, now and from now on; it carries the cause of the last failure.
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.0.connection.clone()
    }

    /// How many sessions there are: one, and a further one for each 512 KiB of paths registered.
    pub fn sessions(&self) -> usize {
        self.0.slots().all.len()
    }

    /// Registers an instance and keeps it registered until the guard is withdrawn or dropped.
    ///
    /// What cannot be registered at all is told by [`Registration::registered`].
    pub fn register(&self, service: &ServiceName, instance: Instance) -> Registration {
        self.register_with(service, instance, Registering::default())
    }

    /// Registers an instance, saying how.
    pub fn register_with(&self, service: &ServiceName, instance: Instance, how: Registering) -> Registration {
        let key = Key::fresh();
        let (states, state) = watch::channel(RegistrationState::Pending);
        let prepared = match &*self.0.connection.borrow() {
            ConnectionState::Failed(error) => Err(error.clone()),
            _ => registration::prepare(&self.0.context, service, &instance),
        };
        let (id, path, wanted) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                states.send_replace(RegistrationState::Failed(error));
                let id = InstanceId::unchecked(&instance.address());
                let wanted = Arc::new(Desired::fixed(instance.attributes().clone()));
                let names = (id, String::new(), key);
                return Registration::new(names, wanted, state, self.0.registrar_for(0), self.0.clone());
            }
        };
        let wanted = Arc::new(wanted);
        let registrar = self.0.registrar_for(path_load(&path, self.0.context.chroot_len));
        registrar.register(NewRegistration {
            key,
            service: service.clone(),
            id: id.clone(),
            path: path.clone(),
            instance,
            how,
            desired: wanted.clone(),
            states,
        });
        Registration::new((id, path, key), wanted, state, registrar, self.0.clone())
    }

    /// The services that have at least one instance, by walking the tree below the base path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout, or the connection is lost
    /// meanwhile; [`ErrorKind::SessionLost`] when the session ends meanwhile: asking again helps with both. Also
    /// [`ErrorKind::NoAuth`], [`ErrorKind::AuthFailed`], [`ErrorKind::Closed`] and what [`connected`](Self::connected) says.
    pub async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        let walk = async {
            let store = self.0.store().await?;
            discovery::services::walk(&*store, &self.0.context.base, &*self.0.context.format).await
        };
        self.0.in_time(walk, "listing the services").await
    }

    /// Reads a service once, for scripts: everything that ZooKeeper acknowledged to anybody before the call is in it. A
    /// program that asks again and again should [`watch`](Resolve::watch).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout, or the connection is lost
    /// meanwhile; [`ErrorKind::SessionLost`] when the session ends meanwhile: asking again helps with both. Also
    /// [`ErrorKind::NoAuth`], [`ErrorKind::AuthFailed`], [`ErrorKind::Closed`] and what [`connected`](Self::connected) says.
    pub async fn lookup(&self, service: &ServiceName) -> Result<Snapshot, Error> {
        let read = async {
            let store = self.0.store().await?;
            let root = self.0.context.base.service(service);
            discovery::lookup::read(&*store, &root, service, self.0.context.format.clone()).await
        };
        self.0.in_time(read, "reading the service").await
    }

    /// Withdraws everything, closes the sessions and waits, at most `within`, for the acknowledgement and until what is
    /// known of the watched services is in their snapshot files.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all the same, unacknowledged.
    pub async fn close(self, within: Duration) -> Withdrawn {
        let goodbye = |slot: &Slot| {
            let (done, answer) = oneshot::channel();
            // A supervisor that has ended has left its last word in the link.
            let _ = slot.supervisor.send(Command::Close { within, done });
            (slot.link.clone(), slot.registrar.session_timeout(), answer)
        };
        let goodbyes: Vec<_> = {
            let mut slots = self.0.slots();
            slots.closed = true;
            slots.all.iter().map(goodbye).collect()
        };
        let outcomes = goodbyes.into_iter().map(|(link, gone_within, answer)| async move {
            let unknown = Withdrawn::Unconfirmed { gone_within };
            match timeout(within, answer).await {
                Ok(Ok(outcome)) => outcome,
                // Closed before, or meanwhile, by another clone.
                Ok(Err(_)) => link.borrow().closed.unwrap_or(unknown),
                Err(_) => unknown,
            }
        });
        // Subscriptions end with the first session's link, so this asks for nothing; a file that comes too late is the older one.
        self.0.drivers.close();
        let (outcomes, _) = join(join_all(outcomes), timeout(within, self.0.drivers.wait())).await;
        let doubt = outcomes.into_iter().find(|outcome| *outcome != Withdrawn::Confirmed);
        doubt.unwrap_or(Withdrawn::Confirmed)
    }
}

impl Inner {
    /// Opens a further session.
    fn open_slot(&self, state: watch::Sender<ConnectionState>, heard: LastHeard) -> Slot {
        let (supervisor, commands) = mpsc::unbounded_channel();
        let failed = match &*state.borrow() {
            ConnectionState::Failed(error) => Some(error.clone()),
            _ => None,
        };
        let hopeless = failed.is_some();
        let pending = Link {
            epoch: 0,
            ups: 0,
            phase: if hopeless { Phase::Closed } else { Phase::Connecting },
            store: None,
            closed: hopeless.then_some(Withdrawn::Confirmed),
            failed,
        };
        let (link_sender, link) = watch::channel(pending);
        let (registrar, task) =
            registration::registrar(self.context.clone(), link.clone(), supervisor.downgrade());
        self.background.spawn(task.run());
        self.registrars.lock().unwrap_or_else(PoisonError::into_inner).push(registrar.clone());
        if !hopeless {
            let supervisor = Supervisor {
                connect: self.connect.clone(),
                settings: SessionSettings::from(&self.options),
                sessions: self.context.sessions.clone(),
                heard,
                seed: self.context.seed,
                commands,
                link: link_sender,
                state,
            };
            self.background.spawn(supervisor.run());
        }
        Slot { supervisor, link, registrar }
    }

    /// The task behind the watches of a service.
    fn driver(
        &self,
        service: &ServiceName,
        channel: Channel,
        wishes: mpsc::UnboundedReceiver<Waiter>,
    ) -> Option<Driver> {
        let (holders, registrars) = (self.context.holders.clone(), self.registrars.clone());
        let link = self.slots().all.first()?.link.clone();
        let settings = discovery::ViewSettings {
            service: service.clone(),
            root: self.context.base.service(service),
            format: self.context.format.clone(),
            suspicion: self.options.suspicion,
            session_timeout: self.context.session_timeout,
            audit_interval: self.context.audit_interval,
            file: self
                .options
                .snapshot_dir
                .as_deref()
                .map(|directory| SnapshotFile::new(directory, self.context.base.service(service))),
            seed: self.context.seed,
            last_heard: self.heard.clone(),
            changed: Box::new(move |path| {
                if holders.holder(path).is_some() {
                    for registrar in registrars.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        registrar.command(registration::Command::Nudge { path: path.to_owned() });
                    }
                }
            }),
        };
        Some(Driver::new(settings, self.views.clone(), link, channel, wishes))
    }

    /// A registrar whose session has room for `load` more path bytes; of a closed registry any, which will say so.
    fn registrar_for(&self, load: usize) -> Registrar {
        let mut slots = self.slots();
        let closed = slots.closed;
        let will_do = |slot: &&Slot| {
            closed || slot.registrar.load().load(Ordering::Relaxed) + load <= SESSION_PATH_BYTES
        };
        let registrar = match slots.all.iter().find(will_do) {
            Some(slot) => slot.registrar.clone(),
            None => {
                let (state, _) = watch::channel(ConnectionState::Connecting { last: None });
                let slot = self.open_slot(state, LastHeard::new(Instant::now()));
                let registrar = slot.registrar.clone();
                slots.all.push(slot);
                info!(
                    sessions = slots.all.len(),
                    "the session's share of paths is full, opening a further one"
                );
                registrar
            }
        };
        registrar.load().fetch_add(load, Ordering::Relaxed);
        registrar
    }

    /// The first session, once it is connected.
    async fn store(&self) -> Result<Arc<dyn Store>, Error> {
        let mut link = match self.slots().all.first() {
            Some(slot) => slot.link.clone(),
            None => return Err(closed()),
        };
        loop {
            let now = link.borrow_and_update().clone();
            match (now.phase, now.store) {
                (Phase::Up, Some(store)) => return Ok(store),
                (Phase::Closed, _) => return Err(now.failed.unwrap_or_else(closed)),
                _ => link.changed().await.map_err(|_| closed())?,
            }
        }
    }

    /// Bounds a read by the session timeout; the error carries why there is no connection, if there is none.
    async fn in_time<T>(&self, read: impl Future<Output = Result<T, Error>>, what: &str) -> Result<T, Error> {
        let within = self.context.session_timeout;
        match timeout(within, read).await {
            Ok(outcome) => outcome,
            Err(_) => match &*self.connection.borrow() {
                ConnectionState::Connecting { last: Some(cause) } => Err(Error::with_source(
                    ErrorKind::Unavailable,
                    format!("{what}: ZooKeeper was not reached within {within:?}: {cause}"),
                    cause.clone(),
                )),
                _ => {
                    let message = format!("{what}: ZooKeeper did not answer within {within:?}");
                    Err(Error::new(ErrorKind::Unavailable, message))
                }
            },
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("base", &self.0.context.base)
            .field("connection", &*self.0.connection.borrow())
            .finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registry was closed")
}

impl Resolve for Registry {
    /// A live view of the service; watches of one service share it, and all of them the session.
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        let inner = &self.0;
        let Subscription { snapshots, wanted, first } = inner.views.subscribe(service);
        if let Some((channel, wishes)) = first
            && let Some(driver) = inner.driver(service, channel, wishes)
        {
            inner.background.spawn(inner.drivers.track_future(driver.run()));
        }
        ServiceWatch::new(snapshots, wanted, inner.heard.clone(), inner.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Zxid;

    #[test]
    fn what_can_be_known_to_fail_without_a_server_is_told_at_once() {
        let registry = Registry::open("tls://zk.example:2281".parse().unwrap(), Options::default());
        let ConnectionState::Failed(error) = &*registry.0.connection.borrow() else {
            panic!("{registry:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with("tls"), "{error}");
    }

    /// Compiling is the test: every public type crosses threads, and so does every future.
    fn _crosses_threads(registry: &Registry, registration: Registration, watch: &mut ServiceWatch) {
        fn send(_: impl Send) {}
        fn send_sync<T: Send + Sync>() {}
        send_sync::<(Registry, Registration, ServiceWatch, Snapshot, ConnectString, Options, Error, Instance)>(
        );
        send_sync::<crate::balance::Balancer>();
        send((registry.connected(), registry.services(), registry.clone().close(Duration::ZERO)));
        send(registration.update(|_| {}));
        send(registration.withdraw(Duration::ZERO));
        send(watch.wait_for(Zxid(1)));
    }
}
