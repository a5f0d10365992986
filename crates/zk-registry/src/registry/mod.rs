//! The facade: one [`Registry`] per process registers instances and watches services over shared sessions.

mod ask;
pub(crate) mod background;
mod directories;
mod inner;
mod reader;
mod samples;
mod slots;
pub(crate) mod stats;
mod tasks;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::ask::closed;
use self::background::Background;
use self::inner::Inner;
use self::slots::Slots;
use crate::discovery::{self, Outlet, Subscription};
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, ServiceName};
use crate::options::{ConnectString, Options, Source};
use crate::registration::{Context, Prepared, Registering, Registration};
use crate::resolve::{Resolve, ServiceWatch, Services, ServicesWatch};
use crate::session::{ConnectionState, SessionSettings};
use crate::snapshot::Snapshot;
use crate::store::zookeeper::ZooKeeper;
use crate::store::{Connect, Store};
use crate::withdrawn::Withdrawn;

/// Registers instances and watches services.
///
/// Clones share everything. Guards and watches keep it alive; when the last of them and the last clone are gone, the
/// sessions are closed in the background. [`close`](Self::close) is the polite way: it waits for the acknowledgement.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

impl Registry {
    /// Starts connecting in the background and returns at once: it does not wait for ZooKeeper, needs no ambient runtime
    /// and never panics. What cannot work at all is told by [`connected`](Self::connected) and every later call.
    pub fn open(to: ConnectString, options: Options) -> Self {
        let background = match &options.runtime {
            Some(handle) => Background::on_timed(handle.clone()),
            None => Background::own_thread().map_err(|error| {
                Error::with_source(ErrorKind::Unavailable, "the background thread cannot be started", error)
            }),
        };
        let zookeeper = ZooKeeper::new(&to, &options);
        let background = options.validate().and_then(|()| zookeeper.validate()).and(background);
        let chroot_len = to.chroot.as_ref().map_or(0, String::len);
        Self::over(Arc::new(zookeeper), chroot_len, options, background, rand::random())
    }

    /// Whether [`open`](Self::open) could work with these, as far as that is known without connecting: certificates and keys
    /// are looked at, too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`], whose message begins with the option.
    pub fn check(to: &ConnectString, options: &Options) -> Result<(), Error> {
        options.validate().and_then(|()| ZooKeeper::new(to, options).validate())
    }

    /// The same over any store.
    pub(crate) fn over(
        connect: Arc<dyn Connect>,
        chroot_len: usize,
        options: Options,
        background: Result<Background, Error>,
        seed: u64,
    ) -> Self {
        let context = Context::new(&options, chroot_len, seed);
        let (background, failed) = match background {
            Ok(background) => (background, None),
            Err(error) => (Background::nowhere(), Some(error)),
        };
        let settings = SessionSettings::from(&options);
        let cluster = connect.cluster();
        let (slots, connection) = Slots::new(background, connect, context, settings, failed);
        let first = slots.first_state();
        let (views, drivers) = (Arc::default(), TaskTracker::new());
        Self(Arc::new(Inner { options, cluster, slots, views, drivers, first, connection }))
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
        let mut first = self.0.first.clone();
        loop {
            match &*first.borrow_and_update() {
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
            first.changed().await.map_err(|_| closed())?;
        }
    }

    /// The state of the connection, now and from now on: the worst one where there are several sessions. It carries the cause
    /// of the last failure, such as a server that takes no further connections of ours.
    pub fn connection(&self) -> watch::Receiver<ConnectionState> {
        self.0.connection.clone()
    }

    /// How many sessions there are: one, and a further one for each 512 KiB of registered or 96 KiB of watched paths.
    ///
    /// A registration counts with the length of its node's path, chroot included, plus 4; a watched service with that of
    /// the service's path: n services whose paths are 30 bytes long need n / 2,891 sessions, rounded up. Each session is one
    /// connection, of which a server takes 60 from one address by default (`maxClientCnxns`). Sessions connect one after the
    /// other; none is closed before the registry is. One that a server refuses is named by [`connection`](Self::connection),
    /// with its number and the cause, and tried on; its views are [`Pending`](crate::Freshness::Pending) until then, and
    /// those of the other sessions as live as ever.
    pub fn sessions(&self) -> usize {
        self.0.slots.count()
    }

    /// Registers an instance and keeps it registered until the guard is withdrawn or dropped.
    ///
    /// What cannot be registered at all is told by [`Registration::registered`].
    pub fn register(&self, service: &ServiceName, instance: Instance) -> Registration {
        self.register_with(service, instance, Registering::default())
    }

    /// Registers an instance, saying how.
    pub fn register_with(&self, service: &ServiceName, instance: Instance, how: Registering) -> Registration {
        let slots = &self.0.slots;
        let hopeless = match &*self.0.first.borrow() {
            ConnectionState::Failed(error) => Some(error.clone()),
            _ => None,
        };
        let prepared = Prepared::new(&slots.context, service, instance, how, hopeless);
        let registrar = slots.registrar_for(prepared.load());
        let (registration, tandem) = prepared.register(registrar, self.0.clone());
        slots.context.census.enter(registration.states());
        if let Some(tandem) = tandem {
            slots.background.spawn(tandem.run());
        }
        registration
    }

    /// What every registration and view of this registry goes by.
    pub(crate) fn context(&self) -> &Context {
        &self.0.slots.context
    }

    /// Runs a task on the background side, where there is a clock.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.slots.background.spawn(task);
    }

