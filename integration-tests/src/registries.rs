//! Registries under test: their options, and the service that they are asked about.

use std::time::Duration;

use zk_registry::{Options, Registry, ServiceName};

use crate::replay::init_tracing;

/// The session timeout of a registry under test.
pub const T: Duration = Duration::from_secs(4);

/// That timeout, and audits that a test lives to see.
pub fn options() -> Options {
    let mut options = Options::default();
    options.session_timeout = T;
    options.audit_interval = Duration::from_secs(2);
    options
}

/// A registry at `host:port[,host:port]...[/chroot]` whose logs the test runner shows when the test fails.
pub fn open(to: &str) -> Registry {
    init_tracing();
    Registry::open(to.parse().expect("the harness names hosts correctly"), options())
}

/// The service that tests register and watch.
pub fn time() -> ServiceName {
    "time".parse().expect("it is a name")
}
