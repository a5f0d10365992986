//! The seam to ZooKeeper: one [`Store`] is one session.
//!
//! Two implementations: `zookeeper`, the only folder that names the client crate, and `memory`, the same semantics in memory
//! on tokio's clock, with faults on command. One conformance suite runs on both.
//!
//! The contract that both keep:
//! - A request is ordered at the call, not at the poll. Dropping the future does not unsend it.
//! - Requests made while disconnected wait for the connection, or fail when the session is over.
//! - Replies and events arrive in the server's order: whatever a watch was sent before a reply is in its queue when the
//!   reply's future resolves.
//! - After `Connected` a watch delivers nothing until `rearm` is acknowledged.
//! - Stats are always valid. Nothing panics, whatever happens to the session.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
pub(crate) mod limits;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(not(test), expect(dead_code, reason = "some faults are for our own tests"))]
pub(crate) mod memory;
pub(crate) mod pipeline;
pub(crate) mod zookeeper;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join};

use crate::error::{Error, ErrorKind};
use crate::options::Acl;

/// The answer to a request that is already on its way.
pub(crate) type Reply<T> = BoxFuture<'static, Result<T, Fault>>;

/// What a listing said: the names of the children, and the parent's stat.
pub(crate) type Listing = Result<(Vec<String>, Stat), Fault>;

/// Opens sessions.
pub(crate) trait Connect: fmt::Debug + Send + Sync + 'static {
    /// How many servers there are to connect to.
    fn servers(&self) -> usize {
        1
    }
    /// Which ZooKeeper it is, for what outlives the process: its servers, in any order, and the chroot.
    fn cluster(&self) -> String;
    /// One pass over the servers. Its error says the real cause (refused, DNS, TLS, authentication).
    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>>;
}

/// Why no session could be opened.
#[derive(Clone, Debug)]
pub(crate) enum ConnectFault {
    /// Credentials were refused.
    Auth(String),
    /// The options cannot work (no CA, a broken PEM, a host name that TLS cannot verify).
    Invalid(String),
    /// No server answered; the text names each host and its cause.
    Unavailable(String),
}

/// One session.
pub(crate) trait Store: fmt::Debug + Send + Sync + 'static {
    /// The session's id.
    fn id(&self) -> i64;
    /// The session timeout that the server granted.
    fn timeout(&self) -> Duration;
    /// How long the server may be silent before `Disconnected` is announced (announced after 1 to 1.125 of it).
    fn connection_timeout(&self) -> Duration;
    /// The local address from which packets go to the server, if it could be found out: the one to tell others about.
    /// The port is of no meaning.
    fn local(&self) -> Option<SocketAddr>;
    /// The changes of the session's state, each one after the call; the first one at once if it is not connected then.
    /// Conflated, but never loses that there was a change to `Connected`.
    fn states(&self) -> Box<dyn States>;

    fn create(&self, path: &str, data: &[u8], kind: Kind, acl: Acl) -> Reply<Stat>;
    fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Reply<Stat>;
    fn delete(&self, path: &str, version: Option<i32>) -> Reply<()>;
    /// All or nothing; a failure is [`Fault::Multi`] with the index of the first operation that failed.
    fn multi(&self, ops: Vec<Op>) -> Reply<Vec<Option<Stat>>>;
    /// The names of the children, and the parent's stat.
    fn list(&self, path: &str) -> Reply<(Vec<String>, Stat)>;
    /// Data and stat of each path, each on its own; served in order, at one point of the server's history per request.
    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>>;
    /// Who may do what with a node: the narrowest of our words that allows strangers as much.
    fn acl(&self, path: &str) -> Reply<Acl>;
    /// Brings the server we are connected to up to date with its leader.
    fn sync(&self, path: &str) -> Reply<()>;
    /// The paths of the nodes that this session owns.
    fn ephemerals(&self) -> Reply<Vec<String>>;
    /// The schemes under which the server knows us (`ip`, `digest`, `sasl`, `x509`).
    fn auth_schemes(&self) -> Reply<Vec<String>>;
    /// A persistent recursive watch on the path and everything below it. The path need not exist.
    fn watch(&self, path: &str) -> Reply<Box<dyn Watch>>;
    /// The same, and what a listing said that the server answered after it: all in one round trip. Between the two no change is
    /// lost.
    fn watch_and_list(&self, path: &str) -> Reply<(Box<dyn Watch>, Listing)> {
        let both = join(self.watch(path), self.list(path));
        Box::pin(async {
            let (watch, listing) = both.await;
            Ok((watch?, listing))
        })
    }
    /// Arms the watch again after a reconnect, without a second delivery of anything.
    fn rearm(&self, path: &str) -> Reply<()>;
    /// Creates the chroot, if there is one, and the parents of it.
    fn make_chroot(&self, acl: Acl) -> Reply<()>;

    /// Closes the session; `true` once the server acknowledged it (its ephemerals are gone), `false` when it was over
    /// already or cannot be known. Gives up after `within`, and then aborts.
    fn close(&self, within: Duration) -> BoxFuture<'static, bool>;
    /// Lets go at once: no further packet is sent, every pending request fails. The server keeps the session until its
    /// timeout. Idempotent.
    fn abort(&self);
}

