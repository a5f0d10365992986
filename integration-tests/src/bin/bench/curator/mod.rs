//! Apache Curator's discovery, which does in Java what we do: beside ours, in the same run, on the same server.
//!
//! One JVM stays up for all of it, so that what it runs is compiled, and measures for itself: see [`driver`].

mod driver;
mod keep;
mod pick;
mod registrant;
mod rows;
mod watch;

use futures_util::FutureExt;
use integration_tests::bench::{Row, Subject, World};

use self::driver::Curator;
pub(crate) use self::registrant::register_if_asked;
use crate::fleet::LargeFleet;
use crate::view::change::Pace;

pub(crate) const SUBJECT: Subject = Subject {
    name: "curator",
    title: "ours beside Apache Curator's discovery",
    run: |world| run(world).boxed_local(),
};

/// Nothing, where Curator is not installed.
async fn run(world: &World) -> Vec<Row> {
    let Some(mut curator) = Curator::start().await else { return Vec::new() };
    let mut rows = vec![keep::registered(world, &mut curator).await];
    let (mut starts, mut changes, mut picks) = (Vec::new(), Vec::new(), Vec::new());
    for size in [10, 100, 1_000, 10_000] {
        let chroot = world.zookeeper().await.chroot("curator").await;
        let fleet = LargeFleet::of(size, &chroot).await;
        if size >= 1_000 {
            starts.push(watch::cold(world, &fleet, size, &mut curator).await);
        }
        if size == 10 || size == 10_000 {
            for pace in [Pace::Alone, Pace::Often] {
                changes.push(watch::bytes(world, &fleet, size, pace, &mut curator).await);
            }
        }
        if size == 10_000 {
            changes.extend(watch::latency(world, &fleet, size, &mut curator).await);
        }
        if size >= 100 {
            picks.extend(pick::rows(world, &fleet, size, &mut curator).await);
        }
        fleet.disband(size).await;
    }
    for more in [starts, changes, picks] {
        rows.extend(more);
    }
    rows.push(keep::cut(world, &mut curator).await);
    rows.push(keep::frozen(world, &mut curator).await);
    rows
}
