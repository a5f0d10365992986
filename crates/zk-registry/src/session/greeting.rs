//! The first requests on a connection: only their success makes it one.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::warn;

use crate::error::{Error, ErrorKind};
use crate::options::Acl;
use crate::store::{Fault, Reply, Store};

/// What a greeting asks.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    /// Whether the session was never greeted before.
    pub(super) first: bool,
    /// The schemes under which the server must know us.
    pub(super) schemes: Vec<&'static str>,
    /// Creates the chroot with this ACL.
    pub(super) chroot: Option<Acl>,
}

/// Why a connection is not one yet.
#[derive(Debug)]
pub(super) enum NotGreeted {
    /// The requests failed, with this fault.
    Unanswered(Fault),
    /// The server lacks an operation.
    TooOld,
    /// The server refuses our credentials, which ends the session.
    Refused(Error),
    /// The server does not know our credentials, though the session is good.
    Unknown(Error),
}

impl From<Fault> for NotGreeted {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unimplemented => Self::TooOld,
            Fault::AuthFailed => Self::Refused(refused()),
            fault => Self::Unanswered(fault),
        }
    }
}

/// The error of refused credentials.
pub(super) fn refused() -> Error {
    Error::new(ErrorKind::AuthFailed, "ZooKeeper refused our credentials")
}

impl Greeting {
    /// Sends every request at once; the future awaits the answers.
    ///
    /// The `sync` is sent ahead of everything: once it is answered, whatever the leader had committed by then is read by
    /// every later read on this connection.
    pub(super) fn send(self, store: &Arc<dyn Store>) -> BoxFuture<'static, Result<(), NotGreeted>> {
        let synced = store.sync("/");
        let probed: Reply<()> = if self.first {
            store.ephemerals().map(|reply| reply.map(|_| ())).boxed()
        } else {
            store.read(&["/".to_owned()]).map(|reply| reply.map(|_| ())).boxed()
        };
        let known = (!self.schemes.is_empty()).then(|| store.auth_schemes());
        let chroot = self.chroot.map(|acl| store.make_chroot(acl));
        async move {
            synced.await?;
            probed.await?;
            if let Some(known) = known {
                let known = known.await?;
                if let Some(missing) = self.schemes.iter().find(|scheme| !known.iter().any(|k| k == *scheme))
                {
                    let message =
                        format!("the server ignored our {missing} credentials: it does not support them");
                    return Err(NotGreeted::Unknown(Error::new(ErrorKind::AuthFailed, message)));
                }
            }
            if let Some(chroot) = chroot
                && let Err(fault) = chroot.await
            {
                warn!(?fault, "the chroot could not be created");
            }
            Ok(())
        }
        .boxed()
    }
}
