//! The first requests on a connection: only their success makes it one.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tracing::warn;

use super::settings::SessionSettings;
use crate::error::{Error, ErrorKind};
use crate::options::Chroot;
use crate::store::{Fault, Reply, Store};

/// Why a connection is not one yet.
pub(super) enum Refusal {
    /// The requests were not answered, or not as they should be. The next connection, or a later greeting, may succeed.
    Lost,
    /// The server lacks an operation. Waiting cannot cure it.
    TooOld,
    /// The server does not know our identity.
    Unauthenticated(Error),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unimplemented => Self::TooOld,
            Fault::AuthFailed => Self::Unauthenticated(refused()),
            _ => Self::Lost,
        }
    }
}

/// The error of credentials that the server refused.
pub(super) fn refused() -> Error {
    Error::new(ErrorKind::AuthFailed, "ZooKeeper refused our credentials")
}

/// Sends the first requests of a connection; the future awaits their answers. `first` says that the session had no
/// connection before: then the operations that only newer servers have are tried, and the chroot is made if asked for.
pub(super) fn greet(
    store: &Arc<dyn Store>,
    first: bool,
    settings: &SessionSettings,
) -> BoxFuture<'static, Result<(), Refusal>> {
    let schemes = settings.schemes.clone();
    let chroot = (first && settings.chroot == Chroot::Create).then(|| store.make_chroot(settings.acl));
    let probe: Reply<()> = if first {
        store.ephemerals().map(|reply| reply.map(|_| ())).boxed()
    } else {
        store.read(&["/".to_owned()]).map(|reply| reply.map(|_| ())).boxed()
    };
    let known = (!schemes.is_empty()).then(|| store.auth_schemes());
    async move {
        probe.await?;
        if let Some(known) = known {
            let known = known.await?;
            if let Some(missing) = schemes.iter().find(|scheme| !known.iter().any(|k| k == *scheme)) {
                let message =
                    format!("the server ignored our {missing} credentials: it does not support them");
                return Err(Refusal::Unauthenticated(Error::new(ErrorKind::AuthFailed, message)));
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
