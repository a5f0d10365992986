//! What is due for a session at a time: its network, its server and its own client carry it on. Nothing here waits;
//! [`State::step`] is told the time and answers when it has to be called next.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::{ConnectFault, End, Fault, State as SessionState};
use super::engine::record;
use super::engine::{self, ConnectionId, Greeting, Hello};
use super::fault::Fate;
use super::server::{Network, Process, State, lost};
use super::session::ClientSession;
use super::wire::{Arrival, Packet, Request, Wire};

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

impl State {
    /// The id of a new session, or why there is none.
    pub(super) fn open(
        &mut self,
        process: usize,
        timeout: Duration,
        now: Instant,
    ) -> Result<i64, ConnectFault> {
        if let Some(fault) = &self.processes[process].refuses {
            return Err(fault.clone());
        }
        let refused = || ConnectFault::Unavailable("memory: connection refused".to_owned());
        if !self.running || !self.processes[process].lets_connect() {
            return Err(refused());
        }
        let hello = Hello { last_zxid: 0, timeout, session: 0, password: &[] };
        let Some((id, connection, password)) = self.connect(process, hello, now) else {
            return Err(refused());
        };
        self.counts.connects += 1;
        let session = ClientSession {
            process,
            timeout,
            id,
            password,
            connection: Some(connection),
            wire: Wire::default(),
            states: watch::Sender::new(SessionState::Connected),
            heard: now,
            retry_at: now,
            watchers: Vec::new(),
            wake: Arc::new(Notify::new()),
        };
        self.sessions.insert(id, session);
        self.connections.insert(connection, id);
        self.processes[process].session = Some(id);
        Ok(id)
    }

    /// A connection of a new session, or of the one that is asked for, if the servers still know it.
    fn connect(
        &mut self,
        process: usize,
        hello: Hello<'_>,
        now: Instant,
    ) -> Option<(i64, ConnectionId, engine::Password)> {
        let Process { member, user, .. } = &self.processes[process];
        self.next_connection += 1;
        let connection = self.next_connection;
        match self.engine.connect(connection, *member, LOCALHOST, hello, now) {
            Greeting::Accepted { session, password, .. } => {
                self.engine.hold(session);
                if let Some(user) = user {
                    let auth = credentials(user);
                    let asked = record::Request::Auth { scheme: "digest".to_owned(), auth: Some(auth) };
                    self.engine.request(connection, &asked, now);
                }
                Some((session, connection, password))
            }
            Greeting::Ahead | Greeting::Expired => None,
        }
    }

    pub(super) fn set_network(&mut self, process: usize, network: Network, now: Instant) {
        self.processes[process].network = network;
        for key in self.keys() {
            let Some(session) = self.sessions.get_mut(&key).filter(|session| session.process == process)
            else {
                continue;
            };
            let connected = session.state() == SessionState::Connected;
            match network {
                Network::Cut | Network::Greeting => self.disconnect(key, now, now),
                Network::Frozen if connected => {
                    session.heard = now;
                    self.engine.touch(session.id, now);
                }
                Network::Up if connected => self.engine.hold(session.id),
                Network::Frozen | Network::Up => {}
            }
            if let Some(session) = self.sessions.get(&key) {
                session.wake.notify_one();
            }
        }
    }

    /// Does everything that is due for a session.
    pub(super) fn step(&mut self, key: i64, now: Instant) -> Next {
        self.advance(now);
        let Some(session) = self.sessions.get(&key) else { return Next::Gone };
        let id = session.id;
        if self.running && self.engine.expires(id).is_some_and(|at| at <= now) {
            self.expire(id, now);
        }
        self.reconsider(key, now);
        self.carry(key, now);
        self.next(key)
    }