    /// Asks ZooKeeper over the first session, for at most one session timeout.
    pub(crate) async fn ask<T: Send + 'static, F>(
        &self,
        what: &'static str,
        request: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        self.0.ask(what, request).await
    }

    /// The services that have at least one instance, by walking the tree below the base path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout, or the connection is lost
    /// meanwhile; [`ErrorKind::SessionLost`] when the session ends meanwhile: asking again helps with both. Also
    /// [`ErrorKind::NoAuth`], [`ErrorKind::AuthFailed`], [`ErrorKind::Closed`] and what [`connected`](Self::connected) says.
    pub async fn services(&self) -> Result<Vec<ServiceName>, Error> {
        let context = self.0.slots.context.clone();
        let limits = self.0.options.record_limits;
        let walk = move |store: Arc<dyn Store>| async move {
            let mut services = BTreeSet::new();
            for Source { base, format, .. } in context.sources.iter() {
                let directories = discovery::services::walk(&*store, base, &**format, limits).await?;
                services.extend(discovery::services::of_directories(directories.keys(), &**format));
            }
            Ok(services.into_iter().collect())
        };
        self.0.ask("listing the services", walk).await
    }

    /// Watches which services have at least one instance. Each call begins a view of its own; clones of the watch share it.
    ///
    /// The view hears of every change below the base path, about a hundred bytes each, and reads something only when a
    /// service may have come or gone: at most 0.1 s later, or as soon as ZooKeeper answers. After a reconnect, and now and then,
    /// it reads the whole tree, as [`services`](Self::services) does.
    pub fn watch_services(&self) -> ServicesWatch {
        let inner = &self.0;
        let (sender, receiver) = watch::channel(Services::pending());
        match &*inner.slots.context.sources {
            [only] => inner.start_catalog(only, sender),
            sources => {
                let parts = sources.iter().map(|source| {
                    let (sender, part) = watch::channel(Services::pending());
                    inner.start_catalog(source, sender);
                    part
                });
                inner.slots.background.spawn(discovery::union::run(parts.collect(), sender));
            }
        }
        ServicesWatch::new(receiver, inner.clone())
    }

    /// Reads a service once, for scripts: everything that ZooKeeper acknowledged to any client before the call is in it. A
    /// program that asks again and again should [`watch`](Resolve::watch).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when ZooKeeper does not answer within the session timeout, or the connection is lost
    /// meanwhile; [`ErrorKind::SessionLost`] when the session ends meanwhile: asking again helps with both. Also
    /// [`ErrorKind::NoAuth`], [`ErrorKind::AuthFailed`], [`ErrorKind::Closed`] and what [`connected`](Self::connected) says.
    pub async fn lookup(&self, service: &ServiceName) -> Result<Snapshot, Error> {
        let (context, service) = (self.0.slots.context.clone(), service.clone());
        let limits = self.0.options.record_limits;
        let read = move |store: Arc<dyn Store>| async move {
            discovery::lookup::read(&*store, &service, &context.sources, limits).await
        };
        self.0.ask("reading the service", read).await
    }

    /// Withdraws everything, closes the sessions and waits, at most `within`, for the acknowledgement and until what is
    /// known of the watched services is in their snapshot files. Closing begins with the call, before the first poll.
    ///
    /// The answer is [`Withdrawn::Confirmed`] only when no node of an earlier session may stand either. Such a session counts
    /// as gone once ZooKeeper said that it expired, or after a connection that lasted for two session timeouts.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes all the same, unacknowledged.
    pub fn close(self, within: Duration) -> impl Future<Output = Withdrawn> + Send + 'static {
        let goodbyes = self.0.slots.close(within);
        // Subscriptions end with their session's link, so this asks for nothing; a file that comes too late is the older one.
        self.0.drivers.close();
        let drivers = self.0.drivers.clone();
        let last_words = goodbyes.last_words();
        let answer = self.0.slots.background.run(async move {
            let (outcome, _) = join(goodbyes.finish(within), timeout(within, drivers.wait())).await;
            outcome
        });
        async move { answer.await.unwrap_or_else(|| last_words.outcome()) }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("base", &self.0.slots.context.base)
            .field("connection", &*self.0.connection.borrow())
            .finish_non_exhaustive()
    }
}

impl Resolve for Registry {
    /// A live view of the service; watches of one service share it, and views share sessions (see
    /// [`sessions`](Registry::sessions)).
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        let inner = &self.0;
        let (sources, impossible) = match directories::of(service, &inner.slots.context.sources) {
            Ok(sources) => (sources, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let Subscription { snapshots, wanted, last_heard, first } = inner.views.subscribe(service, || {
            // They share a session: what is counted is the length of all paths.
            let roots = sources.iter().flat_map(|one| one.roots.iter().map(|root| root.path.as_str()));
            let mappings = sources.iter().filter_map(|one| one.source.format.mapping(service));
            let paths: String = roots.map(str::to_owned).chain(mappings).collect();
            let place = inner.slots.place_for(&paths);
            (place.last_heard.clone(), place)
        });
        match (first, impossible) {
            (Some((_, channel, _)), Some(error)) => {
                channel.snapshots.send_replace(Snapshot::pending(service).with_cause(error));
                inner.views.forget(service, &channel.snapshots);
            }
            (Some((place, channel, waiters)), None) => {
                let outlet = Outlet { channel, waiters, subscriptions: inner.views.clone() };
                inner.start(service, &sources, place, outlet);
            }
            (None, _) => {}
        }
        ServiceWatch::new(snapshots, wanted, last_heard, inner.clone())
    }
}

#[cfg(test)]
mod tests;