/// The state of a session, as it changes.
pub(crate) trait States: Send {
    /// Waits for the next change. After `Over` it stays `Over`.
    fn changed(&mut self) -> BoxFuture<'_, State>;
}

/// What a session is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Connected,
    Disconnected,
    Over(End),
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// We let go of it without a goodbye; the server keeps it until its timeout.
    Abandoned,
    AuthFailed,
    Closed,
    Expired,
}

/// A persistent recursive watch. Dropping it ends it.
pub(crate) trait Watch: Send {
    /// The next event in the server's order; `None` once the session is over and said so.
    fn next(&mut self) -> BoxFuture<'_, Option<Event>>;
    /// The next event if one is queued.
    fn try_next(&mut self) -> Option<Event>;
}

/// What a watch is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    Connected,
    Disconnected,
    /// Something happened to the node of this path: created, deleted or changed.
    Node(String),
    /// The session is over; `None` follows.
    Over,
}

/// What kind of node is created.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Container,
    Ephemeral,
    Persistent,
}

/// One operation of a `multi`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Create { path: String, data: Bytes, kind: Kind, acl: Acl },
    Delete { path: String, version: Option<i32> },
    Set { path: String, data: Bytes, version: Option<i32> },
}

/// A node's data and stat.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Node {
    pub(crate) data: Bytes,
    pub(crate) stat: Stat,
}

/// What ZooKeeper knows of a node besides its data.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Stat {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    /// When the node was created by the clock of the leader, in milliseconds since the Unix epoch.
    pub(crate) ctime: i64,
    pub(crate) version: i32,
    pub(crate) children: u32,
    /// How many bytes its data has.
    pub(crate) bytes: u32,
    /// The owning session; 0 for a node that is not ephemeral.
    pub(crate) owner: i64,
}

/// How long a disconnected session is waited for before it is given up, with T the session timeout and C the connection
/// timeout: less than the client crate would wait, whose deadline is 1.4 T after the last byte, and `Disconnected` comes up
/// to 1.125 C after that.
pub(crate) fn patience(session: Duration, connection: Duration) -> Duration {
    session.min((session * 13 / 10).saturating_sub(connection))
}

impl Fault {
    /// The error of a read, as its caller is told.
    pub(crate) fn while_reading(self, path: &str) -> Error {
        self.while_asking("reading", path)
    }

    /// The error of a request, as its caller is told.
    pub(crate) fn while_asking(self, what: &str, path: &str) -> Error {
        let (kind, why) = match self {
            Self::Ambiguous(why) => (ErrorKind::Unavailable, why),
            Self::AuthFailed => (ErrorKind::AuthFailed, "ZooKeeper refused our credentials".to_owned()),
            Self::Definite(why) => (ErrorKind::Other, why),
            Self::NoAuth => (ErrorKind::NoAuth, "ZooKeeper's access control forbids it".to_owned()),
            Self::Over => (ErrorKind::SessionLost, "the session ended meanwhile".to_owned()),
            Self::TooLarge => (ErrorKind::TooLarge, "the request is too large".to_owned()),
            Self::Unimplemented => (ErrorKind::ServerTooOld, "the server lacks an operation".to_owned()),
            fault => (ErrorKind::Other, format!("{fault:?}")),
        };
        Error::new(kind, format!("{what} {path}: {why}"))
    }
}

/// Why a request failed.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It may or may not have been executed. Read before acting.
    Ambiguous(String),
    AuthFailed,
    BadVersion,
    /// A definite refusal that we have no better word for.
    Definite(String),
    InvalidAcl,
    /// An operation of a multi failed; none was executed.
    Multi {
        index: usize,
        fault: Box<Self>,
    },
    NoAuth,
    NoNode,
    NodeExists,
    NotEmpty,
    /// The parent is ephemeral.
    NoChildrenForEphemerals,
    /// The session is over. Whether the request was executed is not known.
    Over,
    TooLarge,
    /// The server does not know the operation.
    Unimplemented,
}
