//! Every membership change that a client could have seen, recorded with its time.
//!
//! The record is exact as long as [`Events::gaps`] is 0: changes during a disconnection are lost for every client,
//! this one included.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use zookeeper_client::{AddWatchMode, Client, Error, EventType, PersistentWatcher, SessionState};

use crate::eventually::eventually;

/// A change of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Its data was written.
    Changed,
    /// It came.
    Created,
    /// It went.
    Deleted,
}

/// One event.
#[derive(Clone, Debug)]
pub struct NodeEvent {
    /// When it arrived here.
    pub at: Instant,
    /// The change.
    pub happened: NodeChange,
    /// The path of the node, relative to the session's chroot.
    pub path: String,
    /// The transaction, -1 where the server does not say (before 3.9).
    pub zxid: i64,
}

/// A recording recursive watch. It keeps its session open until it is dropped.
#[derive(Debug)]
pub struct Events {
    root: String,
    client: Client,
    record: Arc<Mutex<Recording>>,
    barrier: mpsc::Sender<oneshot::Sender<()>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Recording {
    seen: Vec<NodeEvent>,
    gaps: u32,
}

impl Events {
    pub(crate) async fn watch(client: Client, root: &str) -> Result<Self, Error> {
        let watcher = client.watch(root, AddWatchMode::PersistentRecursive).await?;
        let record = Arc::new(Mutex::new(Recording::default()));
        let (barrier, barriers) = mpsc::channel(1);
        let task = tokio::spawn(run(client.clone(), root.to_owned(), watcher, Arc::clone(&record), barriers));
        Ok(Self { root: root.to_owned(), client, record, barrier, _task: AbortOnDropHandle::new(task) })
    }

    /// All events so far, in the server's order.
    pub fn all(&self) -> Vec<NodeEvent> {
        self.with(|record| record.seen.clone())
    }

    /// How many events of this kind there were, at any path.
    pub fn count(&self, happened: NodeChange) -> usize {
        self.with(|record| record.seen.iter().filter(|seen| seen.happened == happened).count())
    }

    /// How often the watch was interrupted; changes may be missing from the record then.
    pub fn gaps(&self) -> u32 {
        self.with(|record| record.gaps)
    }

    /// Returns once everything is recorded that the leader had committed at the call.
    ///
    /// # Errors
    ///
    /// Those of the client crate.
    pub async fn settled(&self) -> Result<(), Error> {
        // What the server sent before this reply is in the watcher's queue, and the task empties that first.
        self.client.sync(&self.root).await?;
        let (reply, done) = oneshot::channel();
        self.barrier.send(reply).await.map_err(|_| Error::ClientClosed)?;
        done.await.map_err(|_| Error::ClientClosed)
    }

    /// Waits for the first event of this kind at `path`.
    ///
    /// # Panics
    ///
    /// When there is none `within` that time.
    pub async fn first(&self, happened: NodeChange, path: &str, within: Duration) -> NodeEvent {
        eventually(within, &format!("{happened:?} {path}"), async || {
            let seen = self.all();
            let found = seen.iter().find(|seen| seen.happened == happened && seen.path == path).cloned();
            found.ok_or_else(|| format!("{} events, none of them that", seen.len()))
        })
        .await
    }

    fn with<T>(&self, look: impl FnOnce(&Recording) -> T) -> T {
        look(&self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends with the session: a watcher must not be asked again after its last event.
async fn run(
    client: Client,
    root: String,
    mut watcher: PersistentWatcher,
    record: Arc<Mutex<Recording>>,
    mut barriers: mpsc::Receiver<oneshot::Sender<()>>,
) {
    loop {
        let event = tokio::select! {
            biased;
            event = watcher.changed() => event,
            Some(reply) = barriers.recv() => {
                // An error means that the wait was given up.
                let _ = reply.send(());
                continue;
            }
        };
        let at = Instant::now();
        let happened = match event.event_type {
            EventType::NodeCreated => NodeChange::Created,
            EventType::NodeDataChanged => NodeChange::Changed,
            EventType::NodeDeleted => NodeChange::Deleted,
            _ if event.session_state.is_terminated() => return,
            _ => {
                if event.session_state == SessionState::SyncConnected {
                    record.lock().unwrap_or_else(PoisonError::into_inner).gaps += 1;
                    // The crate does not arm persistent watches again after a reconnect. A second watcher does, and
                    // its drop leaves the first one armed. A failure means that the next reconnect is on its way.
                    drop(client.watch(&root, AddWatchMode::PersistentRecursive).await);
                }
                continue;
            }
        };
        let seen = NodeEvent { at, happened, path: event.path, zxid: event.zxid };
        record.lock().unwrap_or_else(PoisonError::into_inner).seen.push(seen);
    }
}
