//! One request to one instance: over a kept connection if there is one and it may be used, else over a new one.
//!
//! Nothing here chooses an instance or tries again.

use std::time::Duration;

use time_server::protocol::Request;
use tokio::time::{Instant, timeout_at};
use zk_registry::Instance;

use crate::client::answer::Reading;
use crate::client::options::Options;
use crate::connection::Connection;
use crate::fault::Fault;
use crate::pool::Pool;

/// An exchange with an instance that has not happened yet.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) options: &'a Options,
    pub(super) pool: &'a Pool,
    pub(super) instance: &'a Instance,
    pub(super) request: Request,
    pub(super) reuse: Reuse,
    pub(super) began: Instant,
    pub(super) until: Instant,
}

/// Whether an exchange may use a kept connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reuse {
    /// A kept connection is used if there is one.
    Allowed,
    /// A new connection is dialled: a query that met a dead connection does not look for further ones, so that nothing which
    /// happens to it afterwards can pass for bad luck.
    Forbidden,
}

/// The reason why an exchange brought no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The kept connection ended before any byte of an answer: no fault of the instance, which is asked once more over a new
    /// connection.
    DiedIdle,
    /// The instance, or the way to it, failed.
    Failed(Fault),
}

impl<E: Into<Fault>> From<E> for Unanswered {
    fn from(fault: E) -> Self {
        Self::Failed(fault.into())
    }
}

impl Exchange<'_> {
    /// The answer of the instance, and when it came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection that is in use.
    pub(super) async fn run(self) -> Result<(Reading, Instant), Unanswered> {
        let Self { pool, instance, request, reuse, began, .. } = self;
        if request == Request::Timestamp {
            let connection = self.dial().await?;
            let reply = self.read(Instant::now(), connection.ask_last()).await??;
            return Ok((Reading::of(request, reply)?, Instant::now()));
        }
        let address = instance.address();
        let kept = match reuse {
            Reuse::Allowed => pool.take(&address, began),
            Reuse::Forbidden => None,
        };
        let was_kept = kept.is_some();
        let (mut connection, asked) = match kept {
            Some(connection) => (connection, began),
            None => (self.dial().await?, Instant::now()),
        };
        let (fault, died_idle) = match self.read(asked, connection.ask(request)).await? {
            Ok(reply) => match Reading::of(request, reply) {
                Ok(reading) => {
                    let ended = Instant::now();
                    // A line too many would be taken for the next answer.
                    if connection.has_heard_nothing() {
                        pool.put(&address, connection, ended);
                    }
                    return Ok((reading, ended));
                }
                // A server that closes an idle connection may say so, and it may say so while we ask.
                Err(fault) => {
                    let refused = matches!(fault, Fault::Refused(_));
                    let promptly = began.elapsed() <= connection.round_trip().max(PROMPTLY);
                    (fault, refused && promptly)
                }
            },
            // A server may end a kept connection at any moment. Where not a byte has come, asking again does no harm.
            Err(error) => (error.into(), connection.has_heard_nothing()),
        };
        if was_kept && died_idle {
            pool.forget(&address);
            return Err(Unanswered::DiedIdle);
        }
        Err(Unanswered::Failed(fault))
    }

    async fn dial(&self) -> Result<Connection, Fault> {
        let began = Instant::now();
        let until = self.until.min(began + self.options.dial_timeout);
        let (host, port) = (self.instance.host(), self.instance.port());
        match timeout_at(until, Connection::dial(host, port, &self.options.dial_policy)).await {
            Ok(dialled) => dialled,
            Err(_) => Err(Fault::DialTimeout(began.elapsed())),
        }
    }

    async fn read<T>(&self, asked: Instant, answer: impl Future<Output = T>) -> Result<T, Fault> {
        let until = self.options.read_timeout.map_or(self.until, |within| self.until.min(asked + within));
        timeout_at(until, answer).await.map_err(|_| Fault::Silent(asked.elapsed()))
    }
}

/// The time within which an error line counts as the farewell of a server that closed the idle connection before it had
/// the request: a round trip, and on a busy machine a moment more. A later one is the answer to the request.
const PROMPTLY: Duration = Duration::from_millis(10);
