//! The simulation: clients, their networks, and the servers' engine. Everything happens in [`State::step`], which is told the
//! time and answers when it has to be called next; nothing here waits.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::super::{ConnectFault, End, Fault, State as SessionState};
use super::engine::record::{self, Answer, Reply};
use super::engine::{self, ConnectionId, Effect, Engine, Greeting, Hello};
use super::fault::{Counts, Fate, Refusal, refused};
use super::session::ClientSession;
use super::wire::{Arrival, Packet, Request, Wire};
use super::words;

/// Everything behind the lock of a cluster.
#[derive(Debug)]
pub(super) struct State {
    pub(super) engine: Engine,
    pub(super) processes: Vec<Process>,
    /// By the ids under which they began.
    pub(super) sessions: BTreeMap<i64, ClientSession>,
    pub(super) running: bool,
    pub(super) settings: Settings,
    pub(super) counts: Counts,
    /// What becomes of the next write; then the connection is cut.
    pub(super) lose: Option<Fate>,
    /// What reads, and what writes, are answered with, unexecuted.
    pub(super) refuse_reads: Option<Refusal>,
    pub(super) refuse_writes: Option<Refusal>,
    /// Writes that were sent on a connection that is lost, and are yet to be committed.
    delayed: VecDeque<Delayed>,
    /// The sessions' keys by their connections.
    connections: BTreeMap<ConnectionId, i64>,
    /// When the engine's next inspection was due the last time that it was asked.
    inspection: Option<Instant>,
    next_connection: ConnectionId,
    rng: StdRng,
}

#[derive(Debug)]
struct Delayed {
    at: Instant,
    connection: ConnectionId,
    asked: record::Request,
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
}

