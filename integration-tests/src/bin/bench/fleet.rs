//! The beginning of every subject of the library: a connected registry, and a service full of instances.
//!
//! The fleet's nodes are persistent: a load of many nodes in one session would be more than a server can close at once.

use std::time::Duration;

use integration_tests::proxy::Proxy;
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::zookeeper::Chroot;
use zk_registry::{Instance, Options, Registry, ServiceName};

/// Longer than anything here takes.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The service that everything here is about.
pub(crate) fn time() -> ServiceName {
    "time".parse().expect("it is a name")
}

/// A registry with default options that is connected.
pub(crate) async fn open(to: &str) -> Registry {
    open_with(to, Options::default()).await
}

/// A registry that is connected.
pub(crate) async fn open_with(to: &str, options: Options) -> Registry {
    let registry = Registry::open(to.parse().expect("it is a connect string"), options);
    registry.connected().await.expect("the server is up");
    registry
}

/// The `n`th host of a fleet.
pub(crate) fn host(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}

/// A service of many instances that need no session.
pub(crate) struct LargeFleet {
    pub(crate) raw: Raw,
    pub(crate) to: String,
    chroot: Chroot,
    /// The record of [`TEMPLATE`], as the library writes it.
    record: String,
}

impl LargeFleet {
    /// `size` instances, in `chroot`.
    pub(crate) async fn of(size: usize, chroot: &Chroot) -> Self {
        let (raw, to) = (chroot.raw().await, chroot.connect_string());
        raw.mkdir("/services/time").await.expect("the chroot is ours");
        // A server that has just been relieved of a large fleet may pause for longer than the default.
        let options = Options::default().with_session_timeout(SOON * 2);
        let registry = open_with(&to, options).await;
        let mut registration = registry.register(&time(), Instance::new(TEMPLATE, PORT));
        registration.registered().await.expect("nobody is in the way");
        let (record, _) = raw.get(registration.path()).await.expect("the server is up").expect("it is there");
        registration.withdraw(SOON).await;
        registry.close(SOON).await;
        let (chroot, record) = (chroot.clone(), String::from_utf8(record).expect("it is JSON"));
        let fleet = Self { raw, to, chroot, record };
        let nodes = (0..size).map(|n| (fleet.path(n), fleet.record(n)));
        fleet.raw.create_many(nodes).await.expect("the chroot is ours");
        fleet
    }

    /// The way to it through `proxy`.
    pub(crate) fn through(&self, proxy: &Proxy) -> String {
        self.chroot.through(proxy.address())
    }

    /// Where the `n`th instance is.
    pub(crate) fn path(&self, n: usize) -> String {
        format!("/services/time/{}", id(n))
    }

    /// The data of the `n`th instance's node.
    pub(crate) fn record(&self, n: usize) -> Vec<u8> {
        self.record.replace(TEMPLATE, &host(n)).into_bytes()
    }

    /// One more instance, ephemeral. Returns the zxid of the change.
    pub(crate) async fn come(&self, n: usize) -> i64 {
        let created = self.raw.create(&self.path(n), &self.record(n), CreateMode::Ephemeral).await;
        created.expect("it was not there").czxid
    }

    /// The `n`th instance is written again. Returns the zxid of the change.
    pub(crate) async fn touch(&self, n: usize) -> i64 {
        self.raw.set(&self.path(n), &self.record(n)).await.expect("it is there").mzxid
    }

    /// The `n`th instance is gone.
    pub(crate) async fn go(&self, n: usize) {
        self.raw.delete(&self.path(n)).await.expect("it was there");
    }

    /// Empties the server again, so that what is measured next does not carry the load.
    pub(crate) async fn disband(self, size: usize) {
        let paths: Vec<_> = (0..size).map(|n| self.path(n)).collect();
        self.raw.delete_many(paths).await.expect("they are there");
        self.raw.close().await;
    }
}

/// The id of the `n`th instance.
pub(crate) fn id(n: usize) -> String {
    format!("{}:{PORT}", host(n))
}

/// No host of a fleet.
const TEMPLATE: &str = "10.99.99.99";
const PORT: u16 = 8897;
