//! The costs to see a service, and to keep seeing it.

pub(crate) mod change;
pub(crate) mod cold;
mod far;
mod local;
mod reader;

use futures_util::FutureExt;
use integration_tests::bench::{Row, Subject, World};

pub(crate) use self::reader::read_if_asked;
use crate::fleet::LargeFleet;

pub(crate) const SUBJECT: Subject = Subject {
    name: "view",
    title: "to see a service, and to keep seeing it",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let mut rows = vec![far::first_sight(world).await];
    for (size, cold) in [(10, None), (1_000, Some(25)), (10_000, Some(100)), (100_000, Some(600))] {
        let chroot = world.zookeeper().await.chroot("view").await;
        let fleet = LargeFleet::of(size, &chroot).await;
        if let Some(bound) = cold {
            rows.extend(cold::rows(world, &fleet, size, bound).await);
        }
        if size == 10 || size == 10_000 {
            rows.push(change::bytes(world, &fleet, size).await);
        }
        if size == 10_000 {
            rows.push(change::processor_time(world, &fleet, size).await);
            rows.extend(change::latency(world, &fleet, size).await);
            rows.extend(local::current(world, &fleet, size).await);
        }
        if size == 100_000 {
            rows.push(reader::memory(world, &fleet, size).await);
        }
        fleet.disband(size).await;
    }
    rows.extend(local::publications(world).await);
    rows
}
