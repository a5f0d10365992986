//! Making the client of one instance.

use std::future::Future;
use std::sync::Arc;

use super::BoxError;
use crate::snapshot::Member;

/// A maker of clients, one for each instance. Any `Fn(Arc<Member>) -> impl Future<Output = Result<Client, Error>>` is one.
///
/// Connect eagerly: a client that connects at its first call learns of a dead instance when the request is spent.
pub trait Connect: Send + Sync + 'static {
    /// The client of one instance. Each call takes a clone.
    type Client: Clone + Send + Sync + 'static;
    /// The reason for which an instance cannot be reached.
    type Error: Into<BoxError>;

    /// Dials an instance. Runs in a task of its own, which is aborted after [`Balance::with_dial_timeout`] and when the
    /// instance is gone.
    ///
    /// [`Balance::with_dial_timeout`]: super::Balance::with_dial_timeout
    fn connect(&self, to: &Arc<Member>) -> impl Future<Output = Result<Self::Client, Self::Error>> + Send;

    /// Whether the client of `old` serves `new`, which has the same id. Defaults to: same host, ports and incarnation.
    fn is_reusable(&self, old: &Member, new: &Member) -> bool {
        old.incarnation() == new.incarnation()
            && old.host() == new.host()
            && old.port() == new.port()
            && old.ssl_port() == new.ssl_port()
    }
}

impl<F, Dial, Client, Error> Connect for F
where
    F: Fn(Arc<Member>) -> Dial + Send + Sync + 'static,
    Dial: Future<Output = Result<Client, Error>> + Send,
    Client: Clone + Send + Sync + 'static,
    Error: Into<BoxError>,
{
    type Client = Client;
    type Error = Error;

    fn connect(&self, to: &Arc<Member>) -> impl Future<Output = Result<Client, Error>> + Send {
        self(Arc::clone(to))
    }
}
