//! The right of one connection to be open, counted and given back however the connection ends.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::daemon::admission::{Full, Place};
use crate::daemon::listener_context::ListenerContext;
use crate::daemon::metrics::Fault;

/// One place among the connections that may be open. Dropping it gives the place back, also in a panic.
#[must_use = "dropping it gives the place back"]
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    pub(crate) context: Arc<ListenerContext>,
    pub(crate) peer: SocketAddr,
    pub(crate) place: Arc<Place>,
}

impl ConnectionPermit {
    /// Takes a place for a connection of `peer`.
    ///
    /// # Errors
    ///
    /// [`Full`] when this peer, or all peers together, have as many as they may.
    pub(crate) fn take(context: &Arc<ListenerContext>, peer: SocketAddr) -> Result<Self, Full> {
        let place = context.admission.admit(peer.ip())?;
        context.metrics.count_opened();
        Ok(Self { context: Arc::clone(context), peer, place })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.context.admission.leave(&self.place);
        self.context.metrics.count_closed();
        if std::thread::panicking() {
            self.context.metrics.count_fault(Fault::Panic);
        }
    }
}
