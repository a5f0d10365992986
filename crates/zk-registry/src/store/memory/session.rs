//! One session at its client's end: what the client believes of it, and what it has under way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::{Event, State};
use super::engine::{ConnectionId, Password};
use super::wire::{Watcher, Wire};

/// A session as its client knows it.
pub(super) struct ClientSession {
    /// The process that opened it.
    pub(super) process: usize,
    pub(super) timeout: Duration,
    /// The id by which the servers know it.
    pub(super) id: i64,
    pub(super) password: Password,
    /// The connection by which the servers know it.
    pub(super) connection: Option<ConnectionId>,
    pub(super) wire: Wire,
    pub(super) states: watch::Sender<State>,
    /// When the client last heard of its server, once it has lost it.
    pub(super) heard: Instant,
    pub(super) retry_at: Instant,
    pub(super) watchers: Vec<Watcher>,
    pub(super) wake: Arc<Notify>,
}

impl ClientSession {
    pub(super) fn state(&self) -> State {
        *self.states.borrow()
    }

    /// How long the server may be silent: a fifth of the timeout.
    pub(super) fn connection_timeout(&self) -> Duration {
        self.timeout / 5
    }

    /// When the client gives up by itself.
    pub(super) fn given_up_at(&self) -> Instant {
        self.heard + self.timeout * 7 / 5
    }

    pub(super) fn announce(&mut self, state: State) {
        let event = match state {
            State::Connected => Event::Connected,
            State::Disconnected => Event::Disconnected,
            State::Over(_) => Event::Over,
        };
        self.watchers.retain(|(_, watcher)| watcher.send(event.clone()).is_ok());
        if event == Event::Over {
            self.watchers.clear();
        }
        self.states.send_replace(state);
    }

    /// Tells the watches of a node's event.
    pub(super) fn hear(&mut self, path: &str) {
        self.watchers.retain(|(root, watcher)| {
            !covers(root, path) || watcher.send(Event::Node(path.to_owned())).is_ok()
        });
    }
}

impl fmt::Debug for ClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSession")
            .field("id", &self.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Whether a watch on `root` hears of `path`.
fn covers(root: &str, path: &str) -> bool {
    root == "/" || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
