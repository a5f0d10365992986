//! The route that all connections of one proxy share: the server, and the rules that hold for all of them.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::trip::{Request, Trips};

/// The rules for all connections at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) frozen: [bool; 2],
    pub(super) black_hole: bool,
    pub(super) delay: Duration,
    pub(super) answers: Answers,
    /// The request that the server pretends not to know.
    pub(super) lacking: Option<Request>,
    /// How often everything was cut: a link ends when this passes what it was at its start.
    pub(super) cuts: u64,
    pub(super) how: Cut,
}

/// The messages of the server that pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answers {
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

/// Whether pieces of the stream are as they were read, or whole messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Bytes,
    ZooKeeper,
}

/// The server, the rules, and what has been counted.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) server: SocketAddr,
    pub(super) framing: Framing,
    pub(super) rules: watch::Sender<Rules>,
    pub(super) trips: Trips,
    pub(super) stop: CancellationToken,
    pub(super) carried: [AtomicU64; 2],
    pub(super) accepted: AtomicU64,
}
