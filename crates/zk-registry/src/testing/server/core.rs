//! What all connections of a server share, and what each of them has yet to be sent. Nothing here waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::options::{Frozen, ServerOptions};
use super::{decode, encode};
use crate::store::memory::engine::record::Request;
use crate::store::memory::engine::{ConnectionId, Effect, Engine, Settings};

/// What all connections share.
pub(super) struct Core {
    pub(super) engine: Engine,
    pub(super) member: usize,
    pub(super) connections: BTreeMap<ConnectionId, Attached>,
    pub(super) last_connection: ConnectionId,
    pub(super) refuses: bool,
    pub(super) lose: bool,
    pub(super) delay: Duration,
    pub(super) frozen: watch::Sender<Frozen>,
    pub(super) tick: Duration,
    pub(super) longest_timeout: Duration,
    /// How many packets came and went.
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// A connection of a session.
pub(super) struct Attached {
    pub(super) outbox: Arc<Outbox>,
    pub(super) peer: SocketAddr,
    pub(super) session: i64,
}

/// What one connection has yet to be sent.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Mutex<Vec<u8>>,
    pub(super) filled: Notify,
    pub(super) drained: Notify,
    /// Nothing more is put in: it is sent, and the connection is closed.
    pub(super) finished: CancellationToken,
    /// The connection is closed at once.
    pub(super) cut: CancellationToken,
}

impl Core {
    pub(super) fn new(options: ServerOptions) -> Self {
        let longest_timeout = options.longest_timeout.unwrap_or(options.tick * 20);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(wall.as_secs()).unwrap_or_default();
        let wall = i64::try_from(wall.as_millis()).unwrap_or_default();
        let mut engine = Engine::new(Settings {
            began: Instant::now(),
            wall,
            // Later than all of an earlier life, as an election's epoch is: a client that has seen that life is not stranded.
            zxid: seconds << 32,
            session: 1 << 56 | (wall & 0xff_ffff_ffff) << 16,
            tick: options.tick,
            longest_timeout,
            container_check: options.container_interval,
            superuser: options.superuser,
        });
        let member = engine.add_member();
        Self {
            engine,
            member,
            connections: BTreeMap::new(),
            last_connection: 0,
            refuses: false,
            lose: false,
            delay: Duration::ZERO,
            frozen: watch::Sender::new(Frozen::default()),
            tick: options.tick,
            longest_timeout,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn cut(&mut self) {
        for (connection, attached) in std::mem::take(&mut self.connections) {
            attached.outbox.cut.cancel();
            self.engine.disconnect(connection);
        }
    }

    /// Sends on their way what the engine has caused.
    pub(super) fn dispatch(&mut self) {
        for effect in self.engine.effects() {
            match effect {
                Effect::Close(connection) => {
                    if let Some(attached) = self.connections.remove(&connection) {
                        attached.outbox.finished.cancel();
                    }
                }
                Effect::Event(connection, event) => {
                    if let Some(attached) = self.connections.get(&connection) {
                        self.sent += 1;
                        attached.outbox.put(&encode::event(&event));
                    }
                }
            }
        }
    }

    /// Answers a packet. `false`: the connection is over.
    pub(super) fn packet(&mut self, connection: ConnectionId, session: i64, packet: &[u8]) -> bool {
        let now = Instant::now();
        let Some((xid, request)) = decode::request(packet) else { return false };
        let attached = self.connections.get(&connection);
        let Some(outbox) = attached.map(|attached| attached.outbox.clone()) else { return false };
        self.received += 1;
        self.engine.touch(session, now);
        let reply = self.engine.request(connection, &request, now);
        self.dispatch();
        if request.writes() && request != Request::CloseSession && std::mem::take(&mut self.lose) {
            outbox.cut.cancel();
            return false;
        }
        self.sent += 1;
        outbox.put(&encode::reply(xid, &reply));
        !reply.closes
    }
}

impl Outbox {
    pub(super) fn put(&self, frame: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > MOST_EVENTS {
            // A client that does not read what it has asked to be told.
            self.cut.cancel();
            return;
        }
        bytes.extend_from_slice(frame);
        self.filled.notify_one();
    }

    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len() > MOST_REPLIES
    }
}

/// A panic of another thread leaves nothing half done.
pub(super) fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No further request is read while so much is yet to be sent.
const MOST_REPLIES: usize = 4 << 20;
/// A connection is cut that does not take its events.
const MOST_EVENTS: usize = 64 << 20;
