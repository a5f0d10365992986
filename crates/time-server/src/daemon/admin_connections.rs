//! The connections of the admin endpoint: few, and none that is silent keeps a probe out.
//!
//! A peer may have four. A fifth one ends that peer's longest silent connection, one without a complete request; so does any
//! connection beyond the total. A flood from the very host of the orchestrator then only fights itself.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The open connections, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct AdminConnections(Arc<Mutex<Vec<Arc<AdminConnection>>>>);

/// One open connection.
#[derive(Debug)]
pub(crate) struct AdminConnection {
    /// The peer's address; `None` on a Unix socket.
    peer: Option<IpAddr>,
    has_asked: AtomicBool,
    end: Notify,
}

/// The place of one connection. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct AdminPlace {
    all: AdminConnections,
    connection: Arc<AdminConnection>,
}

impl AdminConnections {
    /// Admits a connection, and ends another one where there are too many. `None` if none can be ended.
    pub(crate) fn admit(&self, peer: Option<IpAddr>) -> Option<AdminPlace> {
        let mut open = self.open();
        let of_peer = open.iter().filter(|other| other.peer == peer).count();
        if of_peer >= PER_PEER {
            end_longest_silent(&mut open, |other| other.peer == peer)?;
        } else if open.len() >= TOTAL {
            end_longest_silent(&mut open, |_| true)?;
        }
        let connection =
            Arc::new(AdminConnection { peer, has_asked: AtomicBool::new(false), end: Notify::new() });
        open.push(Arc::clone(&connection));
        drop(open);
        Some(AdminPlace { all: self.clone(), connection })
    }

    fn open(&self) -> MutexGuard<'_, Vec<Arc<AdminConnection>>> {
        // A panic cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdminPlace {
    /// Marks that a complete request has come: from now on the connection is not ended for others.
    pub(crate) fn set_asked(&self) {
        self.connection.has_asked.store(true, Ordering::Relaxed);
    }

    /// Completes when the connection is to end before it has asked.
    pub(crate) async fn ended(&self) {
        self.connection.end.notified().await;
        if self.connection.has_asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for AdminPlace {
    fn drop(&mut self) {
        self.all.open().retain(|other| !Arc::ptr_eq(other, &self.connection));
    }
}

fn end_longest_silent(
    open: &mut Vec<Arc<AdminConnection>>,
    of: impl Fn(&AdminConnection) -> bool,
) -> Option<()> {
    let at = open.iter().position(|other| of(other) && !other.has_asked.load(Ordering::Relaxed))?;
    open.remove(at).end.notify_one();
    Some(())
}

/// Connections of one peer, and of all peers: probes and scrapes need few, and a flood must not take the time service's
/// descriptors.
const PER_PEER: usize = 4;
const TOTAL: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fifth_connection_of_a_peer_ends_its_longest_silent_one() {
        let all = AdminConnections::default();
        let peer = "127.0.0.1".parse().ok();
        let other = all.admit("127.0.0.2".parse().ok()).unwrap();
        let places: Vec<_> = (0..4).map(|_| all.admit(peer).unwrap()).collect();
        places[0].set_asked();
        let _fifth = all.admit(peer).unwrap();
        places[1].ended().await;
        assert!(!all.open().iter().any(|open| Arc::ptr_eq(open, &places[1].connection)));
        drop((other, places));
        assert_eq!(all.open().len(), 1);
    }

    #[test]
    fn peers_that_have_all_asked_keep_their_places() {
        let all = AdminConnections::default();
        let places: Vec<_> = (0..PER_PEER).map(|_| all.admit(None).unwrap()).collect();
        places.iter().for_each(AdminPlace::set_asked);
        assert!(all.admit(None).is_none());
    }
}
