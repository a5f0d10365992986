//! Sessions as the servers know them: ids, passwords, timeouts. A session outlives its connections.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::watches::ConnectionId;

/// The sessions by their ids.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) all: BTreeMap<i64, ServerSession>,
    last: i64,
    /// Expiry is looked for once in this time; zero: a session expires exactly when it is due.
    tick: Duration,
    shortest: Duration,
    longest: Duration,
    began: Instant,
}

/// One session.
#[derive(Debug)]
pub(super) struct ServerSession {
    pub(super) timeout: Duration,
    pub(super) connection: Option<ConnectionId>,
    /// `None`: its client is heard all the time.
    pub(super) expires: Option<Instant>,
}

/// What proves that a client was given a session.
pub(crate) type Password = [u8; 16];

impl Sessions {
    pub(super) fn new(first: i64, tick: Duration, longest: Duration, began: Instant) -> Self {
        let shortest = tick * 2;
        Self { all: BTreeMap::new(), last: first, tick, shortest, longest: longest.max(shortest), began }
    }

    /// A new session of this connection, and its id.
    pub(super) fn open(&mut self, asked: Duration, connection: ConnectionId, now: Instant) -> i64 {
        self.last = self.last.wrapping_add(1);
        let timeout = self.granted(asked);
        let expires = Some(self.due(timeout, now));
        self.all.insert(self.last, ServerSession { timeout, connection: Some(connection), expires });
        self.last
    }

    pub(super) fn granted(&self, asked: Duration) -> Duration {
        asked.clamp(self.shortest, self.longest)
    }

    /// The session's client was heard.
    pub(super) fn touch(&mut self, session: i64, now: Instant) {
        if let Some(timeout) = self.all.get(&session).map(|session| session.timeout) {
            let expires = Some(self.due(timeout, now));
            if let Some(session) = self.all.get_mut(&session) {
                session.expires = expires;
            }
        }
    }

    /// Every session that is not heard all the time gets its whole timeout again.
    pub(super) fn renew(&mut self, now: Instant) {
        let silent = self.all.iter().filter(|(_, session)| session.expires.is_some()).map(|(id, _)| *id);
        for session in silent.collect::<Vec<_>>() {
            self.touch(session, now);
        }
    }

    /// The sessions that have expired.
    pub(super) fn due_at(&self, now: Instant) -> Vec<i64> {
        let due = |session: &ServerSession| session.expires.is_some_and(|at| at <= now);
        self.all.iter().filter(|(_, session)| due(session)).map(|(id, _)| *id).collect()
    }

    fn due(&self, timeout: Duration, now: Instant) -> Instant {
        let at = now + timeout;
        if self.tick.is_zero() {
            return at;
        }
        let ticks = at.duration_since(self.began).as_nanos() / self.tick.as_nanos() + 1;
        self.began + self.tick * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// The password of a session; whatever follows from the id alone would do, for nothing here is secret.
pub(super) fn password(session: i64) -> Password {
    let mut password = [0; 16];
    let mut state = session.cast_unsigned();
    for half in password.chunks_exact_mut(8) {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        half.copy_from_slice(&(mixed ^ mixed >> 31).to_be_bytes());
    }
    password
}
