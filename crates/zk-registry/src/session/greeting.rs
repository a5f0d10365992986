//! The first requests on a connection: only their success makes it one.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use tracing::warn;

use super::supervisor::Supervisor;
use crate::error::{Error, ErrorKind};
use crate::options::Chroot;
use crate::store::{Fault, Reply, Store};

/// Why a connection is not one yet.
pub(super) enum Greeting {
    Lost,
    TooOld,
    Unauthenticated(Error),
}

impl From<Fault> for Greeting {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unimplemented => Self::TooOld,
            Fault::AuthFailed => Self::Unauthenticated(refused()),
            _ => Self::Lost,
        }
    }
}

pub(super) fn refused() -> Error {
    Error::new(ErrorKind::AuthFailed, "ZooKeeper refused our credentials")
}

impl Supervisor {
    /// The first requests on a connection: only their success makes it one.
    pub(super) fn greet(&self, store: &Arc<dyn Store>) -> BoxFuture<'static, Result<(), Greeting>> {
        let first = self.link.borrow().ups == 0;
        let store = store.clone();
        let schemes = self.settings.schemes.clone();
        let chroot =
            (first && self.settings.chroot == Chroot::Create).then(|| store.make_chroot(self.settings.acl));
        let probe: Reply<()> = if first {
            store.ephemerals().map(|reply| reply.map(|_| ())).boxed()
        } else {
            store.read(&["/".to_owned()]).map(|reply| reply.map(|_| ())).boxed()
        };
        let known = (!schemes.is_empty()).then(|| store.auth_schemes());
        async move {
            probe.await.map_err(Greeting::from)?;
            if let Some(known) = known {
                let known = known.await.map_err(Greeting::from)?;
                if let Some(missing) = schemes.iter().find(|scheme| !known.iter().any(|k| k == *scheme)) {
                    let message =
                        format!("the server ignored our {missing} credentials: it does not support them");
                    return Err(Greeting::Unauthenticated(Error::new(ErrorKind::AuthFailed, message)));
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
