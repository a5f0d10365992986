//! The servers: sessions, and what they hear of the tree. All of it, and of the wire, happens in [`State::step`], which is
//! told the time and answers when it has to be called next; nothing here waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::super::{ConnectFault, End, Event, Fault, Op, Stat, State as SessionState};
use super::tree::{Actor, Applied, Change, Identity, Tree, parent};
use super::wire::{Packet, Request, fail, lost};
use super::{Counts, Fate};

/// Everything behind the lock of a cluster.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) clients: Vec<Client>,
    pub(super) sessions: BTreeMap<i64, Session>,
    pub(super) running: bool,
    pub(super) settings: Settings,
    pub(super) counts: Counts,
    /// What becomes of the next write; then the connection is cut.
    pub(super) lose: Option<Fate>,
    /// What the next read, and the next write, is answered with, unexecuted.
    pub(super) refuse_read: Option<Fault>,
    pub(super) refuse_write: Option<Fault>,
    /// Containers that lost their last child, and when they will be looked at.
    abandoned: VecDeque<(Instant, String)>,
    pub(super) rng: StdRng,
    next_session: i64,
}

#[derive(Debug)]
pub(super) struct Settings {
    /// Of a round trip.
    pub(super) latency: Duration,
    /// Between a lost connection and the first attempt to have another.
    pub(super) reconnect_delay: Duration,
    /// What becomes of requests that are under way when a connection is cut.
    pub(super) fate: Fate,
    /// Whether a client that comes back too late silently gets a new session, as ClickHouse Keeper does.
    pub(super) replaces_sessions: bool,
    /// How often abandoned containers are looked for.
    pub(super) container_check: Duration,
}

/// A process that connects; it may have several sessions, one after the other.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) identity: Identity,
    pub(super) network: Network,
    pub(super) refuses: Option<ConnectFault>,
    pub(super) session: Option<i64>,
    /// What the server of this client knows, if that lags behind the leader.
    pub(super) follower: Option<Follower>,
    /// Whether its servers forget to tell its watches.
    pub(super) untold: bool,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub(super) tree: Tree,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Network {
    /// Both ends know that there is no connection.
    Cut,
    /// Nothing comes through, and nobody is told.
    Frozen,
    Up,
}

pub(super) struct Session {
    pub(super) client: usize,
    pub(super) timeout: Duration,
    // The server's half.
    /// The id by which the server knows it.
    pub(super) id: i64,
    pub(super) alive: bool,
    expires: Option<Instant>,
    pub(super) armed: BTreeSet<String>,
    // The wire.
    pub(super) up: VecDeque<(Option<Instant>, Request)>,
    pub(super) down: VecDeque<(Instant, Packet)>,
    // The client's half.
    pub(super) states: watch::Sender<SessionState>,
    heard: Instant,
    retry_at: Instant,
    pub(super) watchers: Vec<(String, mpsc::UnboundedSender<Event>)>,
    pub(super) wake: Arc<Notify>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("alive", &self.alive)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// When a session needs attention again.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// At that time, or when it is woken.
    At(Instant),
    /// Never: both ends have forgotten it.
    Gone,
    /// When it is woken.
    Woken,
}

impl Session {
    pub(super) fn state(&self) -> SessionState {
        *self.states.borrow()
    }

    /// How long the server may be silent: a fifth of the timeout.
    pub(super) fn connection_timeout(&self) -> Duration {
        self.timeout / 5
    }

    /// When the client gives up by itself.
    fn given_up_at(&self) -> Instant {
        self.heard + self.timeout * 7 / 5
    }

    fn announce(&mut self, state: SessionState) {
        let event = match state {
            SessionState::Connected => Event::Connected,
            SessionState::Disconnected => Event::Disconnected,
            SessionState::Over(_) => Event::Over,
        };
        self.watchers.retain(|(_, watcher)| watcher.send(event.clone()).is_ok());
        if event == Event::Over {
            self.watchers.clear();
        }
        self.states.send_replace(state);
    }
}

