//! One read of one service, for scripts: the same judgement as a view's, without a watch.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::discovery::view::{Batch, View};
use crate::error::Error;
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::Suspicion;
use crate::snapshot::Snapshot;
use crate::store::{Fault, Store, limits};

/// The service as it is now: everything that was acknowledged to anybody before the call is in it.
pub(crate) async fn read(
    store: &dyn Store,
    root: &str,
    service: &ServiceName,
    format: Arc<dyn Format>,
) -> Result<Snapshot, Error> {
    let failed = |fault: Fault| fault.while_reading(root);
    store.sync(root).await.map_err(failed)?;
    let (names, parent) = match store.list(root).await {
        Ok((names, parent)) => (names, Some(parent)),
        Err(Fault::NoNode) => (Vec::new(), None),
        Err(fault) => return Err(failed(fault)),
    };
    let mut items = Vec::with_capacity(names.len());
    let paths: Vec<_> = names.iter().map(|name| format!("{root}/{name}")).collect();
    let mut names = names.into_iter();
    for chunk in limits::reads(&paths) {
        let nodes = store.read(chunk).await.map_err(failed)?;
        items.extend(nodes.into_iter().zip(names.by_ref()).map(|(node, name)| (name, node)));
    }
    let mut view = View::new(service.clone(), format, Suspicion::Forget, Duration::ZERO);
    view.listed(Batch { items, parent, gapless: false }, Instant::now());
    view.live();
    Ok(view.publish().unwrap_or_else(|| Snapshot::pending(service)))
}
