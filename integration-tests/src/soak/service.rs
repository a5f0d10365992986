//! The services of the soak, and a session that registers or watches them.

use std::time::Duration;

use zk_registry::{Options, Registry, ServiceName};

/// The session timeout of every client.
pub(super) const T: Duration = Duration::from_secs(4);
/// The services that one registry watches all alone: more than one session's share of paths.
pub(super) const MANY: usize = 3_000;

/// Opens a registry with the timeout [`T`]. Its audits are too rare to come to the aid of a lost event.
pub(super) fn open(to: &str) -> Registry {
    let options = Options::default().with_session_timeout(T);
    Registry::open(to.parse().expect("the harness names hosts correctly"), options)
}

/// The service that every reader watches.
pub(super) fn service() -> ServiceName {
    "soak".parse().expect("it is a name")
}

/// One of the [`MANY`].
pub(super) fn one_of_many(number: usize) -> ServiceName {
    format!("many-services-of-the-soak-{number:04}").parse().expect("it is a name")
}

/// The path of a service below the chroot.
pub(super) fn path(service: &ServiceName) -> String {
    format!("/services/{service}")
}
