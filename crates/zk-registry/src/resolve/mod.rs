//! The seam between finding instances and using them: [`Resolve`] gives a [`ServiceWatch`] of snapshots, and a [`DialPolicy`]
//! says which of their addresses are dialled.

mod dial;
mod fixed;
mod services;
mod watch;

use std::fmt;

pub use self::dial::{AddressKind, DialPolicy, DialRefused};
pub use self::fixed::StaticResolver;
pub use self::services::{Services, ServicesWatch};
pub(crate) use self::watch::Waiter;
pub use self::watch::{Closed, ServiceWatch, SnapshotSender};
use crate::instance::ServiceName;

/// Finds the instances of a service. Starting is synchronous and cannot fail: "ZooKeeper is down" is a state of the
/// snapshot.
///
/// Another source than ZooKeeper begins with [`Snapshot::pending`](crate::Snapshot::pending), publishes a [`Snapshot::fixed`](crate::Snapshot::fixed) whenever it learns
/// something, each with a revision one higher, and keeps what it knows as [`Freshness::Stale`](crate::Freshness::Stale) while it learns nothing.
///
/// ```
/// use zk_registry::{Instance, Resolve, ServiceName, ServiceWatch, Snapshot};
///
/// /// Asks another directory.
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
///             sender.closed().await; // until the last watch is dropped
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
