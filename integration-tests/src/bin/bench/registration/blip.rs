//! A cut of one second, shorter than the session: nobody else may notice.

use std::time::Duration;

use integration_tests::bench::{Bound, Row, Runs, Unit, World};
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::raw_events::Events;
use tokio::time::sleep;
use zk_registry::{Instance, Registration, RegistrationState, Registry};

use crate::fleet::{SOON, open, time};

pub(super) async fn rows(world: &World) -> Vec<Row> {
    let zookeeper = world.zookeeper().await;
    let chroot = zookeeper.chroot("blip").await;
    let proxy = Proxy::to(zookeeper.address(1)).await;
    let registry = open(&chroot.through(proxy.address())).await;
    let mut registrations: Vec<_> =
        (1..=INSTANCES).map(|port| registry.register(&time(), Instance::new("10.0.0.1", port))).collect();
    for registration in &mut registrations {
        registration.registered().await.expect("nobody is in the way");
    }
    let (raw, witness) = (chroot.raw().await, chroot.raw().await);
    raw.mkdir("/marker").await.expect("the chroot is ours");
    let events = witness.events("/services").await.expect("the server is up");

    let runs = Runs(world.runs.0.min(3));
    let found = runs.alone(async || cut(&proxy, &registry, &registrations, &raw, &events).await).await;
    registry.close(SOON).await;
    let row = |what: &str, value: fn(&Cut) -> f64| {
        Row::new(what, Unit::Count, found.iter().map(value).collect()).bound(Bound::AtMost(0.0))
    };
    vec![
        row("cut of 1 s, 1,000 instances: events seen by another client", |cut| cut.events),
        row("cut of 1 s, 1,000 instances: writes on the server", |cut| cut.writes),
    ]
}

struct Cut {
    events: f64,
    writes: f64,
}

async fn cut(
    proxy: &Proxy,
    registry: &Registry,
    registrations: &[Registration],
    raw: &Raw,
    events: &Events,
) -> Cut {
    let seen = events.all().len();
    let first = mark(raw).await;
    proxy.refuse().await;
    proxy.cut_rst().await;
    sleep(Duration::from_secs(1)).await;
    proxy.accept().await;
    registry.connected().await.expect("the server is up");
    for registration in registrations {
        let mut states = registration.states();
        let registered = |state: &RegistrationState| matches!(state, RegistrationState::Registered { .. });
        states.wait_for(registered).await.expect("the registry is open");
    }
    events.settled().await.expect("the server is up");
    let writes = mark(raw).await - first - 1;
    Cut { events: (events.all().len() - seen) as f64, writes: writes as f64 }
}

/// Every write of anybody on the server counts one up, this one too.
async fn mark(raw: &Raw) -> i64 {
    raw.set("/marker", b"").await.expect("the server is up").mzxid
}

const INSTANCES: u16 = 1_000;
