//! The node that maps a service to the names under which it stands, as Dubbo 3 maps an interface to applications: it is read, and read
//! again when it changes.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::epoch::{Over, lost_epoch};
use super::pace::Pace;
use crate::backoff::jittered;
use crate::error::Error;
use crate::session::{Link, Phase};
use crate::store::{Event, Fault, Store, Watch};

/// The state of a service's mapping node, as the last read showed it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mapping {
    /// It was not read yet.
    Unknown,
    /// It could not be read yet, for this reason.
    Hindered(Error),
    /// It has these data; none, if there is no such node.
    Known(Vec<u8>),
}

/// The task that follows a mapping node. `run` it once.
pub(crate) struct MappingDriver {
    /// The path of the node.
    pub(crate) path: String,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) audit_interval: Duration,
    pub(crate) seed: u64,
    /// The channel on which the task publishes the state of the node.
    pub(crate) mapping: watch::Sender<Mapping>,
}

impl MappingDriver {
    /// Publishes what the node says until the registry is closed or no receiver is left. An outage changes nothing of it.
    pub(crate) async fn run(mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut pace = Pace::new();
        while let Some((store, number)) = self.next_session().await {
            match self.session(&*store, number, &mut pace, &mut rng).await {
                Over::Epoch => {}
                Over::View => return,
            }
        }
    }

    /// Waits for a session that is connected, and returns it with its number; `None`: the registry is closed, or no receiver is left.
    async fn next_session(&mut self) -> Option<(Arc<dyn Store>, u64)> {
        loop {
            let link = self.link.borrow_and_update().clone();
            match (link.phase, link.store) {
                (Phase::Closed, _) => return None,
                (Phase::Up, Some(store)) => return Some((store, link.epoch)),
                _ => {}
            }
            tokio::select! {
                changed = self.link.changed() => changed.ok()?,
                () = self.mapping.closed() => return None,
            }
        }
    }

    /// Follows the node in one session, and returns why that ended.
    async fn session(&mut self, store: &dyn Store, number: u64, pace: &mut Pace, rng: &mut SmallRng) -> Over {
        let mut armed: Option<Box<dyn Watch>> = None;
        loop {
            let fault = match self.read(store, number, &mut armed).await {
                Ok(Ok(())) => {
                    pace.succeeded();
                    let audit_at = Instant::now() + jittered(self.audit_interval, rng);
                    match self.heard(number, armed.as_deref_mut(), audit_at).await {
                        Ok(()) => continue,
                        Err(over) => return over,
                    }
                }
                Ok(Err(fault)) => fault,
                Err(over) => return over,
            };
            debug!(path = self.path, ?fault, "reading where a service stands failed, trying again");
            self.hindered(fault);
            pace.failed(rng);
            let until = pace.until(Instant::now()).unwrap_or_else(Instant::now);
            if let Err(over) = self.within(number, sleep_until(until)).await {
                return over;
            }
        }
    }

    /// Arms the watch, also one that a reconnect may have disarmed, and reads the node.
    async fn read(
        &mut self,
        store: &dyn Store,
        number: u64,
        armed: &mut Option<Box<dyn Watch>>,
    ) -> Result<Result<(), Fault>, Over> {
        let arming = match armed {
            Some(_) => self.within(number, store.rearm(&self.path)).await?,
            None => self.within(number, store.watch(&self.path)).await?.map(|watch| *armed = Some(watch)),
        };
        if let Err(fault) = arming {
            return Ok(Err(fault));
        }
        let paths = [self.path.clone()];
        let node = match self.within(number, store.read(&paths)).await? {
            Ok(nodes) => nodes.into_iter().next().unwrap_or(Err(Fault::NoNode)),
            Err(fault) => Err(fault),
        };
        Ok(match node {
            Ok(node) => {
                self.known(node.data.to_vec());
                Ok(())
            }
            Err(Fault::NoNode) => {
                self.known(Vec::new());
                Ok(())
            }
            Err(fault) => Err(fault),
        })
    }

    /// Waits until the node has to be read again.
    async fn heard(
        &mut self,
        number: u64,
        watch: Option<&mut (dyn Watch + 'static)>,
        audit_at: Instant,
    ) -> Result<(), Over> {
        let Some(watch) = watch else { return Ok(()) };
        loop {
            let event = tokio::select! {
                biased;
                over = lost_epoch(&mut self.link, number) => return Err(over),
                () = self.mapping.closed() => return Err(Over::View),
                event = watch.next() => event,
                () = sleep_until(audit_at) => return Ok(()),
            };
            match event {
                Some(Event::Connected | Event::Node(_)) => return Ok(()),
                Some(Event::Disconnected) => {}
                Some(Event::Over) | None => return Err(Over::Epoch),
            }
        }
    }

    /// Awaits an answer, unless the session ends or no receiver is left.
    async fn within<T>(&mut self, number: u64, answer: impl Future<Output = T>) -> Result<T, Over> {
        tokio::select! {
            biased;
            over = lost_epoch(&mut self.link, number) => Err(over),
            () = self.mapping.closed() => Err(Over::View),
            answer = answer => Ok(answer),
        }
    }

    /// Publishes the data of the node, if they are others than before.
    fn known(&self, data: Vec<u8>) {
        let next = Mapping::Known(data);
        self.mapping.send_if_modified(|mapping| {
            let is_news = *mapping != next;
            *mapping = next;
            is_news
        });
    }

    /// Publishes why the node cannot be read, if it never could: data that are known stay.
    fn hindered(&self, fault: Fault) {
        let next = Mapping::Hindered(fault.while_reading(&self.path));
        self.mapping.send_if_modified(|mapping| {
            let is_news = !matches!(mapping, Mapping::Known(_)) && *mapping != next;
            if is_news {
                *mapping = next;
            }
            is_news
        });
    }
}
