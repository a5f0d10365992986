//! Where every listener's registration stands: written by the announcer, read by the admin endpoint.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use zk_registry::{RegistrationState, Status};

use crate::daemon::metrics::Metrics;

/// Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listings: Mutex<Vec<Listing>>,
    draining: AtomicBool,
    metrics: Metrics,
    changes: watch::Sender<()>,
}

/// One listener.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Listing {
    listener: SocketAddr,
    /// What it advertises, once that is known.
    address: Option<String>,
    path: Option<String>,
    /// `up` or `draining`: what the node says, which an operator may have written.
    status: &'static str,
    state: &'static str,
    zxid: Option<i64>,
    /// Who is in the way, or what went wrong.
    detail: Option<String>,
}

impl Board {
    /// All listeners, none of them registered yet.
    pub(crate) fn new(listeners: impl IntoIterator<Item = SocketAddr>, metrics: Metrics) -> Self {
        let listings = listeners
            .into_iter()
            .map(|listener| Listing {
                listener,
                address: None,
                path: None,
                status: UP,
                state: PENDING,
                zxid: None,
                detail: None,
            })
            .collect::<Vec<_>>();
        for listing in &listings {
            metrics.set_registration(&listing.listener.to_string(), &STATES, PENDING);
        }
        Self(Arc::new(Inner {
            listings: Mutex::new(listings),
            draining: AtomicBool::new(false),
            metrics,
            changes: watch::Sender::new(()),
        }))
    }

    /// The address that the listener with this number advertises, and its node.
    pub(crate) fn set_address(&self, n: usize, address: &str, path: &str) {
        if let Some(listing) = self.listings().get_mut(n) {
            listing.address = Some(address.to_owned());
            listing.path = Some(path.to_owned());
        }
    }

    /// The state that the registration of the listener with this number has come to.
    pub(crate) fn set_state(&self, n: usize, state: &RegistrationState) {
        let (zxid, detail) = match state {
            RegistrationState::Conflict { with } => (None, Some(with.clone())),
            RegistrationState::Failed(error) => (None, Some(error.to_string())),
            RegistrationState::Retrying { cause, standing } => {
                (standing.map(|zxid| zxid.0), Some(cause.to_string()))
            }
            RegistrationState::Registered { zxid } | RegistrationState::Suspended { zxid } => {
                (Some(zxid.0), None)
            }
            _ => (None, None),
        };
        self.set(n, word(state), zxid, detail);
    }

    /// What the node of the listener with this number says of itself.
    pub(crate) fn set_status(&self, n: usize, status: Status) {
        if let Some(listing) = self.listings().get_mut(n) {
            listing.status = if status == Status::Up { UP } else { DRAINING };
        }
        self.0.changes.send_replace(());
    }

    /// The listener with this number cannot be registered, for a reason of our own.
    pub(crate) fn set_failed(&self, n: usize, why: &str) {
        self.set(n, FAILED, None, Some(why.to_owned()));
    }

    /// From now on no new work should be sent here.
    pub(crate) fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.changes.send_replace(());
    }

    /// Whether every listener is registered and none is about to go or drained by an operator. A lost connection to ZooKeeper alone does not
    /// count: the nodes are still there, and so are the clients.
    pub(crate) fn is_ready(&self) -> bool {
        let wanted =
            |listing: &Listing| matches!(listing.state, REGISTERED | SUSPENDED) && listing.status == UP;
        !self.0.draining.load(Ordering::Relaxed) && self.listings().iter().all(wanted)
    }

    /// What there is to say of every listener.
    pub(crate) fn current(&self) -> Vec<Listing> {
        self.listings().clone()
    }

    /// Is told of each change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// The state of all in a few words.
    pub(crate) fn summary(&self) -> String {
        let listings = self.listings();
        let count =
            |wanted: &dyn Fn(&Listing) -> bool| listings.iter().filter(|listing| wanted(listing)).count();
        let registered = count(&|listing| listing.state == REGISTERED || listing.state == SUSPENDED);
        let mut summary = format!("{registered}/{} registered", listings.len());
        for (word, many) in [
            ("drained by an operator", count(&|listing| listing.status == DRAINING)),
            ("without a connection to ZooKeeper", count(&|listing| listing.state == SUSPENDED)),
        ] {
            if many > 0 {
                summary += &format!(", {many} {word}");
            }
        }
        match self.0.draining.load(Ordering::Relaxed) {
            true => format!("leaving, {summary}"),
            false => summary,
        }
    }

    fn set(&self, n: usize, state: &'static str, zxid: Option<i64>, detail: Option<String>) {
        if let Some(listing) = self.listings().get_mut(n) {
            (listing.state, listing.zxid, listing.detail) = (state, zxid, detail);
            self.0.metrics.set_registration(&listing.listener.to_string(), &STATES, state);
        }
        self.0.changes.send_replace(());
    }

    /// No update can stop half-way in a panic.
    fn listings(&self) -> MutexGuard<'_, Vec<Listing>> {
        self.0.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One word for a state.
pub(crate) fn word(state: &RegistrationState) -> &'static str {
    match state {
        RegistrationState::Conflict { .. } => CONFLICT,
        RegistrationState::Failed(_) => FAILED,
        // Its node stands; an update of it was refused.
        RegistrationState::Registered { .. } | RegistrationState::Retrying { standing: Some(_), .. } => {
            REGISTERED
        }
        RegistrationState::Drained { .. } => DRAINED,
        RegistrationState::Suspended { .. } => SUSPENDED,
        RegistrationState::Withdrawn(_) => WITHDRAWN,
        _ => PENDING,
    }
}

const DRAINING: &str = "draining";
const UP: &str = "up";

const CONFLICT: &str = "conflict";
const DRAINED: &str = "drained";
const FAILED: &str = "failed";
const PENDING: &str = "pending";
const REGISTERED: &str = "registered";
const SUSPENDED: &str = "suspended";
const WITHDRAWN: &str = "withdrawn";
const STATES: [&str; 6] = [CONFLICT, FAILED, PENDING, REGISTERED, SUSPENDED, WITHDRAWN];

#[cfg(test)]
mod tests {
    use zk_registry::Zxid;

    use super::*;

    #[test]
    fn ready_means_every_listener_is_registered_and_nobody_is_leaving() {
        let board =
            Board::new(["127.0.0.1:1", "127.0.0.1:2"].map(|a| a.parse().unwrap()), Metrics::default());
        assert!(!board.is_ready());
        board.set_state(0, &RegistrationState::Registered { zxid: Zxid(7) });
        assert!(!board.is_ready(), "one of two");
        board.set_state(1, &RegistrationState::Suspended { zxid: Zxid(8) });
        assert!(board.is_ready(), "an outage of ZooKeeper unlists nobody");
        board.set_draining();
        assert!(!board.is_ready());
    }
}
