//! A cut of one second, shorter than the session: no other client may notice.

use std::time::Duration;

use integration_tests::bench::{Bound, Row, Runs, Unit, World};
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::raw_events::Events;
use integration_tests::zookeeper::Chroot;
use tokio::time::sleep;
use zk_registry::{Instance, Registration, RegistrationState, Registry};

use crate::fleet::{SOON, open, time};

pub(super) async fn rows(world: &World) -> Vec<Row> {
    let link = CutLink::new(world).await;
    let registry = open(&link.to()).await;
    let registrations = register(&registry, INSTANCES).await;
    let link = link.watched().await;
    let runs = Runs(world.runs.0.min(3));
    let found = runs.alone(async || link.cut(async || back(&registry, &registrations).await).await).await;
    registry.close(SOON).await;
    let row = |what: &str, value: fn(&Cut) -> f64| {
        Row::new(what, Unit::Count, found.iter().map(value).collect()).bound(Bound::AtMost(0.0))
    };
    vec![
        row("cut of 1 s, 1,000 instances: events seen by another client", |cut| cut.events),
        row("cut of 1 s, 1,000 instances: writes on the server", |cut| cut.writes),
    ]
}

/// So many instances, registered.
pub(crate) async fn register(registry: &Registry, count: u16) -> Vec<Registration> {
    let mut registrations: Vec<_> =
        (1..=count).map(|port| registry.register(&time(), Instance::new("10.0.0.1", port))).collect();
    for registration in &mut registrations {
        registration.registered().await.expect("nobody is in the way");
    }
    registrations
}

/// Returns once the registry knows that they are registered.
pub(crate) async fn back(registry: &Registry, registrations: &[Registration]) {
    registry.connected().await.expect("the server is up");
    for registration in registrations {
        let mut states = registration.states();
        let registered = |state: &RegistrationState| matches!(state, RegistrationState::Registered { .. });
        states.wait_for(registered).await.expect("the registry is open");
    }
}

/// The link between a server and a client that registers.
pub(crate) struct CutLink {
    proxy: Proxy,
    chroot: Chroot,
}

/// The same, with a witness of what it does to the registered nodes.
pub(crate) struct WatchedLink {
    proxy: Proxy,
    raw: Raw,
    events: Events,
}

/// The effects of a cut that other clients saw.
pub(crate) struct Cut {
    pub(crate) events: f64,
    writes: f64,
}

impl CutLink {
    pub(crate) async fn new(world: &World) -> Self {
        let zookeeper = world.zookeeper().await;
        let chroot = zookeeper.chroot("blip").await;
        Self { proxy: Proxy::to(zookeeper.address(1)).await, chroot }
    }

    /// The connect string of the client that registers.
    pub(crate) fn to(&self) -> String {
        self.chroot.through(self.proxy.address())
    }

    /// Once every instance is registered.
    pub(crate) async fn watched(self) -> WatchedLink {
        let (raw, witness) = (self.chroot.raw().await, self.chroot.raw().await);
        raw.mkdir("/marker").await.expect("the chroot is ours");
        let events = witness.events("/services").await.expect("the server is up");
        WatchedLink { proxy: self.proxy, raw, events }
    }
}

impl WatchedLink {
    /// One second without the link, until `back` and quiet.
    pub(crate) async fn cut(&self, back: impl AsyncFnOnce()) -> Cut {
        let seen = self.events.all().len();
        let first = mark(&self.raw).await;
        self.proxy.refuse().await;
        self.proxy.cut_rst().await;
        sleep(Duration::from_secs(1)).await;
        self.proxy.accept().await;
        back().await;
        self.quiet().await;
        let writes = mark(&self.raw).await - first - 1;
        Cut { events: (self.events.all().len() - seen) as f64, writes: writes as f64 }
    }

    /// Writes of a client after it said to be back count as its own, too.
    async fn quiet(&self) {
        let mut seen = None;
        while seen != Some(self.events.all().len()) {
            seen = Some(self.events.all().len());
            sleep(QUIET).await;
            self.events.settled().await.expect("the server is up");
        }
    }
}

/// Every write of anybody on the server counts one up, this one too.
async fn mark(raw: &Raw) -> i64 {
    raw.set("/marker", b"").await.expect("the server is up").mzxid
}

const INSTANCES: u16 = 1_000;
/// Many times what a registration takes.
const QUIET: Duration = Duration::from_millis(500);
