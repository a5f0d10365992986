//! Persistent recursive watches: [`Watch`] over the client crate's watcher, without its traps.
//!
//! The crate's watcher panics when it is asked for an event after the last one, and when the crate's task is gone. And a
//! watch that is removed while a request for a watch is under way can leave the crate with a dangling pointer (0.11.2:
//! `unwatching_paths` keeps the key of a request that is freed). So removals wait until no such request is under way, and the
//! next request for a watch waits until the server has acknowledged them.

use std::collections::HashMap;
use std::future::{poll_fn, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Context, Poll, Waker};

use futures_util::future::{BoxFuture, join};
use zookeeper_client::{
    AddWatchMode, Client, EventType, PersistentWatcher, SessionState, Stat, WatchedEvent,
};

use super::super::{Event, Fault, Watch};
use super::faults::fault;
use super::lifeline::Lifeline;

/// The watches of one session.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Requests for a watch that are under way.
    arming: usize,
    /// How many [`Watcher`]s a path has.
    live: HashMap<String, usize>,
    /// Watchers to be dropped as soon as nothing is under way.
    retired: Vec<(String, PersistentWatcher)>,
    /// Whether the server may still send events to a watcher that is gone.
    stray: bool,
}

/// A request for a watch is under way as long as this lives.
struct Arming<'a>(&'a Watches);

impl Watches {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new watch, sent when this is polled first unless an earlier one has to be forgotten before.
    pub(super) async fn watch(
        self: Arc<Self>,
        client: Client,
        path: String,
        lifeline: Arc<Lifeline>,
    ) -> Result<Watcher, Fault> {
        let (watcher, ()) = self.arm(&client, &path, || ready(())).await?;
        Ok(self.live(watcher, path, lifeline))
    }

    /// The same, and the children of the node as the server lists them once the watch is armed.
    pub(super) async fn watch_and_list(
        self: Arc<Self>,
        client: Client,
        path: String,
        lifeline: Arc<Lifeline>,
    ) -> Result<(Watcher, Result<(Vec<String>, Stat), Fault>), Fault> {
        let (watcher, listed) = self.arm(&client, &path, || client.get_children(&path)).await?;
        Ok((self.live(watcher, path, lifeline), listed.map_err(fault)))
    }

    fn live(self: Arc<Self>, watcher: PersistentWatcher, path: String, lifeline: Arc<Lifeline>) -> Watcher {
        *self.lock().live.entry(path.clone()).or_default() += 1;
        Watcher { crate_watcher: Some(watcher), path, watches: self, lifeline, last: None }
    }

    /// Arms the watch on this path again. The crate does not do it after a reconnect, though it means to; once it does, this
    /// changes nothing.
    pub(super) async fn rearm(self: Arc<Self>, client: Client, path: String) -> Result<(), Fault> {
        let (watcher, ()) = self.arm(&client, &path, || ready(())).await?;
        self.retire(path, watcher);
        Ok(())
    }

    /// Sends a request for a watch and, right behind it, another one.
    async fn arm<F: Future>(
        &self,
        client: &Client,
        path: &str,
        behind: impl FnOnce() -> F,
    ) -> Result<(PersistentWatcher, F::Output), Fault> {
        let (arming, stray) = self.begin();
        if stray && let Err(error) = client.sync("/").await {
            self.lock().stray = true;
            return Err(fault(error));
        }
        let (watcher, answer) = join(client.watch(path, AddWatchMode::PersistentRecursive), behind()).await;
        drop(arming);
        Ok((watcher.map_err(fault)?, answer))
    }

    fn begin(&self) -> (Arming<'_>, bool) {
        let mut inner = self.lock();
        inner.arming += 1;
        (Arming(self), std::mem::take(&mut inner.stray))
    }

    fn retire(&self, path: String, watcher: PersistentWatcher) {
        let mut inner = self.lock();
        inner.retired.push((path, watcher));
        inner.settle();
    }
}

impl Inner {
    fn settle(&mut self) {
        if self.arming > 0 {
            return;
        }
        for (path, watcher) in self.retired.drain(..) {
            // The crate asks the server to forget a watch only with its last watcher.
            self.stray |= !self.live.contains_key(&path);
            drop(watcher);
        }
    }
}

impl Drop for Arming<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.arming -= 1;
        inner.settle();
    }
}

/// One watch.
#[derive(Debug)]
pub(super) struct Watcher {
    /// `None` only while this is dropped.
    crate_watcher: Option<PersistentWatcher>,
    path: String,
    watches: Arc<Watches>,
    lifeline: Arc<Lifeline>,
    /// What is said once the crate's watcher must not be asked any more.
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
enum Last {
    Nothing,
    Over,
}

impl Watcher {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            match self.last {
                Some(Last::Nothing) => return Poll::Ready(None),
                Some(Last::Over) => {
                    self.last = Some(Last::Nothing);
                    return Poll::Ready(Some(Event::Over));
                }
                None => {}
            }
            let Some(watcher) = &mut self.crate_watcher else { return Poll::Ready(None) };
            match task::ready!(self.lifeline.poll(watcher.changed(), cx)).as_ref().map(event) {
                Some(Some(Event::Over)) | None => self.last = Some(Last::Over),
                Some(Some(event)) => return Poll::Ready(Some(event)),
                Some(None) => {}
            }
        }
    }
}

impl Watch for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        let lifeline = self.lifeline.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                event = poll_fn(|cx| self.poll_next(cx)) => event,
                // It wakes us; the next poll finds out.
                _ = lifeline.ended() => self.try_next(),
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let Some(watcher) = self.crate_watcher.take() else { return };
        let path = std::mem::take(&mut self.path);
        let mut inner = self.watches.lock();
        if let Some(live) = inner.live.get_mut(&path) {
            *live -= 1;
            if *live == 0 {
                inner.live.remove(&path);
            }
        }
        inner.retired.push((path, watcher));
        inner.settle();
    }
}

/// `None`: nothing that a view needs to know.
fn event(event: &WatchedEvent) -> Option<Event> {
    match (event.event_type, event.session_state) {
        (EventType::Session, SessionState::SyncConnected) => Some(Event::Connected),
        (EventType::Session, SessionState::Disconnected) => Some(Event::Disconnected),
        (EventType::Session, state) => state.is_terminated().then_some(Event::Over),
        _ => Some(Event::Node(event.path.clone())),
    }
}
