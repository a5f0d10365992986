//! The simulation: clients, their networks, and the servers' engine; what the servers execute, and what is lost with a
//! connection. Nothing here waits. What is due when stands in `steps`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::super::{ConnectFault, End, Fault, State as SessionState};
use super::engine::record::{self, Answer, Reply};
use super::engine::{self, ConnectionId, Effect, Engine};
use super::fault::{Counts, Fate, Refusal, refused};
use super::session::ClientSession;
use super::wire::{Packet, Request};
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
    pub(super) delayed: VecDeque<Delayed>,
    /// The sessions' keys by their connections.
    pub(super) connections: BTreeMap<ConnectionId, i64>,
    /// When the engine's next inspection was due the last time that it was asked.
    inspection: Option<Instant>,
    pub(super) next_connection: ConnectionId,
    pub(super) rng: StdRng,
}

#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) at: Instant,
    pub(super) connection: ConnectionId,
    pub(super) asked: record::Request,
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

impl State {
    pub(super) fn new(seed: u64, settings: Settings, container_check: Duration) -> Self {
        let engine = Engine::new(engine::Settings {
            began: Instant::now(),
            wall: 0,
            zxid: 0,
            session: 0x1000,
            tick: Duration::ZERO,
            longest_timeout: Duration::MAX,
            container_check,
            superuser: None,
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

    /// The sessions, by the key under which they began.
    pub(super) fn keys(&self) -> Vec<i64> {
        self.sessions.keys().copied().collect()
    }

    /// Gives every session that is not connected its whole timeout again.
    pub(super) fn renew(&mut self, now: Instant) {
        self.engine.renew(now);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        self.sessions.values().for_each(|session| session.wake.notify_one());
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

    /// Executes a request, if the server still knows the session. The answer is on its way then.
    pub(super) fn execute(&mut self, key: i64, request: Request, now: Instant) {
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

    /// The connection took these with it: the first of the requests may have been executed, no reply comes back.
    pub(super) fn lose_in_flight(&mut self, key: i64, fault: &Fault, now: Instant) {
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

    pub(super) fn delay(&mut self, key: i64, request: &Request, at: Instant) {
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

    pub(super) fn commit_first_delayed(&mut self, now: Instant) {
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
    pub(super) fn lets_connect(&self) -> bool {
        matches!(self.network, Network::Greeting | Network::Up)
    }
}

pub(super) fn lost() -> Fault {
    Fault::Ambiguous("the connection was lost".to_owned())
}
