//! The watch of which services exist.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::watch::Closed;
use crate::error::Error;
use crate::instance::ServiceName;
use crate::snapshot::Freshness;

/// The services that had at least one instance at one moment. Clones share everything.
#[derive(Clone, Debug)]
pub struct Services {
    pub(crate) names: Arc<[ServiceName]>,
    pub(crate) freshness: Freshness,
    pub(crate) cause: Option<Error>,
}

impl Services {
    /// Nothing is known yet.
    pub(crate) fn pending() -> Self {
        Self { names: Arc::default(), freshness: Freshness::Pending, cause: None }
    }

    /// The names, sorted.
    pub fn names(&self) -> &[ServiceName] {
        &self.names
    }

    /// Whether a service of this name has an instance.
    pub fn contains(&self, service: &ServiceName) -> bool {
        self.names.binary_search(service).is_ok()
    }

    /// How far this may be trusted to be current.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Why it is not [`Freshness::Live`], where ZooKeeper or the registry said so.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }
}

/// A live view of which services exist: always the latest [`Services`], never a queue. Clones share one view.
#[derive(Clone)]
pub struct ServicesWatch {
    services: watch::Receiver<Services>,
    current: Services,
    /// The watch keeps its registry alive.
    _registry: Arc<dyn Any + Send + Sync>,
}

impl ServicesWatch {
    pub(crate) fn new(services: watch::Receiver<Services>, registry: Arc<dyn Any + Send + Sync>) -> Self {
        let current = services.borrow().clone();
        Self { services, current, _registry: registry }
    }

    /// The latest.
    pub fn current(&mut self) -> &Services {
        // A closed channel may still hold what was not seen.
        if self.services.has_changed().unwrap_or(true) {
            self.current = self.services.borrow_and_update().clone();
        }
        &self.current
    }

    /// Waits for news: a service that came or went, or another freshness.
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none; the [cause](Services::cause) of the last says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<&Services, Closed> {
        self.services.changed().await.map_err(|_| Closed)?;
        self.current = self.services.borrow_and_update().clone();
        Ok(&self.current)
    }

    /// Waits for [`Freshness::Live`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) when there will be none, or the cause for which the registry has failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn live(&mut self) -> Result<&Services, Error> {
        while self.current().freshness != Freshness::Live {
            if let Err(closed) = self.changed().await {
                return Err(self.current().cause.clone().unwrap_or_else(|| closed.into()));
            }
        }
        Ok(&self.current)
    }
}

impl fmt::Debug for ServicesWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServicesWatch").field("current", &self.current).finish_non_exhaustive()
    }
}
