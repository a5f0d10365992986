//! The wire between a client and its server: two queues of what is under way. It only keeps; the servers put in and take out.

use std::collections::VecDeque;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::{Event, Fault};
use super::engine::record::{self, Answer};

/// What is under way.
#[derive(Default)]
pub(super) struct Wire {
    /// To the server. Without a time: not sent yet, for want of a connection.
    up: VecDeque<(Option<Instant>, Request)>,
    down: VecDeque<(Instant, Packet)>,
}

/// A request, and where its answer goes.
pub(super) struct Request {
    pub(super) asked: record::Request,
    pub(super) to: Recipient,
}

/// Where the answer to a request goes.
pub(super) struct Recipient {
    /// Resolves the future of the request; a request to close the session has none.
    pub(super) resolve: Option<Resolve>,
    /// What hears from then on.
    pub(super) watcher: Option<Watcher>,
}

/// A path, and where the events of it and of what is below go.
pub(super) type Watcher = (String, mpsc::UnboundedSender<Event>);

/// Resolves the future of a request.
pub(super) type Resolve = Box<dyn FnOnce(Result<Answer, Fault>) + Send>;

/// What goes from the server to the client.
pub(super) enum Packet {
    Closed,
    Event(String),
    Reply(Result<Answer, Fault>, Recipient),
}

/// What arrives, at either end.
pub(super) enum Arrival {
    Down(Packet),
    Up(Request),
}

impl Wire {
    /// Sends a request that arrives at that time, or as soon as those before it have; without a time it waits for a
    /// connection.
    pub(super) fn send(&mut self, request: Request, at: Option<Instant>) {
        let earliest = self.up.back().and_then(|(at, _)| *at);
        let at = at.map(|at| earliest.map_or(at, |earliest| earliest.max(at)));
        self.up.push_back((at, request));
    }

    /// There is a connection: what waits for one arrives at that time.
    pub(super) fn connected(&mut self, at: Instant) {
        for (arrives, _) in &mut self.up {
            *arrives = Some(at);
        }
    }

    /// Sends a packet to the client.
    pub(super) fn answer(&mut self, packet: Packet, at: Instant) {
        self.down.push_back((at, packet));
    }

    /// Takes what has arrived by now, answers and events first.
    pub(super) fn arrival(&mut self, now: Instant) -> Option<Arrival> {
        if self.down.front().is_some_and(|(at, _)| *at <= now) {
            return self.down.pop_front().map(|(_, packet)| Arrival::Down(packet));
        }
        if self.has_request(now) {
            return self.up.pop_front().map(|(_, request)| Arrival::Up(request));
        }
        None
    }

    /// Whether a request has arrived by now.
    pub(super) fn has_request(&self, now: Instant) -> bool {
        self.up.front().is_some_and(|(at, _)| at.is_some_and(|at| at <= now))
    }

    /// When something arrives next.
    pub(super) fn next(&self) -> Option<Instant> {
        let up = self.up.front().and_then(|(at, _)| *at);
        let down = self.down.front().map(|(at, _)| *at);
        up.into_iter().chain(down).min()
    }

    /// The connection is lost. What was not sent yet stays.
    pub(super) fn cut(&mut self) -> Vec<Request> {
        let all = std::mem::take(&mut self.up);
        let (sent, kept): (VecDeque<_>, VecDeque<_>) = all.into_iter().partition(|(at, _)| at.is_some());
        self.up = kept;
        sent.into_iter().map(|(_, request)| request).collect()
    }

    /// The packets that the client does not receive any more.
    pub(super) fn unheard(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.down).into_iter().map(|(_, packet)| packet).collect()
    }

    /// The requests that were never sent.
    pub(super) fn unsent(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.up).into_iter().map(|(_, request)| request).collect()
    }
}

impl Request {
    pub(super) fn fail(self, fault: Fault) {
        self.to.fail(fault);
    }
}

impl Recipient {
    pub(super) fn fail(self, fault: Fault) {
        if let Some(resolve) = self.resolve {
            resolve(Err(fault));
        }
    }
}

impl Packet {
    pub(super) fn fail(self, fault: Fault) {
        if let Self::Reply(_, to) = self {
            to.fail(fault);
        }
    }
}
