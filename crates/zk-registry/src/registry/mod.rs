//! The facade: one [`Registry`] per process registers instances and watches services over shared sessions.

pub(crate) mod background;
mod directories;
mod reader;
mod samples;
mod slots;
pub(crate) mod stats;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::background::Background;
use self::directories::{Directories, Root};
use self::reader::Reader;
use self::slots::{Place, Slots};
use crate::discovery::catalog::{CatalogDriver, CatalogSettings};
use crate::discovery::{
    self, Composer, Driver, Following, Join, Mapped, Mapping, MappingDriver, Merge, Origin, Outlet,
    ShardedService, SnapshotFile, StartShard, Subscription, Subscriptions, ViewSettings,
};
use crate::error::{Error, ErrorKind};
use crate::format::sealed::Sharding;
use crate::format::{Format, shards};
use crate::instance::{Instance, ServiceName};
use crate::options::{ConnectString, Options, Source};
use crate::registration::{Context, Prepared, Registering, Registration};
use crate::resolve::{Resolve, ServiceWatch, Services, ServicesWatch};
use crate::session::{ConnectionState, Link, Phase, SessionSettings};
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

struct Inner {
    options: Options,
    /// Which ZooKeeper it is, for the snapshot files.
    cluster: String,
    slots: Slots,
    views: Arc<Subscriptions>,
    /// The tasks behind the views: the last thing that they do is to write their snapshot files.
    drivers: TaskTracker,
    /// The state of the first session.
    first: watch::Receiver<ConnectionState>,
    /// The worst state of all sessions.
    connection: watch::Receiver<ConnectionState>,
}

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

impl Inner {
    /// Starts the task behind a watch of which services a source has.
    fn start_catalog(&self, source: &Source, services: watch::Sender<Services>) {
        let context = &self.slots.context;
        let place = self.slots.place_for(&source.base.to_string());
        let settings = CatalogSettings {
            base: source.base.clone(),
            format: source.format.clone(),
            limits: self.options.record_limits,
            audit_interval: context.audit_interval,
            seed: context.seed,
            last_heard: place.last_heard.clone(),
        };
        let driver = CatalogDriver::new(settings, place.link.clone(), services);
        self.slots.background.spawn(async move {
            driver.run().await;
            drop(place);
        });
    }

    /// Starts the tasks behind the watches of a service, each of which keeps the place.
    fn start(self: &Arc<Self>, service: &ServiceName, sources: &[Directories], place: Place, outlet: Outlet) {
        let place = Arc::new(place);
        if let [only] = sources {
            return self.start_source(service, only, &place, outlet);
        }
        let join = Join::new(service, sources.iter().map(|one| one.source.format.weight_unit()));
        let mut composer = Composer::new(service, join, outlet);
        for source in sources {
            let part = composer.part(place.last_heard.clone());
            self.start_source(service, source, &place, part);
        }
        self.spawn(&place, composer.run());
    }

    /// Starts the tasks behind what one source says of a service.
    fn start_source(
        self: &Arc<Self>,
        service: &ServiceName,
        of: &Directories,
        place: &Arc<Place>,
        outlet: Outlet,
    ) {
        match of.source.format.mapping(service) {
            Some(path) => self.start_mapped(service, &of.source, path, place, outlet),
            None => self.start_directories(service, of, place, outlet),
        }
    }

    /// Starts the tasks behind a service whose node at `path` says where it stands.
    fn start_mapped(
        self: &Arc<Self>,
        service: &ServiceName,
        source: &Source,
        path: String,
        place: &Arc<Place>,
        outlet: Outlet,
    ) {
        let (sender, mapping) = watch::channel(Mapping::Unknown);
        let context = &self.slots.context;
        let driver = MappingDriver {
            path,
            link: place.link.clone(),
            audit_interval: context.audit_interval,
            seed: context.seed,
            mapping: sender,
        };
        self.spawn(place, driver.run());
        // The views end with their watch, which keeps the registry alive.
        let (inner, held) = (Arc::downgrade(self), place.clone());
        let (name, source_of_views) = (service.clone(), source.clone());
        let start = move |names: &[ServiceName], outlet: Outlet| {
            let Some(inner) = inner.upgrade() else { return false };
            inner.start_names(&name, names, &source_of_views, &held, outlet);
            true
        };
        let (format, unmapped) = (source.format.clone(), service.clone());
        let names = move |data: &[u8]| match format.mapped(data) {
            names if names.is_empty() => vec![unmapped.clone()],
            names => names,
        };
        let mapped = Mapped { service: service.clone(), outlet, mapping, names, start };
        self.spawn(place, mapped.run());
    }

