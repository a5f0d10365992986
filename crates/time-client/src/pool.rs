//! Connections that are kept between queries: a bounded number per instance, for a bounded time.
//!
//! The pool opens and asks nothing. It hands out the connection that was used last, because that one is the least likely
//! to have died; one that is known to have died is never handed out.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::connect::Connection;

/// Idle connections by the address that they were opened to.
#[derive(Debug)]
pub(crate) struct Pool {
    per_instance: usize,
    idle_timeout: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    by_address: HashMap<String, Vec<Idle>>,
    swept: Instant,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// Keeps at most `per_instance` connections to each instance, none of them idle for longer than `idle_timeout`.
    pub(crate) fn new(per_instance: usize, idle_timeout: Duration, now: Instant) -> Self {
        let kept = Kept { by_address: HashMap::new(), swept: now };
        Self { per_instance, idle_timeout, kept: Mutex::new(kept) }
    }

    /// A connection to `address` that was alive when last looked at, if one is kept.
    pub(crate) fn take(&self, address: &str, now: Instant) -> Option<Connection> {
        let mut kept = self.kept();
        let idle = kept.by_address.get_mut(address)?;
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
        self.sweep(&mut kept, now);
        let idle = Idle { connection, since: now };
        match kept.by_address.get_mut(address) {
            Some(others) if others.len() < self.per_instance => others.push(idle),
            Some(_) => {}
            None if self.per_instance > 0 => {
                kept.by_address.insert(address.to_owned(), vec![idle]);
            }
            None => {}
        }
    }

    /// Closes what is kept to `address`: one connection died, so the others did.
    pub(crate) fn forget(&self, address: &str) {
        self.kept().by_address.remove(address);
    }

    /// Closes what was idle for too long, also to instances that nobody asks any more. Once per idle timeout is enough:
    /// no connection is then kept for more than two.
    fn sweep(&self, kept: &mut Kept, now: Instant) {
        if now.duration_since(kept.swept) >= self.idle_timeout {
            kept.swept = now;
            kept.by_address.retain(|_, idle| {
                idle.retain(|idle| now.duration_since(idle.since) < self.idle_timeout);
                !idle.is_empty()
            });
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A panic cannot leave it half changed: every change is one call into the collections.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    async fn pair(listener: &TcpListener) -> (Connection, tokio::net::TcpStream) {
        let port = listener.local_addr().unwrap().port();
        let (ours, theirs) = tokio::join!(Connection::open("127.0.0.1", port), listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_it_was_idle_for_too_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let now = Instant::now();
        let pool = Pool::new(2, IDLE, now);
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
        let pool = Pool::new(2, IDLE, now);
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
        let pool = Pool::new(2, IDLE, now);
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
        let pool = Pool::new(2, IDLE, now);
        let (gone, _gone) = pair(&listener).await;
        let (used, _used) = pair(&listener).await;
        pool.put("gone:1", gone, now);
        pool.put("used:1", used, now + IDLE);
        assert_eq!(pool.kept().by_address.len(), 1);
    }
}
