//! The one service of the soak, and a session that registers or watches it.

use std::time::Duration;

use zk_registry::{Options, Registry, ServiceName};

/// The session timeout of every client.
pub(super) const T: Duration = Duration::from_secs(4);
/// The service's path below the chroot.
pub(super) const SERVICE: &str = "/services/soak";

/// Opens a registry with the timeout [`T`]. Its audits are too rare to come to the aid of a lost event.
pub(super) fn open(to: &str) -> Registry {
    let options = Options::default().with_session_timeout(T);
    Registry::open(to.parse().expect("the harness names hosts correctly"), options)
}

/// The service's name.
pub(super) fn service() -> ServiceName {
    "soak".parse().expect("it is a name")
}