    /// Starts the tasks behind a service that stands under these names.
    fn start_names(
        &self,
        service: &ServiceName,
        names: &[ServiceName],
        source: &Source,
        place: &Arc<Place>,
        outlet: Outlet,
    ) {
        let root = |name: &ServiceName| Root { path: source.base.service(name), file: None };
        let roots: Vec<Root> = names.iter().map(root).collect();
        let join = Join::new(service, roots.iter().map(|_| source.format.weight_unit()));
        let mut composer = Composer::new(service, join, outlet);
        for root in &roots {
            let part = composer.part(place.last_heard.clone());
            let settings = self.view_settings(service, &source.format, (0, root), &part);
            self.spawn(place, Driver::new(settings, place.link.clone(), part).run());
        }
        self.spawn(place, composer.run());
    }

    /// Starts the tasks behind the directories of a service in one source.
    fn start_directories(
        self: &Arc<Self>,
        service: &ServiceName,
        of: &Directories,
        place: &Arc<Place>,
        outlet: Outlet,
    ) {
        let format = &of.source.format;
        if let ([root], false) = (&*of.roots, format.is_composed()) {
            let mut settings = self.view_settings(service, format, (0, root), &outlet);
            settings.following =
                (format.sharding() != Sharding::Never).then(|| self.following(service, &of.source));
            return self.spawn(place, Driver::new(settings, place.link.clone(), outlet).run());
        }
        let merge = Merge::new(service, format.clone(), of.roots.len());
        let mut composer = Composer::new(service, merge, outlet);
        for root in of.roots.iter().enumerate() {
            let part = composer.part(place.last_heard.clone());
            let settings = self.view_settings(service, format, root, &part);
            self.spawn(place, Driver::new(settings, place.link.clone(), part).run());
        }
        let Some(reader) = Reader::of(&of.source, service, &self.slots, place.link.clone()) else {
            return self.spawn(place, composer.run());
        };
        self.spawn(place, async move {
            tokio::select! {
                () = composer.run() => {}
                never = reader.run() => match never {},
            }
        });
    }

    fn spawn(&self, place: &Arc<Place>, task: impl Future<Output = ()> + Send + 'static) {
        let place = place.clone();
        self.slots.background.spawn(self.drivers.track_future(async move {
            task.await;
            drop(place);
        }));
    }

    /// How the shards of a service are read, once its own node says that there are some.
    fn following(self: &Arc<Self>, service: &ServiceName, source: &Source) -> Following {
        // A watch keeps the registry; its views must not.
        let (inner, service, source) = (Arc::downgrade(self), service.clone(), source.clone());
        Following::Alone(Box::new(move |handover| {
            let registry = inner.clone();
            let start: StartShard = Box::new(move |number, channel| {
                let directory = shards::directory(&service, number);
                let (Some(inner), Ok(directory)) = (registry.upgrade(), directory) else { return };
                let path = source.base.service(&directory);
                let place = Arc::new(inner.slots.place_for(&path));
                let shards = channel.shards;
                let (root, outlet) = (Root { file: None, path }, channel.outlet(place.last_heard.clone()));
                let at = (usize::from(number) + 1, &root);
                let mut settings = inner.view_settings(&service, &source.format, at, &outlet);
                // The service has one file, whatever it stands in.
                settings.alike = shards;
                inner.spawn(&place, Driver::new(settings, place.link.clone(), outlet).run());
            });
            let (service, part) = ShardedService::new(handover, start);
            if let Some(inner) = inner.upgrade() {
                inner.slots.background.spawn(inner.drivers.track_future(service.run()));
            }
            part
        }))
    }

