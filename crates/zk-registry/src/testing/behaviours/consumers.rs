//! What a client relies on that takes its rank from ZooKeeper.

use super::*;
use crate::consumers::TakenRank;
use crate::resolve::Resolve;

async fn take(process: &Process, consumers: &ServiceName) -> TakenRank {
    soon(process.registry.take_rank(consumers)).await.unwrap()
}

/// Waits until so many ranks are taken.
async fn taken(process: &Process, consumers: &ServiceName, number: usize) {
    let is_so = |snapshot: &Snapshot| snapshot.freshness() == Freshness::Live && snapshot.len() == number;
    shows(&mut process.registry.watch(consumers), is_so).await;
}

pub(super) async fn ranks_are_the_lowest_free_ones_and_are_kept_over_a_lost_session(world: &dyn World) {
    let (one, other, consumers) = (world.process().await, world.process().await, world.service());
    let first = take(&one, &consumers).await;
    let second = take(&other, &consumers).await;
    let third = take(&other, &consumers).await;
    let ranks = [&first, &second, &third].map(|taken| taken.rank().get());
    assert_eq!(ranks, [0, 1, 2]);
    assert_eq!(third.rank().clients().map(u32::from), Some(3));

    drop(second);
    taken(&one, &consumers, 2).await;
    let again = take(&one, &consumers).await;
    assert_eq!(again.rank().get(), 1, "it was free");

    let session = |snapshot: &Snapshot| snapshot.get(&"0".parse().unwrap()).map(|member| member.session());
    let mut watch = other.registry.watch(&consumers);
    let before = session(&shows(&mut watch, |snapshot| snapshot.len() == 3).await);
    one.network.expire().await;
    shows(&mut watch, |snapshot| snapshot.len() == 3 && session(snapshot) != before).await;
    assert_eq!([first.rank().get(), again.rank().get()], [0, 1], "nobody else wanted them");
}

pub(super) async fn a_rank_that_another_client_took_is_left_to_it(world: &dyn World) {
    let (one, other, consumers) = (world.process().await, world.process().await, world.service());
    let lost = take(&one, &consumers).await;
    assert_eq!(lost.rank().get(), 0);
    one.network.cut().await;
    taken(&other, &consumers, 0).await;
    let taken_over = take(&other, &consumers).await;
    assert_eq!(taken_over.rank().get(), 0);
    one.network.heal().await;
    taken(&other, &consumers, 2).await;
    let changed = async {
        while lost.rank().get() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(changed).await;
    assert_eq!([lost.rank().get(), taken_over.rank().get()], [1, 0]);
}
