//! Pure: the rules that hold for all connections of one proxy, and what they make of a message. A further way to break a link
//! is a method that changes the rules, and its part of [`Rules::passes`].

use std::time::Duration;

use bytes::Bytes;

use super::direction::Direction;
use super::frames;
use super::trip::Request;

/// The rules for all connections at once; [`Proxy::impose`](super::Proxy::impose) changes them.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    frozen: [bool; 2],
    pub(super) connects: Connects,
    pub(super) delay: Duration,
    answers: Answers,
    /// The request that the server pretends not to know.
    lacking: Option<Request>,
    /// How often everything was cut: a link ends when this passes what it was at its start.
    pub(super) cuts: u64,
    pub(super) how: Cut,
}

/// Where an accepted connection leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Connects {
    Nowhere,
    #[default]
    ToServer,
}

/// The messages of the server that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answers {
    #[default]
    All,
    /// The first one of a connection.
    Handshake,
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Cut {
    /// Towards the client only; what it had sent goes on to the server this much later.
    Client(Duration),
    Fin,
    #[default]
    Rst,
}

impl Rules {
    /// Holds back everything that flows in `direction`, of present and future connections. Connecting still works.
    pub fn freeze(&mut self, direction: Direction) {
        self.frozen[direction as usize] = true;
    }

    /// Holds back everything, and does not even reach the server for new connections, which the kernel still accepts.
    pub fn black_hole(&mut self) {
        (self.frozen, self.connects) = ([true; 2], Connects::Nowhere);
    }

    /// Lets only the first message of the server pass on each connection, which is the answer to the handshake in ZooKeeper's
    /// protocol, and holds back all that come after it. Requests reach the server.
    pub fn answer_handshakes_only(&mut self) {
        self.answers = Answers::Handshake;
    }

    /// Nothing is held back any more: what was is delivered.
    pub fn thaw(&mut self) {
        (self.frozen, self.connects, self.answers) = ([false; 2], Connects::ToServer, Answers::All);
    }

    pub(super) fn lacks(&mut self, request: Request) {
        self.lacking = Some(request);
    }

    pub(super) fn is_frozen(&self, direction: Direction) -> bool {
        self.frozen[direction as usize]
    }

    /// Whether a message may be delivered now, before which so many were in this direction of its connection.
    pub(super) fn passes(&self, direction: Direction, before: u64) -> bool {
        let is_answered = direction == Direction::ToServer || before == 0 || self.answers == Answers::All;
        is_answered && !self.is_frozen(direction)
    }

    /// The message as it is delivered.
    pub(super) fn delivered(&self, direction: Direction, message: Bytes) -> Bytes {
        match self.lacking {
            Some(request) if direction == Direction::ToServer && request.matches(&message) => {
                frames::unknown(&message)
            }
            _ => message,
        }
    }
}
