//! What a behaviour is asked of: somewhere to connect to, and a network that breaks.

use std::sync::Arc;
use std::time::Duration;

use crate::store::Connect;

/// Somewhere to connect to.
pub(crate) trait World: Send + Sync {
    /// A process of its own, with a network of its own. The chroot, if any, may be missing.
    fn process(&self, user: Option<&str>, chroot: &str) -> Process;
    /// The name of a node that no other behaviour uses.
    fn fresh(&self) -> String;
}

/// Something that connects, and what can happen to its network.
pub(crate) struct Process {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) network: Box<dyn Network>,
}

/// The network between one process and the servers.
pub(crate) trait Network: Send + Sync {
    /// Ends the connection, and refuses new ones.
    fn cut(&self);
    fn heal(&self);
}

/// The session timeout that is asked for.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