    /// Does what the servers do by themselves.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.delayed.front().is_some_and(|delayed| delayed.at <= now) {
            self.commit_first_delayed(now);
        }
        self.engine.inspect(now);
        self.dispatch(now);
    }

    fn next(&mut self, key: i64) -> Next {
        let Some(session) = self.sessions.get(&key) else { return Next::Gone };
        let network = self.processes[session.process].network;
        let expires = self.engine.expires(session.id).filter(|_| self.running);
        let local = match session.state() {
            SessionState::Connected if network == Network::Frozen => {
                Some(session.heard + session.connection_timeout())
            }
            SessionState::Connected => session.wire.next(),
            SessionState::Disconnected if self.running && self.processes[session.process].lets_connect() => {
                Some(session.retry_at)
            }
            SessionState::Disconnected => Some(session.given_up_at()),
            SessionState::Over(_) if self.engine.timeout(session.id).is_some() => None,
            SessionState::Over(_) => {
                self.sessions.remove(&key);
                return Next::Gone;
            }
        };
        let delayed = self.delayed.front().map(|delayed| delayed.at);
        let all = expires.into_iter().chain(local).chain(delayed).chain(self.engine.next_inspection());
        all.min().map_or(Next::Woken, Next::At)
    }

    /// What the client's end concludes from the time and the network.
    fn reconsider(&mut self, key: i64, now: Instant) {
        let Some(session) = self.sessions.get(&key) else { return };
        let process = &self.processes[session.process];
        match session.state() {
            SessionState::Connected
                if process.network == Network::Frozen
                    && now >= session.heard + session.connection_timeout() =>
            {
                self.disconnect(key, session.heard, now);
            }
            SessionState::Disconnected if now >= session.given_up_at() => {
                self.end(key, End::Expired, now);
            }
            SessionState::Disconnected
                if process.lets_connect() && self.running && now >= session.retry_at =>
            {
                self.reconnect(key, now);
            }
            _ => {}
        }
    }

    fn reconnect(&mut self, key: i64, now: Instant) {
        let Some(session) = self.sessions.get(&key) else { return };
        let (process, timeout, password) = (session.process, session.timeout, session.password);
        let hello = Hello { last_zxid: 0, timeout, session: session.id, password: &password };
        let mut connected = self.connect(process, hello, now);
        if connected.is_none() && self.settings.replaces_sessions {
            connected = self.connect(process, Hello { session: 0, ..hello }, now);
        }
        let Some((id, connection, password)) = connected else { return self.end(key, End::Expired, now) };
        self.connections.insert(connection, key);
        let half = self.settings.latency / 2;
        let Some(session) = self.sessions.get_mut(&key) else { return };
        (session.id, session.password, session.connection) = (id, password, Some(connection));
        session.announce(SessionState::Connected);
        session.wire.connected(now + half);
    }

    /// The servers end a session: its nodes go, and a connected client is thrown out.
    pub(super) fn expire(&mut self, id: i64, now: Instant) {
        self.commit_delayed(now);
        self.engine.expire(id, now);
        self.dispatch(now);
    }

    /// Sends a request, or keeps it until there is a connection.
    pub(super) fn send(&mut self, key: i64, request: Request, now: Instant) {
        let half = self.settings.latency / 2;
        let Some(session) = self.sessions.get_mut(&key) else { return request.fail(Fault::Over) };
        match session.state() {
            SessionState::Over(_) => request.fail(Fault::Over),
            SessionState::Connected => session.wire.send(request, Some(now + half)),
            SessionState::Disconnected => session.wire.send(request, None),
        }
        session.wake.notify_one();
    }

    /// Lets arrive what is due to arrive, at either end.
    fn carry(&mut self, key: i64, now: Instant) {
        loop {
            let Some(session) = self.sessions.get_mut(&key) else { return };
            let (process, connected) = (session.process, session.state() == SessionState::Connected);
            match self.processes[process].network {
                Network::Cut | Network::Frozen => return,
                Network::Greeting if connected && session.wire.has_request(now) => {
                    return self.set_network(process, Network::Cut, now);
                }
                Network::Greeting | Network::Up if !connected => return,
                Network::Greeting | Network::Up => {}
            }
            match session.wire.arrival(now) {
                Some(Arrival::Down(packet)) => self.deliver(key, packet, now),
                Some(Arrival::Up(request)) => self.arrive(key, request, now),
                None => return,
            }
        }
    }

    fn arrive(&mut self, key: i64, request: Request, now: Instant) {
        let lose = if request.asked.writes() { self.lose.take() } else { None };
        let Some(fate) = lose else { return self.execute(key, request, now) };
        let executed = fate == Fate::Executed || fate == Fate::Random && self.rng.random_bool(0.5);
        if executed {
            self.execute(key, request, now);
            self.disconnect(key, now, now);
        } else {
            if let Fate::Delayed(delay) = fate {
                self.delay(key, &request, now + delay);
            }
            self.disconnect(key, now, now);
            request.fail(lost());
        }
    }

    /// Executes a transaction of no session.
    pub(super) fn administer(
        &mut self,
        session: i64,
        user: Option<&str>,
        write: &record::Write,
        now: Instant,
    ) -> bool {
        self.commit_delayed(now);
        let ids: Vec<_> = user.map(|user| engine::digest_id(&credentials(user))).into_iter().collect();
        let done = self.engine.administer(session, &ids, write, now).is_ok();
        self.dispatch(now);
        done
    }

    fn deliver(&mut self, key: i64, packet: Packet, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return packet.fail(Fault::Over) };
        match packet {
            Packet::Closed => self.end(key, End::Closed, now),
            Packet::Event(path) => {
                self.counts.events += 1;
                session.hear(&path);
            }
            Packet::Reply(answer, to) => {
                session.watchers.extend(to.watcher.filter(|_| answer.is_ok()));
                if let Some(resolve) = to.resolve {
                    resolve(answer);
                }
            }
        }
    }
}

/// The credentials of a user: all of them have the same password.
fn credentials(user: &str) -> Bytes {
    format!("{user}:memory").into()
}

/// Where all clients are.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