    /// What the view of one of a service's directories goes by.
    fn view_settings(
        &self,
        service: &ServiceName,
        format: &Arc<dyn Format>,
        (number, root): (usize, &Root),
        outlet: &Outlet,
    ) -> ViewSettings {
        let context = &self.slots.context;
        let (holders, registrars) = (context.holders.clone(), self.slots.registrars.clone());
        ViewSettings {
            service: service.clone(),
            directory: number,
            root: root.path.clone(),
            format: format.clone(),
            suspicion: self.options.suspicion,
            record_limits: self.options.record_limits,
            session_timeout: context.session_timeout,
            audit_interval: context.audit_interval,
            file: self.options.snapshot_dir.as_deref().zip(root.file.clone()).map(|(directory, root)| {
                let origin = Origin { cluster: self.cluster.clone(), root };
                SnapshotFile::new(directory, origin)
            }),
            seed: context.seed,
            last_heard: outlet.channel.last_heard.clone(),
            counters: outlet.channel.counters.clone(),
            changed: Box::new(move |path| {
                if holders.holder(path).is_some() {
                    for registrar in registrars.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                        registrar.nudge(path);
                    }
                }
            }),
            alike: 1,
            following: None,
        }
    }

    /// Asks ZooKeeper over the first session, for at most one session timeout. The background side keeps the time, so that
    /// the caller needs no runtime.
    async fn ask<T: Send + 'static, F>(
        &self,
        what: &'static str,
        request: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let within = self.slots.context.session_timeout;
        let link = self.slots.first_link();
        let asking = async move { request(connected(link).await?).await };
        // A deadline is made where it is kept: it needs a clock.
        let asking = async move { timeout(within, asking).await };
        match self.slots.background.run(asking).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(unanswered(&self.first.borrow(), what, within)),
            None => match &*self.first.borrow() {
                ConnectionState::Failed(error) => Err(error.clone()),
                _ => Err(closed()),
            },
        }
    }
}

/// The session behind a link, once it is connected.
async fn connected(mut link: watch::Receiver<Link>) -> Result<Arc<dyn Store>, Error> {
    loop {
        let now = link.borrow_and_update().clone();
        match (now.phase, now.store, now.refused) {
            (Phase::Up, Some(store), _) => return Ok(store),
            (Phase::Closed, ..) => return Err(now.failed.unwrap_or_else(closed)),
            (.., Some(refused)) => return Err(refused),
            _ => link.changed().await.map_err(|_| closed())?,
        }
    }
}

