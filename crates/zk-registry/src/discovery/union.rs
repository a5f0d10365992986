//! The services of several sources as one list.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::watch;

use super::assembly::doubt;
use crate::resolve::Services;
use crate::snapshot::Freshness;

/// Publishes the union until every part has ended, or the last watch is dropped.
pub(crate) async fn run(mut parts: Vec<watch::Receiver<Services>>, services: watch::Sender<Services>) {
    let mut is_over = false;
    while !is_over {
        tokio::select! {
            over = changed(&mut parts) => is_over = over,
            () = services.closed() => return,
        }
        let latest: Vec<Services> = parts.iter_mut().map(|part| part.borrow_and_update().clone()).collect();
        services.send_replace(union(&latest));
    }
}

/// The services that any of them has; as fresh as the least fresh.
fn union(parts: &[Services]) -> Services {
    let names: BTreeSet<_> = parts.iter().flat_map(|part| part.names().iter().cloned()).collect();
    Services {
        names: names.into_iter().collect::<Arc<[_]>>(),
        freshness: parts.iter().map(Services::freshness).max_by_key(doubt).unwrap_or(Freshness::Pending),
        cause: parts.iter().find_map(|part| part.cause.clone()),
    }
}

/// Waits until a part is another one; `true`: every part has ended.
async fn changed(parts: &mut [watch::Receiver<Services>]) -> bool {
    let mut waiting: Vec<_> = parts.iter_mut().map(|part| Box::pin(part.changed())).collect();
    while !waiting.is_empty() {
        let (changed, _, rest) = select_all(waiting).await;
        if changed.is_ok() {
            return false;
        }
        waiting = rest;
    }
    true
}
