//! One read of one service, for scripts: the same judgement as a view's, without a watch.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::bulk;
use super::view::{Batch, View};
use crate::error::Error;
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Suspicion};
use crate::snapshot::Snapshot;
use crate::store::{Fault, Store};

/// The service as it is now: everything that ZooKeeper acknowledged to any client before the call is in it.
pub(crate) async fn read(
    store: &dyn Store,
    root: &str,
    service: &ServiceName,
    format: Arc<dyn Format>,
    limits: RecordLimits,
) -> Result<Snapshot, Error> {
    let failed = |fault: Fault| fault.while_reading(root);
    // Both are sent at once; the server answers in order.
    let (synced, listed) = (store.sync(root), store.list(root));
    synced.await.map_err(failed)?;
    let (names, parent) = match listed.await {
        Ok((names, parent)) => (names, Some(parent)),
        Err(Fault::NoNode) => {
            exists(store).await.map_err(failed)?;
            (Vec::new(), None)
        }
        Err(fault) => return Err(failed(fault)),
    };
    let path = |name: &String| format!("{root}/{name}");
    let items = bulk::read(store, &names, path, limits).await.map_err(failed)?;
    let mut view = View::new(service.clone(), format, Suspicion::Forget, limits, Duration::ZERO);
    view.listed(Batch { items, parent, gapless: false }, Instant::now());
    view.live();
    Ok(view.publish().unwrap_or_else(|| Snapshot::pending(service)))
}

/// Whether there is anything that a service could be absent from: below a chroot that does not exist, everything is missing.
pub(crate) async fn exists(store: &dyn Store) -> Result<(), Fault> {
    match store.read(&["/".to_owned()]).await?.pop() {
        Some(Err(Fault::NoNode)) => Err(Fault::Definite("the chroot does not exist".to_owned())),
        _ => Ok(()),
    }
}
