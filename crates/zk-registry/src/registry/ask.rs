//! One question to ZooKeeper, and the reasons for having no answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::inner::Inner;
use crate::error::{Error, ErrorKind};
use crate::session::{ConnectionState, Link, Phase};
use crate::store::Store;

impl Inner {
    /// Asks ZooKeeper over the first session, for at most one session timeout. The background side keeps the time, so that
    /// the caller needs no runtime.
    pub(super) async fn ask<T: Send + 'static, F>(
        &self,
        what: &'static str,
        request: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send,
    {
        let within = self.slots.context.session_timeout;
        let link = self.slots.first_link();
        let asking = async move { request(connected(link).await?).await };
        // A deadline is made where it is kept: it needs a clock.
        let asking = async move { timeout(within, asking).await };
        match self.slots.background.run(asking).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(unanswered(&self.first.borrow(), what, within)),
            None => match &*self.first.borrow() {
                ConnectionState::Failed(error) => Err(error.clone()),
                _ => Err(closed()),
            },
        }
    }
}

/// The session behind a link, once it is connected.
async fn connected(mut link: watch::Receiver<Link>) -> Result<Arc<dyn Store>, Error> {
    loop {
        let now = link.borrow_and_update().clone();
        match (now.phase, now.store, now.refused) {
            (Phase::Up, Some(store), _) => return Ok(store),
            (Phase::Closed, ..) => return Err(now.failed.unwrap_or_else(closed)),
            (.., Some(refused)) => return Err(refused),
            _ => link.changed().await.map_err(|_| closed())?,
        }
    }
}

/// The error of a request that took too long; it carries why there is no connection, if there is none.
fn unanswered(state: &ConnectionState, what: &str, within: Duration) -> Error {
    match state {
        ConnectionState::Connecting { last: Some(cause) } => Error::with_source(
            ErrorKind::Unavailable,
            format!("{what}: ZooKeeper was not reached within {within:?}: {cause}"),
            cause.clone(),
        ),
        _ => {
            let message = format!("{what}: ZooKeeper did not answer within {within:?}");
            Error::new(ErrorKind::Unavailable, message)
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the registry was closed")
}
