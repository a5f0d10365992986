//! The facade: one [`Registry`] per process registers instances and watches services over shared sessions.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::info;

use crate::connect::{ConnectString, Options};
use crate::discovery::{self, Driver};
use crate::disk::Disk;
use crate::error::{Error, ErrorKind};
use crate::heard::Heard;
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::registration::registrar::{self, Context, Key, MAX_RECORD, New, Order, Registrar, path_load};
use crate::registration::{Book, Identity, Registering, Registration, RegistrationState, Wanted, Withdrawn};
use crate::resolve::{Resolve, ServiceWatch};
use crate::runtime::Background;
use crate::session::{Command, ConnectionState, Link, Phase, Sessions, Settings, Supervisor};
use crate::snapshot::Snapshot;
use crate::store::zookeeper::ZooKeeper;
use crate::store::{Connect, Store};
use crate::views::{Channel, Views, Wish};

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
    heard: Heard,
    /// One supervisor per session: the first carries the watches.
    slots: Mutex<Vec<Slot>>,
    /// The registrars of all slots, for views that saw one of our nodes change.
    registrars: Arc<Mutex<Vec<Registrar>>>,
    views: Arc<Views>,
    connection: watch::Receiver<ConnectionState>,
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
        let background = options.validate().and(background);
        let chroot_len = to.chroot.as_ref().map_or(0, String::len);
        Self::over(Arc::new(ZooKeeper::new(&to, &options)), chroot_len, options, background, rand::random())
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
            audit_interval: options.audit_interval,
            session_timeout: options.session_timeout,
            chroot_len,
            seed,
            us: Arc::new(Identity::new(crate::host::identity())),
            sessions: Arc::new(Sessions::default()),
            book: Arc::new(Book::default()),
        };
        let (state, connection) = watch::channel(ConnectionState::Connecting { last: None });
        let background = background.unwrap_or_else(|error| {
            state.send_replace(ConnectionState::Failed(error));
            Background::nowhere()
        });
        let heard = Heard::new(Instant::now());
        let inner = Inner {
            background,
            connect,
            context,
            options,
            heard,
            slots: Mutex::default(),
            registrars: Arc::default(),
            views: Arc::default(),
            connection,
        };
        let first = inner.open_slot(state, inner.heard.clone());
        inner.slots().push(first);
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
        self.0.slots().len()
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
        let prepared = self.prepare(service, &instance);
        let (id, path, wanted) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                states.send_replace(RegistrationState::Failed(error));
                let id = InstanceId::unchecked(&instance.address());
                let wanted = Arc::new(Wanted::fixed(instance.attributes().clone()));
                let names = (id, String::new(), key);
                return Registration::new(names, wanted, state, self.0.registrar_for(0), self.0.clone());
            }
        };
        let wanted = Arc::new(wanted);
        let registrar = self.0.registrar_for(path_load(&path, self.0.context.chroot_len));
        registrar.order(Order::Register(Box::new(New {
            key,
            service: service.clone(),
            id: id.clone(),
            path: path.clone(),
            instance,
            how,
            wanted: wanted.clone(),
            states,
        })));
        Registration::new((id, path, key), wanted, state, registrar, self.0.clone())
    }

    /// Checks what can be checked before anything is sent.
    fn prepare(
        &self,
        service: &ServiceName,
        instance: &Instance,
    ) -> Result<(InstanceId, String, Wanted), Error> {
        if let ConnectionState::Failed(error) = &*self.0.connection.borrow() {
            return Err(error.clone());
        }
        if !instance.is_dialable() && instance.ssl_port().is_none() {
            let message =
                format!("{:?} of {service}: an instance needs a host and a port", instance.address());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let id = instance.id()?;
        let context = self.0.context.clone();
        let path = context.base.instance(service, &id)?;
        let (service, probe, instance_id) = (service.clone(), instance.clone(), id.clone());
        let wanted = Wanted::new(instance.attributes().clone(), move |attributes| {
            let instance = probe.clone().with_attributes(attributes.clone());
            let now = std::time::SystemTime::now();
            let record = context.format.encode(&service, &instance_id, &instance, &context.us.owner, now)?;
            if record.len() > MAX_RECORD {
                let message = format!(
                    "the record of {instance_id} has {} bytes; at most {MAX_RECORD} are sent",
                    record.len()
                );
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            Ok(())
        })?;
        Ok((id, path, wanted))
    }

    /// The services that have at least one instance, by walking the tree below the base path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout.
    pub async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        let walk = async {
            let store = self.0.store().await?;
            crate::services::walk(&*store, &self.0.context.base, &*self.0.context.format).await
        };
        self.0.in_time(walk, "listing the services").await
    }

    /// Reads a service once, for scripts: everything that ZooKeeper acknowledged to anybody before the call is in it. A
    /// program that asks again and again should [`watch`](Resolve::watch).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout.
    pub async fn lookup(&self, service: &ServiceName) -> Result<Snapshot, Error> {
        let read = async {
            let store = self.0.store().await?;
            let root = self.0.context.base.service(service);
            crate::lookup::read(&*store, &root, service, self.0.context.format.clone()).await
        };
        self.0.in_time(read, "reading the service").await
    }

    /// Withdraws everything, closes the sessions and waits, at most `within`, for the acknowledgement.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all the same, unacknowledged.
    pub async fn close(self, within: Duration) -> Withdrawn {
        let goodbyes: Vec<_> = self
            .0
            .slots()
            .iter()
            .map(|slot| {
                let (done, answer) = oneshot::channel();
                // A supervisor that has ended has nothing left to close.
                let _ = slot.supervisor.send(Command::Close { within, done });
                (slot.registrar.clone(), answer)
            })
            .collect();
        let gone_within = self.0.context.session_timeout;
        let outcomes = goodbyes.into_iter().map(|(registrar, answer)| async move {
            let outcome = match timeout(within, answer).await {
                Ok(Ok(outcome)) => outcome,
                // Closed before, by another clone.
                Ok(Err(_)) => Withdrawn::Confirmed,
                Err(_) => Withdrawn::Unconfirmed { gone_within },
            };
            registrar.order(Order::Close(outcome));
            outcome
        });
        let outcomes = join_all(outcomes).await;
        let doubt = outcomes.into_iter().find(|outcome| *outcome != Withdrawn::Confirmed);
        doubt.unwrap_or(Withdrawn::Confirmed)
    }
}

