//! One opaque error for the whole library: what kind of trouble it is, in which words, and what caused it.
//!
//! Setup fails with an [`Error`]; steady state does not: a lost connection is a state of the snapshot or of the
//! registration, never an error of a call that could go on.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Why a call failed. Cheap to clone; [`Error::kind`] says what to do about it, `Display` names the thing.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind: for implementations of [`Resolve`](crate::Resolve) and for tests.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: None }))
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), source: Some(source.into()) }))
    }

    /// What kind of trouble this is: the thing to match on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
}

/// Two errors are equal when they are of one kind and say the same.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind && self.0.message == other.0.message
    }
}

impl Eq for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The diagnoses that a program or an operator can act on.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// ZooKeeper refused, or silently ignored, our credentials.
    AuthFailed,
    /// The registry, or the registration, was closed.
    Closed,
    /// A foreign node stands where ours should, or this registry already holds that (service, id).
    Conflict,
    /// A name, address, connect string or option that cannot be used; nothing was sent.
    Invalid,
    /// ZooKeeper's access control does not let us do this.
    NoAuth,
    /// ZooKeeper answered something that we have no better word for.
    Other,
    /// The server lacks an operation that this library needs (ZooKeeper 3.6; 3.7 with credentials).
    ServerTooOld,
    /// The session ended while the call was under way; whether it was executed is not known.
    SessionLost,
    /// The record is larger than what the server accepts; nothing was sent.
    TooLarge,
    /// ZooKeeper cannot be reached.
    Unavailable,
}