impl State {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        Self {
            tree: Tree::new(),
            clients: Vec::new(),
            sessions: BTreeMap::new(),
            running: true,
            settings,
            counts: Counts::default(),
            lose: None,
            refuse_read: None,
            refuse_write: None,
            abandoned: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            next_session: 0x1000,
        }
    }

    /// The id of a new session, or why there is none.
    pub(super) fn open(
        &mut self,
        client: usize,
        timeout: Duration,
        now: Instant,
    ) -> Result<i64, ConnectFault> {
        if let Some(fault) = &self.clients[client].refuses {
            return Err(fault.clone());
        }
        if !self.running || self.clients[client].network != Network::Up {
            return Err(ConnectFault::Unavailable("memory: connection refused".to_owned()));
        }
        self.counts.connects += 1;
        let id = self.fresh_session();
        let session = Session {
            client,
            timeout,
            id,
            alive: true,
            expires: None,
            armed: BTreeSet::new(),
            up: VecDeque::new(),
            down: VecDeque::new(),
            states: watch::Sender::new(SessionState::Connected),
            heard: now,
            retry_at: now,
            watchers: Vec::new(),
            wake: Arc::new(Notify::new()),
        };
        self.sessions.insert(id, session);
        self.clients[client].session = Some(id);
        Ok(id)
    }

    fn fresh_session(&mut self) -> i64 {
        self.tree.tick();
        self.next_session += 1;
        self.next_session
    }

    /// The sessions, by the key under which they began.
    pub(super) fn keys(&self) -> Vec<i64> {
        self.sessions.keys().copied().collect()
    }

    /// The key of the session that has this id now.
    pub(super) fn key(&self, id: i64) -> Option<i64> {
        self.sessions.iter().find(|(_, session)| session.id == id).map(|(key, _)| *key)
    }

    /// Gives every session that is not connected its whole timeout again.
    pub(super) fn renew(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            session.expires = session.expires.map(|_| now + session.timeout);
            session.wake.notify_one();
        }
    }

    pub(super) fn set_network(&mut self, client: usize, network: Network, now: Instant) {
        self.clients[client].network = network;
        for key in self.keys() {
            let Some(session) = self.sessions.get_mut(&key).filter(|session| session.client == client) else {
                continue;
            };
            match network {
                Network::Cut => self.disconnect(key, now, now),
                Network::Frozen if session.state() == SessionState::Connected => {
                    session.heard = now;
                    session.expires = Some(now + session.timeout);
                }
                Network::Up if session.state() == SessionState::Connected => session.expires = None,
                Network::Frozen | Network::Up => {}
            }
            if let Some(session) = self.sessions.get(&key) {
                session.wake.notify_one();
            }
        }
    }

    /// Does everything that is due for a session.
    pub(super) fn step(&mut self, key: i64, now: Instant) -> Next {
        self.reap(now);
        let Some(session) = self.sessions.get(&key) else { return Next::Gone };
        if self.running && session.alive && session.expires.is_some_and(|at| at <= now) {
            self.end_session(key, now);
        }
        self.reconsider(key, now);
        self.carry(key, now);
        self.next(key)
    }

    fn next(&mut self, key: i64) -> Next {
        let Some(session) = self.sessions.get(&key) else { return Next::Gone };
        let network = self.clients[session.client].network;
        let expires = session.expires.filter(|_| session.alive && self.running);
        let local = match session.state() {
            SessionState::Connected if network == Network::Frozen => {
                Some(session.heard + session.connection_timeout())
            }
            SessionState::Connected => {
                let up = session.up.front().and_then(|(at, _)| *at);
                let down = session.down.front().map(|(at, _)| *at);
                up.into_iter().chain(down).min()
            }
            SessionState::Disconnected if network == Network::Up && self.running => Some(session.retry_at),
            SessionState::Disconnected => Some(session.given_up_at()),
            SessionState::Over(_) if session.alive => None,
            SessionState::Over(_) => {
                self.sessions.remove(&key);
                return Next::Gone;
            }
        };
        let reap = self.abandoned.front().map(|(at, _)| *at);
        expires.into_iter().chain(local).chain(reap).min().map_or(Next::Woken, Next::At)
    }

    /// What the client's end concludes from the time and the network.
    fn reconsider(&mut self, key: i64, now: Instant) {
        let Some(session) = self.sessions.get(&key) else { return };
        let network = self.clients[session.client].network;
        match session.state() {
            SessionState::Connected
                if network == Network::Frozen && now >= session.heard + session.connection_timeout() =>
            {
                self.disconnect(key, session.heard, now);
            }
            SessionState::Disconnected if now >= session.given_up_at() => {
                self.end(key, End::Expired, now);
            }
            SessionState::Disconnected
                if network == Network::Up && self.running && now >= session.retry_at =>
            {
                self.reconnect(key, now);
            }
            _ => {}
        }
    }

    fn reconnect(&mut self, key: i64, now: Instant) {
        let half = self.settings.latency / 2;
        let alive = self.sessions.get(&key).is_some_and(|session| session.alive);
        let id = match alive {
            true => None,
            false if self.settings.replaces_sessions => Some(self.fresh_session()),
            false => return self.end(key, End::Expired, now),
        };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.id = id.unwrap_or(session.id);
        session.alive = true;
        session.expires = None;
        session.armed.clear();
        session.announce(SessionState::Connected);
        for (at, _) in &mut session.up {
            *at = Some(now + half);
        }
    }

    /// The connection is gone, and the client knows. `heard`: when the server last heard of it.
    pub(super) fn disconnect(&mut self, key: i64, heard: Instant, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.state() != SessionState::Connected {
            return;
        }
        session.heard = heard;
        session.retry_at = now + self.settings.reconnect_delay;
        session.expires = Some(heard + session.timeout);
        session.announce(SessionState::Disconnected);
        self.lose_in_flight(key, lost(), now);
        if let Some(session) = self.sessions.get(&key) {
            session.wake.notify_one();
        }
    }

    /// The session is over at the client's end, whatever the server thinks.
    pub(super) fn end(&mut self, key: i64, end: End, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let SessionState::Over(_) = session.state() {
            return;
        }
        if session.expires.is_none() {
            session.expires = Some(now + session.timeout);
        }
        session.announce(SessionState::Over(end));
        self.lose_in_flight(key, Fault::Over, now);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        for (_, request) in std::mem::take(&mut session.up) {
            fail(request, Fault::Over);
        }
        session.wake.notify_one();
    }

    /// The server ends a session: its nodes go, and a connected client is thrown out.
    pub(super) fn end_session(&mut self, key: i64, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if !std::mem::replace(&mut session.alive, false) {
            return;
        }
        session.armed.clear();
        let id = session.id;
        let changes = self.tree.disown(id);
        self.publish(changes, now);
        self.disconnect(key, now, now);
    }

    /// The server ends a session because its client asked for it.
    pub(super) fn close_session(&mut self, key: i64, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.alive = false;
        let id = session.id;
        let changes = self.tree.disown(id);
        self.publish(changes, now);
    }

    /// One transaction of a session.
    pub(super) fn commit(
        &mut self,
        key: i64,
        ops: &[Op],
        now: Instant,
    ) -> Result<Vec<Option<Stat>>, (usize, Fault)> {
        let Some(session) = self.sessions.get(&key) else { return Err((0, Fault::Over)) };
        let identity = &self.clients[session.client].identity;
        let Applied { stats, changes } = self.tree.apply(Actor { session: session.id, identity }, ops)?;
        self.counts.transactions += 1;
        self.counts.writes += ops.len() as u64;
        let client = session.client;
        self.publish(changes, now);
        self.catch_up(client, now);
        Ok(stats)
    }

    /// Tells the watches, as far as their servers know already, and looks after containers that lost a child.
    pub(super) fn publish(&mut self, changes: Vec<Change>, now: Instant) {
        let abandoned: BTreeSet<_> = changes
            .iter()
            .map(|change| parent(&change.path))
            .filter(|path| self.tree.is_abandoned(path))
            .collect();
        if !abandoned.is_empty() {
            let at = now + self.settings.container_check;
            self.abandoned.extend(abandoned.into_iter().map(|path| (at, path.to_owned())));
            self.sessions.values().for_each(|session| session.wake.notify_one());
        }
        for client in 0..self.clients.len() {
            match &mut self.clients[client].follower {
                Some(follower) => follower.changes.extend(changes.iter().cloned()),
                None => self.notify(client, &changes, now),
            }
        }
    }

    /// Removes the containers whose time has come.
    pub(super) fn reap(&mut self, now: Instant) {
        while self.abandoned.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, path)) = self.abandoned.pop_front() else { return };
            if self.tree.is_abandoned(&path) {
                let changes = self.tree.remove_container(&path);
                self.publish(changes, now);
            }
        }
    }

    fn notify(&mut self, client: usize, changes: &[Change], now: Instant) {
        if self.clients[client].untold {
            return;
        }
        let at = now + self.settings.latency / 2;
        let identity = &self.clients[client].identity;
        for session in self.sessions.values_mut().filter(|session| session.client == client && session.alive)
        {
            for change in changes.iter().filter(|change| change.readable_by(identity)) {
                if session.armed.iter().any(|root| covers(root, &change.path)) {
                    session.down.push_back((at, Packet::Event(change.path.clone())));
                    session.wake.notify_one();
                }
            }
        }
    }

    /// From now on a client is served by a server that learns nothing more, until it is told to `sync` or to write.
    pub(super) fn lag(&mut self, client: usize) {
        let tree = self.tree.clone();
        self.clients[client].follower.get_or_insert(Follower { tree, changes: Vec::new() });
    }

    pub(super) fn catch_up(&mut self, client: usize, now: Instant) {
        if let Some(follower) = self.clients[client].follower.take() {
            self.notify(client, &follower.changes, now);
        }
    }
}

/// Whether a watch on `root` hears of `path`.
pub(super) fn covers(root: &str, path: &str) -> bool {
    root == "/" || path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
