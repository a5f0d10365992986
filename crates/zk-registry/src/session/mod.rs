//! The connection to ZooKeeper: one session at a time, kept open by its supervisor.

mod greeting;
mod ids;
pub(crate) mod last_heard;
mod states;
mod supervisor;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::ids::{Ids, Sessions};
pub(crate) use self::states::SessionStates;
pub(crate) use self::supervisor::{SessionSettings, Supervisor};
use crate::error::Error;
use crate::store::Store;
use crate::withdrawn::Withdrawn;

/// Where the connection to ZooKeeper stands.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The registry was closed.
    Closed,
    /// Connected, and the first request was answered.
    Connected {
        /// The session timeout that the server granted.
        session_timeout: Duration,
        /// Our own address on the route that reached ZooKeeper, where it is known.
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

/// What the tasks that live on a session see of it.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Which session this is; grows.
    pub(crate) epoch: u64,
    /// How often the session has been connected so far.
    pub(crate) ups: u64,
    pub(crate) phase: Phase,
    /// The greetings that were sent to sessions which were not up yet, each the first one of its session or one after a failure.
    pub(crate) greetings: u64,
    /// The session: there in `Greeting`, `Suspended` and `Up`.
    pub(crate) store: Option<Arc<dyn Store>>,
    /// How the last session ended, once the supervisor is done.
    pub(crate) closed: Option<Withdrawn>,
    /// Why there will be no session, if waiting cannot cure it.
    pub(crate) failed: Option<Error>,
    /// Why no server takes our credentials, as long as none does. It is tried on, slowly.
    pub(crate) refused: Option<Error>,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Closed,
    Connecting,
    /// The first requests of a session are under way: what is asked now is answered after them, and may be believed once it is
    /// `Up` by the same greeting.
    Greeting,
    Suspended {
        since: Instant,
    },
    Up,
}

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Close the session and end.
    Close { within: Duration, done: oneshot::Sender<Withdrawn> },
    /// The server put another session in the place of this epoch's.
    Replaced { epoch: u64 },
}
