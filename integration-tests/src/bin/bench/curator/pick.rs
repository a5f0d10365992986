//! To choose one: a `ServiceProvider` beside our balancer, both with nothing passed in, as callers do.

use std::hint::black_box;

use integration_tests::bench::runs::per_call;
use integration_tests::bench::{Row, Unit, World};
use zk_registry::Resolve;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, Outcome};

use super::driver::Curator;
use super::rows::{SESSION, row, samples};
use crate::fleet::{LargeFleet, SOON, open, time};
use crate::grouped::grouped;

pub(super) async fn rows(world: &World, fleet: &LargeFleet, size: usize, curator: &mut Curator) -> Vec<Row> {
    let registry = open(&fleet.to).await;
    let mut watch = registry.watch(&time());
    watch.live().await.expect("the registry is open");
    let mut rows = Vec::new();
    for strategy in ["random", "round-robin"] {
        let balancer = Balancer::new(strategy.parse::<Named>().expect("it is a strategy's name"));
        balancer.update(watch.current());
        curator.open(&fleet.to, SESSION).await;
        curator.provide(strategy).await;
        let found = world.runs.beside(async || ours(&balancer), async || curator.pick().await).await;
        curator.close().await;
        let what = format!("pick of {} instances, {strategy}", grouped(size));
        rows.push(row(what, Unit::Time, samples(found), curator));
    }
    registry.close(SOON).await;
    rows
}

/// Nanoseconds per pick, its outcome included.
fn ours(balancer: &Balancer) -> f64 {
    per_call(CALLS, || {
        let lease = balancer.pick().expect("there are instances");
        black_box(lease.instance());
        lease.finish(Outcome::Success);
    })
}

/// Per run.
const CALLS: u32 = 500_000;
