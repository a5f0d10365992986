//! The wire: what is under way between a client and its server, and what is lost of it.

use std::collections::VecDeque;

use rand::RngExt;
use tokio::time::Instant;

use super::super::{End, Event, Fault, State as SessionState};
use super::Fate;
use super::server::{Network, Session, State, covers};
use super::tree::{Identity, Tree};

pub(super) struct Request {
    pub(super) writes: bool,
    pub(super) execute: Execute,
}

/// Executes a request, or fails it unexecuted; makes the answer.
pub(super) type Execute = Box<dyn FnOnce(Result<Served<'_>, Fault>) -> Packet + Send>;

/// What a request is executed on.
pub(super) struct Served<'a> {
    pub(super) state: &'a mut State,
    pub(super) session: i64,
    pub(super) client: usize,
    pub(super) now: Instant,
}

/// What goes from the server to the client.
pub(super) enum Packet {
    Closed,
    Event(String),
    /// Resolves the future of the request, with this fault if the reply is lost.
    Reply(Box<dyn FnOnce(Option<Fault>) + Send>),
}

impl State {
    /// Sends a request, or keeps it until there is a connection.
    pub(super) fn send(&mut self, key: i64, request: Request, now: Instant) {
        let half = self.settings.latency / 2;
        let Some(session) = self.sessions.get_mut(&key) else {
            fail(request, Fault::Over);
            return;
        };
        match session.state() {
            SessionState::Over(_) => fail(request, Fault::Over),
            SessionState::Connected => {
                let earliest = session.up.back().and_then(|(at, _)| *at);
                let at = earliest.map_or(now + half, |earliest| earliest.max(now + half));
                session.up.push_back((Some(at), request));
            }
            SessionState::Disconnected => session.up.push_back((None, request)),
        }
        session.wake.notify_one();
    }

    /// Lets arrive what is due to arrive, at either end.
    pub(super) fn carry(&mut self, key: i64, now: Instant) {
        loop {
            let Some(session) = self.sessions.get_mut(&key) else { return };
            if session.state() != SessionState::Connected
                || self.clients[session.client].network != Network::Up
            {
                return;
            }
            let down = session.down.front().is_some_and(|(at, _)| *at <= now);
            let up = session.up.front().is_some_and(|(at, _)| at.is_some_and(|at| at <= now));
            if down {
                session.down.pop_front().into_iter().for_each(|(_, packet)| self.deliver(key, packet, now));
            } else if up {
                session.up.pop_front().into_iter().for_each(|(_, request)| self.arrive(key, request, now));
            } else {
                return;
            }
        }
    }

    fn arrive(&mut self, key: i64, request: Request, now: Instant) {
        let lose = if request.writes { self.lose.take() } else { None };
        match lose {
            None => self.execute(key, request, now),
            Some(fate) => {
                let mut request = Some(request);
                if self.is_executed(fate) {
                    request.take().into_iter().for_each(|request| self.execute(key, request, now));
                }
                self.disconnect(key, now, now);
                request.into_iter().for_each(|request| fail(request, lost()));
            }
        }
    }

    fn is_executed(&mut self, fate: Fate) -> bool {
        match fate {
            Fate::Executed => true,
            Fate::Lost => false,
            Fate::Random => self.rng.random_bool(0.5),
        }
    }

    /// Executes a request, if the server still knows the session. The answer is on its way then.
    fn execute(&mut self, key: i64, request: Request, now: Instant) {
        let Some(client) =
            self.sessions.get(&key).filter(|session| session.alive).map(|session| session.client)
        else {
            return fail(request, lost());
        };
        let packet = (request.execute)(Ok(Served { state: self, session: key, client, now }));
        let half = self.settings.latency / 2;
        match self.sessions.get_mut(&key) {
            Some(session) => session.down.push_back((now + half, packet)),
            None => drop_packet(packet, Fault::Over),
        }
    }

    fn deliver(&mut self, key: i64, packet: Packet, now: Instant) {
        match packet {
            Packet::Reply(resolve) => resolve(None),
            Packet::Closed => self.end(key, End::Closed, now),
            Packet::Event(path) => {
                self.counts.events += 1;
                let Some(session) = self.sessions.get_mut(&key) else { return };
                session.watchers.retain(|(root, watcher)| {
                    !covers(root, &path) || watcher.send(Event::Node(path.clone())).is_ok()
                });
            }
        }
    }

    /// The connection took these with it: the first of the requests may have been executed, no reply comes back.
    pub(super) fn lose_in_flight(&mut self, key: i64, fault: Fault, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.armed.clear();
        let (sent, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut session.up).into_iter().partition(|(at, _)| at.is_some());
        session.up = kept;
        let executed = match self.settings.fate {
            Fate::Executed => sent.len(),
            Fate::Lost => 0,
            Fate::Random => self.rng.random_range(0..=sent.len()),
        };
        let mut unexecuted = Vec::new();
        for (n, (_, request)) in sent.into_iter().enumerate() {
            if n < executed {
                self.execute(key, request, now);
            } else {
                unexecuted.push(request);
            }
        }
        let Some(session) = self.sessions.get_mut(&key) else { return };
        for (_, packet) in std::mem::take(&mut session.down) {
            drop_packet(packet, fault.clone());
        }
        for request in unexecuted {
            fail(request, fault.clone());
        }
    }
}

impl Served<'_> {
    /// What the session's server knows.
    pub(super) fn tree(&mut self) -> (&Tree, &Identity) {
        self.state.counts.reads += 1;
        let client = &self.state.clients[self.client];
        let tree = client.follower.as_ref().map_or(&self.state.tree, |follower| &follower.tree);
        (tree, &client.identity)
    }

    pub(super) fn arm(&mut self, path: String) {
        if let Some(session) = self.state.sessions.get_mut(&self.session) {
            session.armed.insert(path);
        }
    }

    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.state.sessions.get_mut(&self.session)
    }
}

pub(super) fn lost() -> Fault {
    Fault::Ambiguous("the connection was lost".to_owned())
}

pub(super) fn fail(request: Request, fault: Fault) {
    drop_packet((request.execute)(Err(fault.clone())), fault);
}

fn drop_packet(packet: Packet, fault: Fault) {
    if let Packet::Reply(resolve) = packet {
        resolve(Some(fault));
    }
}
