//! The watches of all services, as one stream of news.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{Registry, Resolve as _, ServiceName};

use super::board::News;

/// Tells of each newer snapshot of these services, or, without any, of every service that there is. A reader who is slow skips
/// snapshots, never the last one. Ends when the reader goes; dropping the future ends it, too.
pub(crate) async fn watching(registry: Registry, only: Vec<ServiceName>, tell: mpsc::Sender<News>) {
    let mut watched = BTreeMap::new();
    if !only.is_empty() {
        for service in only {
            watched.insert(service.clone(), watch(&registry, service, tell.clone()));
        }
        return tell.closed().await;
    }
    let mut services = registry.watch_services();
    loop {
        let now = services.current().clone();
        // Before the snapshots of those that are new: without their names, they would be taken for late ones.
        if tell.send(News::Services(now.clone())).await.is_err() {
            return;
        }
        watched.retain(|service, _| now.contains(service));
        for service in now.names() {
            if !watched.contains_key(service) {
                watched.insert(service.clone(), watch(&registry, service.clone(), tell.clone()));
            }
        }
        tokio::select! {
            changed = services.changed() => if changed.is_err() { return },
            () = tell.closed() => return,
        }
    }
}

fn watch(registry: &Registry, service: ServiceName, tell: mpsc::Sender<News>) -> AbortOnDropHandle<()> {
    let mut watch = registry.watch(&service);
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let now = watch.current().clone();
            if tell.send(News::Snapshot(now)).await.is_err() || watch.changed().await.is_err() {
                return;
            }
        }
    }))
}