impl Inner {
    /// Opens a further session.
    fn open_slot(&self, state: watch::Sender<ConnectionState>, heard: Heard) -> Slot {
        let (supervisor, commands) = mpsc::unbounded_channel();
        let pending = Link { epoch: 0, ups: 0, phase: Phase::Connecting, store: None };
        let (link_sender, link) = watch::channel(pending);
        let (registrar, task) =
            registrar::registrar(self.context.clone(), link.clone(), supervisor.downgrade());
        self.background.spawn(task.run());
        self.registrars.lock().unwrap_or_else(PoisonError::into_inner).push(registrar.clone());
        if !matches!(*state.borrow(), ConnectionState::Failed(_)) {
            let supervisor = Supervisor {
                connect: self.connect.clone(),
                settings: Settings::from(&self.options),
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
        wishes: mpsc::UnboundedReceiver<Wish>,
    ) -> Option<Driver> {
        let (book, registrars) = (self.context.book.clone(), self.registrars.clone());
        let link = self.slots().first()?.link.clone();
        let settings = discovery::Settings {
            service: service.clone(),
            root: self.context.base.service(service),
            format: self.context.format.clone(),
            suspicion: self.options.suspicion,
            session_timeout: self.context.session_timeout,
            audit_interval: self.context.audit_interval,
            disk: self
                .options
                .snapshot_dir
                .as_deref()
                .map(|directory| Disk::new(directory, self.context.base.service(service))),
            seed: self.context.seed,
            heard: self.heard.clone(),
            changed: Box::new(move |path| {
                if book.holder(path).is_some() {
                    for registrar in registrars.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        registrar.order(Order::Nudge { path: path.to_owned() });
                    }
                }
            }),
        };
        Some(Driver::new(settings, self.views.clone(), link, channel, wishes))
    }

    /// A registrar whose session has room for `load` more path bytes.
    fn registrar_for(&self, load: usize) -> Registrar {
        let mut slots = self.slots();
        let has_room =
            |slot: &&Slot| slot.registrar.load().load(Ordering::Relaxed) + load <= SESSION_PATH_BYTES;
        let registrar = match slots.iter().find(has_room) {
            Some(slot) => slot.registrar.clone(),
            None => {
                let (state, _) = watch::channel(ConnectionState::Connecting { last: None });
                let slot = self.open_slot(state, Heard::new(Instant::now()));
                let registrar = slot.registrar.clone();
                slots.push(slot);
                info!(sessions = slots.len(), "the session's share of paths is full, opening a further one");
                registrar
            }
        };
        registrar.load().fetch_add(load, Ordering::Relaxed);
        registrar
    }

    /// The first session, once it is connected.
    async fn store(&self) -> Result<Arc<dyn Store>, Error> {
        let mut link = match self.slots().first() {
            Some(slot) => slot.link.clone(),
            None => return Err(closed()),
        };
        loop {
            if let ConnectionState::Failed(error) = &*self.connection.borrow() {
                return Err(error.clone());
            }
            let now = link.borrow_and_update().clone();
            match (now.phase, now.store) {
                (Phase::Up, Some(store)) => return Ok(store),
                (Phase::Closed, _) => return Err(closed()),
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

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
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
        let (snapshots, wanted) = inner.views.subscribe(service, |channel, wishes| {
            if let Some(driver) = inner.driver(service, channel, wishes) {
                inner.background.spawn(driver.run());
            }
        });
        ServiceWatch::new(snapshots, wanted, inner.heard.clone(), inner.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Zxid;

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
