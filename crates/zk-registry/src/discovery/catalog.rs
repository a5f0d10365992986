//! Which services exist, kept up to date by one recursive watch of the whole tree.
//!
//! Each service has a witness, one node that is an instance. While it stands, nothing else that happens to the service makes
//! a difference, so that a busy fleet costs its events and no read. Only when the witness changes is it read, and only
//! when it went is the service listed for another one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::OptionFuture;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::epoch::{Over, lost_epoch};
use super::pace::Pace;
use super::services;
use crate::backoff::jittered;
use crate::error::Error;
use crate::format::Format;
use crate::instance::{BasePath, ServiceName};
use crate::options::RecordLimits;
use crate::resolve::Services;
use crate::session::last_heard::LastHeard;
use crate::session::{Link, Phase};
use crate::snapshot::Freshness;
use crate::store::{Event, Fault, Store, Watch};

/// The least time between two rounds of reads: a fleet that restarts would else have each service read many times.
const EVERY: Duration = Duration::from_millis(100);
/// Every so many audits of a view the whole tree is read again.
const FULL_AUDIT: u32 = super::driver::FULL_AUDIT;

/// The directories of services and their witnesses: for each, the name of a node that is an instance.
#[derive(Debug, Default)]
struct Catalog {
    witnesses: BTreeMap<ServiceName, String>,
    /// Services to judge again.
    dirty: BTreeSet<ServiceName>,
}

impl Catalog {
    /// Something happened to the node `name` of a service.
    fn hear(&mut self, service: ServiceName, name: &str) {
        if self.witnesses.get(&service).is_none_or(|witness| witness == name) {
            self.dirty.insert(service);
        }
    }

    /// A service was judged again. Whether it came or went.
    fn judged(&mut self, service: ServiceName, witness: Option<String>) -> bool {
        match witness {
            Some(witness) => self.witnesses.insert(service, witness).is_none(),
            None => self.witnesses.remove(&service).is_some(),
        }
    }
}

/// The parts of a registry that the catalog needs.
pub(crate) struct CatalogSettings {
    pub(crate) base: BasePath,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) limits: RecordLimits,
    pub(crate) audit_interval: Duration,
    pub(crate) seed: u64,
    pub(crate) last_heard: LastHeard,
}

/// The task behind a watch of the services. `run` it once.
pub(crate) struct CatalogDriver {
    settings: CatalogSettings,
    link: watch::Receiver<Link>,
    services: watch::Sender<Services>,
    catalog: Catalog,
    rng: SmallRng,
}

/// What became of the connection while something was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Heard {
    /// Another connection: the watch has to be armed again, and everything read.
    Connected,
    /// None.
    Disconnected,
}

impl CatalogDriver {
    pub(crate) fn new(
        settings: CatalogSettings,
        link: watch::Receiver<Link>,
        services: watch::Sender<Services>,
    ) -> Self {
        let rng = SmallRng::seed_from_u64(settings.seed);
        Self { settings, link, services, catalog: Catalog::default(), rng }
    }

