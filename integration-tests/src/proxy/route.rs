//! The route that all connections of one proxy share: the server, and the rules that hold for all of them.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::rules::Rules;
use super::trip::Trips;

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
