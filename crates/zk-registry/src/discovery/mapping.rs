//! Where a service stands, if a node of its own says so: that node, kept up to date by a watch.

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

/// What is known of the node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mapping {
    /// It was not read yet.
    Unknown,
    /// ZooKeeper refuses to say.
    Hindered(Error),
    /// Its data; empty where there is no node.
    Known(Vec<u8>),
}

/// The task that follows the node. `run` it once.
pub(crate) struct MappingDriver {
    pub(crate) path: String,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) audit_interval: Duration,
    pub(crate) seed: u64,
    pub(crate) mapping: watch::Sender<Mapping>,
}

impl MappingDriver {
    /// Follows the node until the registry is closed or nobody wants to know. What was known stays over an outage.
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

    /// Waits for a session that is connected; `None`: there will be none.
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

    /// One session, to its end.
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

    /// Awaits an answer as long as the session lives and somebody wants to know.
    async fn within<T>(&mut self, number: u64, answer: impl Future<Output = T>) -> Result<T, Over> {
        tokio::select! {
            biased;
            over = lost_epoch(&mut self.link, number) => Err(over),
            () = self.mapping.closed() => Err(Over::View),
            answer = answer => Ok(answer),
        }
    }

    fn known(&self, data: Vec<u8>) {
        let next = Mapping::Known(data);
        self.mapping.send_if_modified(|mapping| {
            let is_news = *mapping != next;
            *mapping = next;
            is_news
        });
    }

    /// What is known is kept; only one who knows nothing is told why.
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