    /// Keeps the services true until the registry is closed or the last watch is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let over = match self.next_session().await {
                Ok((store, number)) => self.session(&store, number).await,
                Err(over) => over,
            };
            self.lost();
            if matches!(over, Over::View) {
                return;
            }
        }
    }

    /// Waits for a session that is connected.
    async fn next_session(&mut self) -> Result<(Arc<dyn Store>, u64), Over> {
        loop {
            let link = self.link.borrow_and_update().clone();
            match (link.phase, link.store, link.refused) {
                (Phase::Closed, ..) => return Err(Over::View),
                (Phase::Up, Some(store), _) => return Ok((store, link.epoch)),
                (.., Some(refused)) => self.hindered(refused),
                _ => {}
            }
            tokio::select! {
                changed = self.link.changed() => changed.map_err(|_| Over::View)?,
                () = self.services.closed() => return Err(Over::View),
            }
        }
    }

    /// One session, to its end.
    async fn session(&mut self, store: &Arc<dyn Store>, number: u64) -> Over {
        let mut pace = Pace::new();
        let root = self.settings.base.to_string();
        loop {
            match self.within(number, store.watch(&root)).await {
                Ok(Ok(mut watch)) => match self.follow(store, number, &mut *watch, &mut pace).await {
                    Ok(never) => match never {},
                    Err(over) => return over,
                },
                Ok(Err(fault)) => {
                    debug!(root, ?fault, "arming the watch failed, trying again");
                    if let Err(over) = self.pause(number, &mut pace).await {
                        return over;
                    }
                }
                Err(over) => return over,
            }
        }
    }

    /// Reads everything, and then what events tell of; after a reconnect, everything again.
    async fn follow(
        &mut self,
        store: &Arc<dyn Store>,
        number: u64,
        watch: &mut dyn Watch,
        pace: &mut Pace,
    ) -> Result<std::convert::Infallible, Over> {
        let mut is_armed = true;
        loop {
            let was_armed = std::mem::replace(&mut is_armed, false);
            match self.read_all(store, number, watch, was_armed).await? {
                Ok(()) => {
                    pace.succeeded();
                    self.keep(store, number, watch).await?;
                }
                Err(error) => {
                    debug!(%error, "reading which services exist failed, trying again");
                    self.hindered(error);
                    self.pause(number, pace).await?;
                }
            }
        }
    }

    /// Arms the watch if need be, and reads the whole tree.
    async fn read_all(
        &mut self,
        store: &Arc<dyn Store>,
        number: u64,
        watch: &mut dyn Watch,
        is_armed: bool,
    ) -> Result<Result<(), Error>, Over> {
        let root = self.settings.base.to_string();
        if !is_armed && let Err(fault) = self.within(number, store.rearm(&root)).await? {
            return Ok(Err(fault.while_reading(&root)));
        }
        let (base, format, limits) =
            (self.settings.base.clone(), self.settings.format.clone(), self.settings.limits);
        let walked = self.within(number, services::walk(&**store, &base, &*format, limits)).await?;
        let witnesses = match walked {
            Ok(witnesses) => witnesses,
            Err(error) => return Ok(Err(error)),
        };
        self.catalog = Catalog { witnesses, dirty: BTreeSet::new() };
        let mut heard = None;
        while let Some(event) = watch.try_next() {
            heard = self.hear(Some(event))?.or(heard);
        }
        if heard.is_some() {
            let message = "the connection changed meanwhile".to_owned();
            return Ok(Err(Fault::Ambiguous(message).while_reading(&root)));
        }
        self.publish(Freshness::Live, None);
        Ok(Ok(()))
    }

    /// Follows the events until everything has to be read again.
    async fn keep(&mut self, store: &Arc<dyn Store>, number: u64, watch: &mut dyn Watch) -> Result<(), Over> {
        let audit = self.settings.audit_interval * FULL_AUDIT;
        let audit_at = Instant::now() + jittered(audit, &mut self.rng);
        let mut read_at = Instant::now();
        loop {
            let read = OptionFuture::from((!self.catalog.dirty.is_empty()).then(|| sleep_until(read_at)));
            tokio::select! {
                biased;
                event = watch.next() => match self.hear(event)? {
                    Some(Heard::Connected) => return Ok(()),
                    Some(Heard::Disconnected) => self.lost(),
                    None => {}
                },
                over = lost_epoch(&mut self.link, number) => return Err(over),
                () = self.services.closed() => return Err(Over::View),
                Some(()) = read => {
                    if !self.judge_again(store, number).await? {
                        return Ok(());
                    }
                    read_at = Instant::now() + EVERY;
                }
                () = sleep_until(audit_at) => return Ok(()),
            }
        }
    }

    /// Judges the services again that events told of. `false` when that failed: everything has to be read.
    async fn judge_again(&mut self, store: &Arc<dyn Store>, number: u64) -> Result<bool, Over> {
        let mut news = false;
        for service in std::mem::take(&mut self.catalog.dirty) {
            let root = self.settings.base.service(&service);
            let witness = self.catalog.witnesses.get(&service).cloned();
            let (format, limits) = (self.settings.format.clone(), self.settings.limits);
            let found = services::witness(&**store, &root, &service, &*format, limits, witness);
            match self.within(number, found).await? {
                Ok(witness) => news |= self.catalog.judged(service, witness),
                Err(error) => {
                    debug!(root, %error, "looking for an instance failed, reading everything");
                    return Ok(false);
                }
            }
        }
        if news {
            let freshness = self.services.borrow().freshness;
            self.publish(freshness, None);
        }
        Ok(true)
    }

    /// Takes up an event; `None`: it is no news of the connection.
    fn hear(&mut self, event: Option<Event>) -> Result<Option<Heard>, Over> {
        match event.unwrap_or(Event::Over) {
            Event::Node(path) => {
                if let Some((service, name)) = self.settings.base.split(&path) {
                    self.catalog.hear(service, name);
                }
                Ok(None)
            }
            Event::Connected => Ok(Some(Heard::Connected)),
            Event::Disconnected => Ok(Some(Heard::Disconnected)),
            Event::Over => Err(Over::Epoch),
        }
    }

    /// Awaits an answer as long as the session lives and a watch wants it.
    async fn within<T>(&mut self, number: u64, answer: impl Future<Output = T>) -> Result<T, Over> {
        tokio::select! {
            biased;
            over = lost_epoch(&mut self.link, number) => Err(over),
            () = self.services.closed() => Err(Over::View),
            answer = answer => Ok(answer),
        }
    }

    async fn pause(&mut self, number: u64, pace: &mut Pace) -> Result<(), Over> {
        pace.failed(&mut self.rng);
        let until = pace.until(Instant::now()).unwrap_or_else(Instant::now);
        self.within(number, sleep_until(until)).await
    }

    /// The server is not heard any more.
    fn lost(&mut self) {
        if self.services.borrow().freshness == Freshness::Live {
            let since = self.settings.last_heard.until(None).unwrap_or_else(Instant::now);
            self.publish(Freshness::Stale { since }, None);
        }
    }

    /// The tree cannot be read, for this reason.
    fn hindered(&mut self, cause: Error) {
        self.lost();
        let (freshness, is_known) = {
            let now = self.services.borrow();
            (now.freshness, now.cause.as_ref() == Some(&cause))
        };
        if !is_known {
            warn!(%cause, "which services exist cannot be read, trying on");
            self.publish(freshness, Some(cause));
        }
    }

    fn publish(&self, freshness: Freshness, cause: Option<Error>) {
        let directories = self.catalog.witnesses.keys();
        let names: Vec<_> =
            services::of_directories(directories, &*self.settings.format).into_iter().collect();
        self.services.send_if_modified(|now| {
            let news = now.freshness != freshness || now.cause != cause || *now.names != names[..];
            if news {
                *now = Services { names: names.into(), freshness, cause };
            }
            news
        });
    }
}

impl Drop for CatalogDriver {
    /// A registry that failed says why.
    fn drop(&mut self) {
        let failed = self.link.borrow().failed.clone();
        if let Some(cause) = failed {
            let freshness = self.services.borrow().freshness;
            self.publish(freshness, Some(cause));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_its_witness_stands_nothing_else_makes_a_service_dirty() {
        let service = || "time".parse::<ServiceName>().unwrap();
        let mut catalog = Catalog::default();
        catalog.hear(service(), "a");
        assert_eq!(std::mem::take(&mut catalog.dirty).len(), 1);
        assert!(catalog.judged(service(), Some("a".to_owned())));
        catalog.hear(service(), "b");
        assert!(catalog.dirty.is_empty());
        catalog.hear(service(), "a");
        assert_eq!(std::mem::take(&mut catalog.dirty).len(), 1);
        assert!(!catalog.judged(service(), Some("b".to_owned())), "it neither came nor went");
        assert!(catalog.judged(service(), None));
    }
}
