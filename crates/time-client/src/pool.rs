//! Connections that are kept between queries: a bounded number per instance, for a bounded time.
//!
//! The pool opens and asks nothing. It hands out the connection that was used last, because that one is the least likely
//! to have died; one that is known to have died is never handed out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::connection::Connection;

/// Idle connections by the address that they were opened to.
#[derive(Debug)]
pub(crate) struct Pool {
    per_instance: usize,
    idle_timeout: Duration,
    by_address: Mutex<HashMap<String, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Keeps at most `per_instance` connections to each instance, none of them idle for longer than `idle_timeout`.
    pub(crate) fn new(per_instance: usize, idle_timeout: Duration) -> Self {
        Self { per_instance, idle_timeout, by_address: Mutex::default() }
    }

    /// A connection to `address` that was alive when last looked at, if one is kept.
    pub(crate) fn take(&self, address: &str, now: Instant) -> Option<Connection> {
        let mut kept = self.kept();
        let idle = kept.get_mut(address)?;
        while let Some(Idle { connection, since }) = idle.pop() {
            if now.duration_since(since) < self.idle_timeout && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection on which nothing is under way; closes it when there are enough.
    pub(crate) fn put(&self, address: &str, connection: Connection, now: Instant) {
        let mut kept = self.kept();
        let idle = Idle { connection, since: now };
        match kept.get_mut(address) {
            Some(others) if others.len() < self.per_instance => others.push(idle),
            Some(_) => {}
            None if self.per_instance > 0 => {
                kept.insert(address.to_owned(), vec![idle]);
            }
            None => {}
        }
    }

    /// Closes what is kept to `address`: one connection died, so the others did.
    pub(crate) fn forget(&self, address: &str) {
        self.kept().remove(address);
    }

    /// Closes what was idle for too long or was closed by its peer, also to instances that are not asked any more, and while
    /// no query is made at all. Once per idle timeout is enough: no connection is then kept for more than two.
    pub(crate) async fn tidy(&self) -> Infallible {
        loop {
            sleep(self.idle_timeout.max(MOMENT)).await;
            self.sweep(Instant::now());
        }
    }

    fn sweep(&self, now: Instant) {
        self.kept().retain(|_, idle| {
            let is_fresh = |idle: &Idle| now.duration_since(idle.since) < self.idle_timeout;
            idle.retain(|idle| is_fresh(idle) && idle.connection.is_quiet());
            !idle.is_empty()
        });
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Vec<Idle>>> {
        // A panic cannot leave it half changed: every change is one call into the collections.
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sweeping takes a lock that every query takes, so it is not done more often than this.
const MOMENT: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use zk_registry::DialPolicy;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    async fn pair(listener: &TcpListener) -> (Connection, tokio::net::TcpStream) {
        let port = listener.local_addr().unwrap().port();
        let policy = DialPolicy::default();
        let (ours, theirs) = tokio::join!(Connection::dial("127.0.0.1", port, &policy), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_it_was_idle_for_too_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = Instant::now();
        let pool = Pool::new(2, IDLE);
        let (ours, _theirs) = pair(&listener).await;
        pool.put("a:1", ours, now);
        assert!(pool.take("b:1", now).is_none());
        let ours = pool.take("a:1", now + IDLE / 2).unwrap();
        pool.put("a:1", ours, now + IDLE / 2);
        assert!(pool.take("a:1", now + 2 * IDLE).is_none());
    }

    #[tokio::test]
    async fn no_more_are_kept_than_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = Instant::now();
        let pool = Pool::new(2, IDLE);
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (ours, theirs) = pair(&listener).await;
            peers.push(theirs);
            pool.put("a:1", ours, now);
        }
        let taken: Vec<_> = std::iter::from_fn(|| pool.take("a:1", now)).collect();
        assert_eq!(taken.len(), 2);
    }

    #[tokio::test]
    async fn a_connection_that_the_peer_closed_is_not_handed_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = Instant::now();
        let pool = Pool::new(2, IDLE);
        let (ours, theirs) = pair(&listener).await;
        drop(theirs);
        while ours.is_quiet() {
            tokio::task::yield_now().await;
        }
        pool.put("a:1", ours, now);
        assert!(pool.take("a:1", now).is_none());
    }

    #[tokio::test]
    async fn connections_to_instances_that_left_are_closed_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = Instant::now();
        let pool = Pool::new(2, IDLE);
        let (gone, _gone) = pair(&listener).await;
        let (used, _used) = pair(&listener).await;
        pool.put("gone:1", gone, now);
        pool.put("used:1", used, now + IDLE / 2);
        pool.sweep(now + IDLE);
        assert_eq!(pool.kept().keys().collect::<Vec<_>>(), ["used:1"]);
    }
}
