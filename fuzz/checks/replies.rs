//! What must hold for any answers of ZooKeeper: a registry that registers, updates, watches and looks up ends in bounded time,
//! without a panic, and what it publishes meanwhile keeps the promises of a snapshot.

use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::Instant;
use zk_registry::testing::fuzzing::against_hostile_replies;

pub(crate) fn replies(input: &[u8]) {
    // As many bytes as there are decisions in some minutes.
    let input = &input[..input.len().min(4096)];
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let began = Instant::now();
        let mut revision = 0;
        against_hostile_replies(input, |snapshot| {
            assert!(snapshot.revision() >= revision, "{} after {revision}", snapshot.revision());
            revision = snapshot.revision();
            let ids: Vec<_> = snapshot.instances().map(|member| member.id()).collect();
            assert!(ids.is_sorted_by(|one, other| one < other), "each instance once, in order: {ids:?}");
            assert_eq!(snapshot.is_empty(), ids.is_empty());
        })
        .await;
        yield_now().await;
        assert!(began.elapsed().as_secs() < 3600, "an hour is enough: {:?}", began.elapsed());
    });
}
