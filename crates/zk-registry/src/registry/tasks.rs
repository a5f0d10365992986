//! The tasks behind a watch: which there are, and how one feeds the next.

use std::sync::{Arc, PoisonError};

use tokio::sync::watch;

use super::directories::{Directories, Root};
use super::inner::Inner;
use super::reader::Reader;
use super::slots::Place;
use crate::discovery::catalog::{CatalogDriver, CatalogSettings};
use crate::discovery::{
    Composer, Driver, Following, Join, Mapped, Mapping, MappingDriver, Merge, Origin, Outlet, ShardedService,
    SnapshotFile, StartShard, ViewSettings,
};
use crate::format::sealed::Sharding;
use crate::format::{Format, shards};
use crate::instance::ServiceName;
use crate::options::Source;
use crate::resolve::Services;

impl Inner {
    /// Starts the task behind a watch of which services a source has.
    pub(super) fn start_catalog(&self, source: &Source, services: watch::Sender<Services>) {
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
    pub(super) fn start(
        self: &Arc<Self>,
        service: &ServiceName,
        sources: &[Directories],
        place: Place,
        outlet: Outlet,
    ) {
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
}
