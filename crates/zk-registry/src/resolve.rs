//! The seam between finding instances and using them: [`Resolve`] gives a [`ServiceWatch`] of snapshots.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::heard::Heard;
use crate::instance::{Instance, ServiceName};
use crate::snapshot::{Freshness, Snapshot, Zxid};
use crate::views::Wish;

/// Finds the instances of a service. Starting is synchronous and cannot fail: "ZooKeeper is down" is a state of the
/// snapshot.
///
/// Another source than ZooKeeper begins with [`Snapshot::pending`], publishes a [`Snapshot::fixed`] whenever it learns
/// something, each with a revision one higher, and keeps what it knows as [`Freshness::Stale`] while it learns nothing.
///
/// ```
/// use zk_registry::{Instance, Resolve, ServiceName, ServiceWatch, Snapshot};
///
/// /// Asks somebody else.
/// #[derive(Debug)]
/// struct Directory;
///
/// impl Resolve for Directory {
///     fn watch(&self, service: &ServiceName) -> ServiceWatch {
///         let (sender, watch) = ServiceWatch::channel(Snapshot::pending(service));
///         let service = service.clone();
///         tokio::spawn(async move {
///             let instances = ask(&service).await;
///             sender.send(Snapshot::fixed(&service, instances));
///             sender.closed().await; // until nobody watches any more
///         });
///         watch
///     }
/// }
///
/// # async fn ask(_: &ServiceName) -> Vec<Instance> { vec![Instance::new("10.0.0.1", 80)] }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let mut watch = Directory.watch(&"time".parse().unwrap());
/// assert_eq!(watch.ready().await.unwrap().len(), 1);
/// # });
/// ```
pub trait Resolve: fmt::Debug + Send + Sync + 'static {
    /// A live view of the service.
    fn watch(&self, service: &ServiceName) -> ServiceWatch;
}

fn _object_safe(_: &dyn Resolve) {}

/// The view will not change any more: its registry was closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the registry behind this watch was closed")
    }
}

impl std::error::Error for Closed {}

/// A live view of one service: always the latest snapshot, never a queue. A slow consumer skips what it was too slow for,
/// and slows nobody down.
#[derive(Clone)]
pub struct ServiceWatch {
    snapshots: watch::Receiver<Snapshot>,
    current: Snapshot,
    /// Where to say what is waited for.
    wanted: Option<mpsc::UnboundedSender<Wish>>,
    heard: Option<Heard>,
    /// The watch keeps its registry alive.
    _registry: Option<Arc<dyn Any + Send + Sync>>,
}

/// The writing half of a [`ServiceWatch`], for those who implement [`Resolve`].
#[derive(Debug)]
pub struct SnapshotSender {
    snapshots: watch::Sender<Snapshot>,
}

impl SnapshotSender {
    /// Publishes a snapshot to every watch of this channel.
    pub fn send(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(snapshot);
    }

    /// Waits until nobody watches any more: then there is nobody to publish for.
    pub async fn closed(&self) {
        self.snapshots.closed().await;
    }
}

impl ServiceWatch {
    /// A channel of snapshots that begins with `first`.
    pub fn channel(first: Snapshot) -> (SnapshotSender, Self) {
        let (sender, snapshots) = watch::channel(first.clone());
        let watch = Self { snapshots, current: first, wanted: None, heard: None, _registry: None };
        (SnapshotSender { snapshots: sender }, watch)
    }

    pub(crate) fn new(
        mut snapshots: watch::Receiver<Snapshot>,
        wanted: mpsc::UnboundedSender<Wish>,
        heard: Heard,
        registry: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        let current = snapshots.borrow_and_update().clone();
        Self { snapshots, current, wanted: Some(wanted), heard: Some(heard), _registry: Some(registry) }
    }

    /// The latest snapshot. Costs a few nanoseconds and allocates nothing while there is no newer one.
    pub fn current(&mut self) -> &Snapshot {
        // A closed channel may still hold a snapshot that was not seen.
        if self.snapshots.has_changed().unwrap_or(true) {
            self.current = self.snapshots.borrow_and_update().clone();
        }
        &self.current
    }

    /// Waits for a snapshot newer than the one last seen through this watch.
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Result<&Snapshot, Closed> {
        self.snapshots.changed().await.map_err(|_| Closed)?;
        // `changed` has marked it as seen, so that `current` alone would not take it.
        self.current = self.snapshots.borrow_and_update().clone();
        Ok(&self.current)
    }

    /// Waits until something is known: a snapshot that is not [`Freshness::Pending`].
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn ready(&mut self) -> Result<&Snapshot, Closed> {
        self.until(|snapshot| snapshot.freshness() != Freshness::Pending).await
    }

    /// Waits for a [`Freshness::Live`] snapshot.
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn live(&mut self) -> Result<&Snapshot, Closed> {
        self.until(|snapshot| snapshot.freshness() == Freshness::Live).await
    }

    /// Waits for a snapshot that holds every change up to `zxid`, such as the one that
    /// [`Registration::registered`](crate::Registration::registered) returned. The absence of an instance is awaited by
    /// its absence, not by a zxid.
    ///
    /// A zxid that ZooKeeper has not reached yet, or that is another ZooKeeper's, is not waited for: then the snapshot holds
    /// every change that was acknowledged before the call. A watch by [`channel`](Self::channel) waits for a snapshot whose
    /// [`watermark`](Snapshot::watermark) is that high.
    ///
    /// # Errors
    ///
    /// [`Closed`] when there will be none.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn wait_for(&mut self, zxid: Zxid) -> Result<&Snapshot, Closed> {
        if self.current().watermark() < zxid
            && let Some(wanted) = &self.wanted
        {
            let (done, published) = oneshot::channel();
            // A view that has ended drops the wish, and says so to `until`.
            let _ = wanted.send(Wish { zxid, done });
            if published.await.is_ok() {
                return Ok(self.current());
            }
        }
        self.until(|snapshot| snapshot.watermark() >= zxid).await
    }

    /// How fresh the latest snapshot is, judged at `now`: also `Stale` when the background task that would say so has not
    /// run for half a connection timeout.
    pub fn freshness(&mut self, now: Instant) -> Freshness {
        let published = self.current().freshness();
        match (&self.heard, published) {
            (Some(heard), Freshness::Live) => match heard.overdue(now) {
                Some(since) => Freshness::Stale { since },
                None => Freshness::Live,
            },
            _ => published,
        }
    }

    async fn until(&mut self, enough: impl Fn(&Snapshot) -> bool) -> Result<&Snapshot, Closed> {
        while !enough(self.current()) {
            self.changed().await?;
        }
        Ok(&self.current)
    }
}

impl fmt::Debug for ServiceWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatch").field("current", &self.current).finish_non_exhaustive()
    }
}

/// Instances that are known beforehand: for tests, and for programs that are told addresses.
#[derive(Clone, Debug, Default)]
pub struct StaticResolver {
    services: HashMap<ServiceName, Vec<Instance>>,
}

impl StaticResolver {
    /// Knows no service.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the instances of a service.
    #[must_use]
    pub fn with(mut self, service: ServiceName, instances: impl IntoIterator<Item = Instance>) -> Self {
        self.services.entry(service).or_default().extend(instances);
        self
    }
}

impl Resolve for StaticResolver {
    /// The instances that were added, for ever; none if the service is not known.
    fn watch(&self, service: &ServiceName) -> ServiceWatch {
        let instances = self.services.get(service).cloned().unwrap_or_default();
        ServiceWatch::channel(Snapshot::fixed(service, instances)).1
    }
}