/// A process that connects; it may have several sessions, one after the other. Each has a server of its own.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) user: Option<String>,
    pub(super) network: Network,
    pub(super) refuses: Option<ConnectFault>,
    pub(super) session: Option<i64>,
    pub(super) member: usize,
    /// Whether its servers forget to tell its watches.
    pub(super) untold: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Network {
    /// Both ends know that there is no connection.
    Cut,
    /// Nothing comes through, and no end is told.
    Frozen,
    /// A connection can be had; it is cut, as is the network, when the first request arrives on it.
    Greeting,
    Up,
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

impl State {
    pub(super) fn new(seed: u64, settings: Settings, container_check: Duration) -> Self {
        let engine = Engine::new(engine::Settings {
            began: Instant::now(),
            wall: 0,
            zxid: 0,
            session: 0x1000,
            tick: Duration::ZERO,
            container_check,
        });
        Self {
            engine,
            processes: Vec::new(),
            sessions: BTreeMap::new(),
            running: true,
            settings,
            counts: Counts::default(),
            lose: None,
            refuse_reads: None,
            refuse_writes: None,
            delayed: VecDeque::new(),
            connections: BTreeMap::new(),
            inspection: None,
            next_connection: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    pub(super) fn add_process(&mut self, user: Option<&str>) -> usize {
        let member = self.engine.add_member();
        self.processes.push(Process {
            user: user.map(str::to_owned),
            network: Network::Up,
            refuses: None,
            session: None,
            member,
            untold: false,
        });
        self.processes.len() - 1
    }

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
                    let asked = record::Request::Auth { scheme: "digest".to_owned(), auth };
                    self.engine.request(connection, &asked, now);
                }
                Some((session, connection, password))
            }
            Greeting::Ahead | Greeting::Expired => None,
        }
    }

    /// The sessions, by the key under which they began.
    pub(super) fn keys(&self) -> Vec<i64> {
        self.sessions.keys().copied().collect()
    }

    /// Gives every session that is not connected its whole timeout again.
    pub(super) fn renew(&mut self, now: Instant) {
        self.engine.renew(now);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.sessions.values().for_each(|session| session.wake.notify_one());
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

    /// The connection is gone, and the client knows. `heard`: when the server last heard of it.
    pub(super) fn disconnect(&mut self, key: i64, heard: Instant, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.state() != SessionState::Connected {
            return;
        }
        session.heard = heard;
        session.retry_at = now + self.settings.reconnect_delay;
        session.announce(SessionState::Disconnected);
        self.engine.touch(session.id, heard);
        self.lose_in_flight(key, &lost(), now);
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
        session.announce(SessionState::Over(end));
        if self.engine.expires(session.id).is_none() {
            self.engine.touch(session.id, now);
        }
        self.lose_in_flight(key, &Fault::Over, now);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        for request in session.wire.unsent() {
            request.fail(Fault::Over);
        }
        session.wake.notify_one();
    }

    /// The servers end a session: its nodes go, and a connected client is thrown out.
    pub(super) fn expire(&mut self, id: i64, now: Instant) {
        self.commit_delayed(now);
        self.engine.expire(id, now);
        self.dispatch(now);
    }

    // The wire.

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

    /// Executes a request, if the server still knows the session. The answer is on its way then.
    fn execute(&mut self, key: i64, request: Request, now: Instant) {
        let Some(session) = self.sessions.get(&key) else { return request.fail(Fault::Over) };
        let (connection, known) = (session.connection, self.engine.timeout(session.id).is_some());
        let Some(connection) = connection.filter(|_| known) else { return request.fail(lost()) };
        let Request { asked, to } = request;
        let packet = if asked == record::Request::CloseSession {
            self.ask(connection, &asked, now);
            Packet::Closed
        } else {
            let refusal = if asked.writes() { &mut self.refuse_writes } else { &mut self.refuse_reads };
            let answer = match refused(refusal, now) {
                Some(fault) => Err(fault),
                None => self.answer(connection, &asked, now),
            };
            Packet::Reply(answer, to)
        };
        let half = self.settings.latency / 2;
        if let Some(session) = self.sessions.get_mut(&key) {
            session.wire.answer(packet, now + half);
        }
    }

    fn answer(
        &mut self,
        connection: ConnectionId,
        asked: &record::Request,
        now: Instant,
    ) -> Result<Answer, Fault> {
        match asked {
            record::Request::Sync(_) | record::Request::AddWatch { .. } => {}
            asked => self.counts.reads += u64::from(!asked.writes()),
        }
        match self.ask(connection, asked, now).result.map_err(words::fault)? {
            Answer::Refused { index, code, .. } => {
                Err(Fault::Multi { index, fault: Box::new(words::fault(code)) })
            }
            answer => {
                self.counts.transactions += u64::from(asked.writes());
                self.counts.writes += match (asked, &answer) {
                    (_, Answer::Multi(all)) if asked.writes() => all.len() as u64,
                    (asked, _) => u64::from(asked.writes()),
                };
                Ok(answer)
            }
        }
    }

    /// Has the engine execute a request; what it causes is on its way then.
    fn ask(&mut self, connection: ConnectionId, asked: &record::Request, now: Instant) -> Reply {
        if asked.writes() || matches!(asked, record::Request::Sync(_)) {
            self.commit_delayed(now);
        }
        let reply = self.engine.request(connection, asked, now);
        self.dispatch(now);
        reply
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

    /// Sends on their way what the engine has caused: events, and ends of connections.
    pub(super) fn dispatch(&mut self, now: Instant) {
        let at = now + self.settings.latency / 2;
        for effect in self.engine.effects() {
            let (Effect::Close(connection) | Effect::Event(connection, _)) = &effect;
            let Some(key) = self.connections.get(connection).copied() else { continue };
            match effect {
                Effect::Close(_) => self.disconnect(key, now, now),
                Effect::Event(_, event) => {
                    let Some(session) = self.sessions.get_mut(&key) else { continue };
                    if !self.processes[session.process].untold {
                        session.wire.answer(Packet::Event(event.path.to_string()), at);
                        session.wake.notify_one();
                    }
                }
            }
        }
        // The sessions' drivers wait for the next inspection, too.
        let inspection = self.engine.next_inspection();
        if std::mem::replace(&mut self.inspection, inspection) != inspection {
            self.wake_all();
        }
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

    /// The connection took these with it: the first of the requests may have been executed, no reply comes back.
    fn lose_in_flight(&mut self, key: i64, fault: &Fault, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let sent = session.wire.cut();
        let executed = match self.settings.fate {
            Fate::Delayed(_) | Fate::Lost => 0,
            Fate::Executed => sent.len(),
            Fate::Random => self.rng.random_range(0..=sent.len()),
        };
        let mut unexecuted = Vec::new();
        for (n, request) in sent.into_iter().enumerate() {
            if n < executed {
                self.execute(key, request, now);
                continue;
            }
            if let Fate::Delayed(delay) = self.settings.fate {
                self.delay(key, &request, now + delay);
            }
            unexecuted.push(request);
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let unheard = session.wire.unheard();
        if let Some(connection) = session.connection.take() {
            self.connections.remove(&connection);
            match self.delayed.iter().any(|delayed| delayed.connection == connection) {
                true => self.engine.detach(connection),
                false => self.engine.disconnect(connection),
            }
        }
        unheard.into_iter().for_each(|packet| packet.fail(fault.clone()));
        unexecuted.into_iter().for_each(|request| request.fail(fault.clone()));
    }

    // Writes that are committed after their connection was lost.

    fn delay(&mut self, key: i64, request: &Request, at: Instant) {
        let connection = self.sessions.get(&key).and_then(|session| session.connection);
        if let Some(connection) = connection.filter(|_| request.asked.writes()) {
            self.delayed.push_back(Delayed { at, connection, asked: request.asked.clone() });
            self.wake_all();
        }
    }

    /// Commits them all: the leader has ordered them before whatever comes now.
    pub(super) fn commit_delayed(&mut self, now: Instant) {
        while !self.delayed.is_empty() {
            self.commit_first_delayed(now);
        }
    }

    fn commit_first_delayed(&mut self, now: Instant) {
        let Some(Delayed { connection, asked, .. }) = self.delayed.pop_front() else { return };
        // Its client does not learn what came of it.
        self.engine.request(connection, &asked, now);
        let current = self.connections.contains_key(&connection);
        if !current && !self.delayed.iter().any(|delayed| delayed.connection == connection) {
            self.engine.disconnect(connection);
        }
        self.dispatch(now);
    }
}

impl Process {
    fn lets_connect(&self) -> bool {
        matches!(self.network, Network::Greeting | Network::Up)
    }
}

/// The credentials of a user: all of them have the same password.
fn credentials(user: &str) -> Bytes {
    format!("{user}:memory").into()
}

fn lost() -> Fault {
    Fault::Ambiguous("the connection was lost".to_owned())
}

/// Where all clients are.
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