/// The error of a request that took too long; it carries why there is no connection, if there is none.
fn unanswered(state: &ConnectionState, what: &str, within: Duration) -> Error {
    match state {
        ConnectionState::Connecting { last: Some(cause) } => Error::with_source(
            ErrorKind::Unavailable,
            format!("{what}: ZooKeeper was not reached within {within:?}: {cause}"),
            cause.clone(),
        ),
        _ => {
            let message = format!("{what}: ZooKeeper did not answer within {within:?}");
            Error::new(ErrorKind::Unavailable, message)
        }
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

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registry was closed")
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
mod tests {
    use super::*;
    use crate::snapshot::{Freshness, Zxid};

    #[test]
    fn what_can_be_known_to_fail_without_a_server_is_told_at_once() {
        let registry = Registry::open("tls://zk.example:2281".parse().unwrap(), Options::default());
        let ConnectionState::Failed(error) = &*registry.0.connection.borrow() else {
            panic!("{registry:?}");
        };
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().starts_with("tls"), "{error}");
    }

    #[test]
    fn futures_need_no_runtime_of_the_callers() {
        let options = Options::default().with_session_timeout(Duration::from_secs(1));
        let registry = Registry::open("127.0.0.1:1".parse().unwrap(), options);
        let service = "time".parse().unwrap();
        futures_executor(async {
            assert_eq!(registry.lookup(&service).await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert_eq!(registry.services().await.unwrap_err().kind(), ErrorKind::Unavailable);
            assert_eq!(registry.close(Duration::from_secs(1)).await, Withdrawn::Confirmed);
        });
    }

    /// Another executor than tokio's.
    fn futures_executor(task: impl Future<Output = ()>) {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(std::thread::current())).into();
        let mut task = std::pin::pin!(task);
        while task.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending() {
            std::thread::park();
        }
    }

    #[test]
    fn a_runtime_without_timers_is_refused_by_name() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let options = Options::default().with_runtime(runtime.handle().clone());
        let registry = Registry::open("127.0.0.1:1".parse().unwrap(), options);
        let ConnectionState::Failed(error) = registry.connection().borrow().clone() else {
            panic!("{registry:?}");
        };
        assert!(error.to_string().contains("enable_time"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_that_is_never_polled_closes() {
        let registry = crate::testing::registry();
        let mut connection = registry.connection();
        registry.connected().await.unwrap();
        drop((*registry).clone().close(Duration::from_secs(1)));
        connection.wait_for(|state| *state == ConnectionState::Closed).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn many_watched_paths_are_spread_over_sessions_that_make_room_again() {
        let registry = crate::testing::registry();
        let name = |n: usize| format!("{}-{n:04}", "s".repeat(60)).parse::<ServiceName>().unwrap();
        let mut watches: Vec<_> = (0..2_000).map(|n| registry.watch(&name(n))).collect();
        // Each path has 10 + 65 bytes and counts 4 more; 98,304 / 79 = 1,244 fit.
        assert_eq!(registry.sessions(), 2);
        for watch in &mut watches {
            watch.live().await.unwrap();
        }
        assert!(matches!(*registry.connection().borrow(), ConnectionState::Connected { .. }));
        let again = registry.watch(&name(1_999));
        drop(watches);
        drop(again);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let watches: Vec<_> = (2_000..4_000).map(|n| registry.watch(&name(n))).collect();
        assert_eq!((watches.len(), registry.sessions()), (2_000, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_found_at_any_depth_in_two_round_trips_a_level() {
        let registry = crate::testing::registry();
        let deep: ServiceName = "a/b/c/d/e/f/g/h/i/j/k".parse().unwrap();
        registry.register(&deep, Instance::new("h", 1)).registered().await.unwrap();
        for n in 0..1_000 {
            registry.put(&format!("/services/wide-{n}/child"), b"");
        }
        let mut registration = registry.register(&deep, Instance::new("h", 2));
        registration.registered().await.unwrap();
        registry.delay(Duration::from_millis(25));
        let began = tokio::time::Instant::now();
        assert!(registry.services().await.unwrap().contains(&deep));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_watch_of_services_follows_what_comes_and_goes_over_reconnects_and_reads_little() {
        let registry = crate::testing::registry();
        let service = |name: &str| name.parse::<ServiceName>().unwrap();
        let mut watch = registry.watch_services();
        assert!(watch.live().await.unwrap().names().is_empty());
        let until = async |watch: &mut ServicesWatch, names: &[&str]| {
            let all = async {
                while watch.current().names().iter().map(ServiceName::as_str).ne(names.iter().copied()) {
                    watch.changed().await.unwrap();
                }
            };
            timeout(Duration::from_secs(30), all).await.expect("it is seen in time");
        };
        let mut first = registry.register(&service("a"), Instance::new("h", 1));
        first.registered().await.unwrap();
        until(&mut watch, &["a"]).await;
        let mut deep = registry.register(&service("a/b/c"), Instance::new("h", 1));
        deep.registered().await.unwrap();
        until(&mut watch, &["a", "a/b/c"]).await;
        let mut second = registry.register(&service("a"), Instance::new("h", 2));
        second.registered().await.unwrap();
        first.withdraw(Duration::from_secs(1)).await;
        registry.expire_session();
        until(&mut watch, &["a", "a/b/c"]).await;
        watch.live().await.unwrap();
        second.withdraw(Duration::from_secs(5)).await;
        until(&mut watch, &["a/b/c"]).await;
        let (last, clone) = (watch.clone().live().await.unwrap().clone(), registry.clone());
        assert!(last.contains(&service("a/b/c")) && !last.contains(&service("a")));
        (*clone).clone().close(Duration::from_secs(1)).await;
        while watch.changed().await.is_ok() {}
        assert!(matches!(watch.current().freshness(), Freshness::Stale { .. }));
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
        send_sync::<(Services, ServicesWatch)>();
    }
}
