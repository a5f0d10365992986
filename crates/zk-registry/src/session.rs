//! The supervisor: sole owner of the connection to ZooKeeper.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::Error;

/// Where the connection to ZooKeeper stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The registry was closed.
    Closed,
    /// Connected, and the first request was answered.
    Connected {
        /// The session timeout that the server granted.
        session_timeout: Duration,
        /// Our own address on the connection that reached ZooKeeper, where it is known.
        local: Option<SocketAddr>,
    },
    /// No session; trying, after this failure.
    Connecting {
        /// Why the last attempt failed; `None` before the first.
        last: Option<Error>,
    },
    /// Waiting cannot cure it.
    Failed(Error),
    /// The connection is lost; the session may still be alive.
    Suspended,
}
