//! One read of one service, for scripts: the same judgement as a view's, without a watch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::harvest::Harvest;
use super::portion::Portion;
use super::view::{Batch, View};
use crate::error::Error;
use crate::format::Format;
use crate::instance::ServiceName;
use crate::options::{RecordLimits, Suspicion};
use crate::snapshot::Snapshot;
use crate::store::{Fault, Node, Store};

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
        Err(Fault::NoNode) => (Vec::new(), None),
        Err(fault) => return Err(failed(fault)),
    };
    let items = children(store, root, &names, limits).await.map_err(failed)?;
    let mut view = View::new(service.clone(), format, Suspicion::Forget, limits, Duration::ZERO);
    view.listed(Batch { items, parent, gapless: false }, Instant::now());
    view.live();
    Ok(view.publish().unwrap_or_else(|| Snapshot::pending(service)))
}

/// The children of a service with what a read of each said.
async fn children(
    store: &dyn Store,
    root: &str,
    names: &[String],
    limits: RecordLimits,
) -> Result<Vec<(String, Result<Node, Fault>)>, Fault> {
    let mut portion = Portion::new();
    let mut harvest = Harvest::new(names.len(), limits);
    let (mut left, mut in_flight) = (names, VecDeque::new());
    loop {
        while in_flight.len() < portion.in_flight() && !left.is_empty() {
            let (chunk, later) = left.split_at(portion.count().min(left.len()));
            left = later;
            let paths: Vec<_> = chunk.iter().map(|name| format!("{root}/{name}")).collect();
            in_flight.push_back((chunk, store.read(&paths)));
        }
        let Some((chunk, reply)) = in_flight.pop_front() else { return Ok(harvest.items()) };
        let nodes = reply.await?;
        portion.answered(&nodes);
        harvest.add(chunk, nodes);
    }
}
