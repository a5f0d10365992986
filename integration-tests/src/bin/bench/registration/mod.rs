//! The costs to register, to stay registered, to come back and to leave.

pub(crate) mod back;
pub(crate) mod blip;
pub(crate) mod many;

use std::time::Duration;

use futures_util::FutureExt;
use integration_tests::bench::runs::latencies;
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use integration_tests::raw::CreateMode;
use zk_registry::{Instance, Withdrawn};

use crate::fleet::{SOON, open, time};

pub(crate) const SUBJECT: Subject = Subject {
    name: "registration",
    title: "to register, to stay registered, to come back, to leave",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let mut rows = many::rows(world).await;
    rows.extend(withdrawals(world).await);
    rows.extend(blip::rows(world).await);
    rows.extend(back::restarted(world).await);
    rows.push(back::thawed(world).await);
    rows
}

/// `withdraw`, beside the bare delete.
async fn withdrawals(world: &World) -> Vec<Row> {
    let chroot = world.zookeeper().await.chroot("w").await;
    let (registry, raw) = (open(&chroot.connect_string()).await, chroot.raw().await);
    raw.mkdir("/services/time").await.expect("the chroot is ours");
    let ours = async || {
        let mut registrations = Vec::new();
        for port in 1..=CALLS {
            let mut registration = registry.register(&time(), Instance::new("10.0.0.1", port));
            registration.registered().await.expect("nobody is in the way");
            registrations.push(registration);
        }
        let mut registrations = registrations.into_iter();
        latencies(CALLS.into(), async || {
            let registration = registrations.next().expect("there is one for each call");
            assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
        })
        .await
    };
    let reference = async || {
        for n in 1..=CALLS {
            let created = raw.create(&format!("/services/time/{n}"), b"", CreateMode::Ephemeral).await;
            created.expect("the chroot is ours");
        }
        let mut n = 0;
        latencies(CALLS.into(), async || {
            n += 1;
            raw.delete(&format!("/services/time/{n}")).await.expect("it was created above");
        })
        .await
    };
    let (ours, reference) = world.runs.beside(ours, reference).await;
    registry.close(SOON).await;
    raw.close().await;
    let at = |runs: &[Samples], part| runs.iter().map(|run| run.percentile(part)).collect();
    let row =
        |what, part| Row::new(what, Unit::Time, at(&ours, part)).beside("raw delete", at(&reference, part));
    vec![
        row("`withdraw` until acknowledged, median", 0.5).bound(Bound::within(Duration::from_millis(10))),
        row("`withdraw` until acknowledged, 99th percentile", 0.99),
    ]
}

/// Withdrawals per run.
const CALLS: u16 = 100;
