//! The answer to a query: the time that an instance told, and how many attempts that took.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use time_server::protocol::{Reply, Request};
use zk_registry::Member;

use crate::fault::{FailedAttempt, Fault};

/// An answer, and how many attempts it took.
#[derive(Debug)]
pub struct Answer {
    /// The instance that answered.
    pub instance: Arc<Member>,
    /// The time that it told.
    pub reading: Reading,
    /// The duration of the attempt that succeeded: dialling, if there was no kept connection, asking and answering.
    pub rtt: Duration,
    /// The attempts that failed before.
    pub failed: Vec<FailedAttempt>,
    /// Whether a kept connection was used before that turned out to have died: not an attempt that failed.
    pub met_dead_connection: bool,
}

/// The time that an instance told, in the form that was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// The answer to [`Request::Sync`].
    Stamps(Stamps),
    /// The answer to [`Request::Now`] and [`Request::Timestamp`].
    Time(Timestamp),
}

/// The moments at which a request left us, reached the server, and left it as a reply, each by the clock of its place;
/// nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamps {
    /// Our clock when the request was sent.
    pub t1: u64,
    /// The server's clock when it had received the request.
    pub t2: u64,
    /// The server's clock when it was about to send the reply.
    pub t3: u64,
}

impl Answer {
    /// The number of attempts, the one that brought the answer included.
    pub fn attempts(&self) -> usize {
        self.failed.len() + 1
    }
}

impl Reading {
    /// The time, by the instance's clock.
    pub fn time(self) -> Timestamp {
        match self {
            Self::Stamps(Stamps { t3, .. }) => {
                Timestamp::from_nanosecond(t3.into()).unwrap_or(Timestamp::MAX)
            }
            Self::Time(time) => time,
        }
    }
}

impl Reading {
    /// The time that a reply tells.
    ///
    /// # Errors
    ///
    /// [`Fault::Refused`] for an error line, [`Fault::Garbage`] for a reply to something else.
    pub(super) fn of(request: Request, reply: Reply) -> Result<Self, Fault> {
        match (request, reply) {
            (_, Reply::Error(what)) => Err(Fault::Refused(what.into_owned())),
            (Request::Now, Reply::Now(time)) | (Request::Timestamp, Reply::Timestamp { time, .. }) => {
                Ok(Self::Time(time))
            }
            (Request::Sync { t1: sent }, Reply::Sync { t1, t2, t3 }) if t1 == sent => {
                Ok(Self::Stamps(Stamps { t1, t2, t3 }))
            }
            (_, other) => Err(Fault::Garbage(format!("{other:?} to {request:?}"))),
        }
    }
}
