//! What a call through `tower::Balance` costs and survives, beside tower's own balancer and a fixed address.

mod in_process;
mod web;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};

pub(crate) const SUBJECT: Subject = Subject {
    name: "calls",
    title: "calls through `tower::Balance`, beside tower's p2c and a fixed address",
    run: |world| run(world).boxed_local(),
};

const RIVAL: &str = "tower's p2c";

async fn run(world: &World) -> Vec<Row> {
    let bare = in_process::bare().await;
    let added = |taken: Vec<f64>| taken.into_iter().map(|taken| taken - bare).collect::<Samples>();
    let (ours, theirs) = world.runs.beside(in_process::ours, in_process::theirs).await;
    let allocated = world.runs.alone(async || in_process::allocations()).await;
    let (balanced, fixed) = world.runs.beside(web::balanced_rate, web::fixed_rate).await;
    let (in_turn, theirs_balanced) = world.runs.beside(web::in_turn_rate, web::theirs_rate).await;
    let (failed, theirs_failed) =
        world.runs.beside(web::ours_with_one_killed, web::theirs_with_one_killed).await;
    let (stale, theirs_stale) = world.runs.beside(web::ours_after_idling, web::theirs_after_idling).await;
    let samples = |values: Vec<f64>| values.into_iter().collect::<Samples>();
    vec![
        Row::new("added to a call of a service in this process", Unit::Time, added(ours))
            .against(RIVAL, added(theirs))
            .bound(Bound::RatioAtMost(0.5)),
        Row::new("allocations of such a call", Unit::Count, samples(allocated)).bound(Bound::AtMost(0.0)),
        Row::new("calls of three HTTP servers", Unit::Rate, samples(balanced))
            .beside("one fixed address", samples(fixed))
            .bound(Bound::RatioAtLeast(0.95)),
        Row::new("calls of three HTTP servers in turn, without a balancer", Unit::Rate, samples(in_turn))
            .beside(RIVAL, samples(theirs_balanced)),
        Row::new(
            "failed of 1,000 calls at 500 a second, one server of three killed",
            Unit::Count,
            samples(failed),
        )
        .against(RIVAL, samples(theirs_failed))
        .bound(Bound::AtMost(0.0)),
        Row::new(
            "the first call fails, after all three were replaced while idle",
            Unit::Count,
            samples(stale),
        )
        .against(RIVAL, samples(theirs_stale))
        .bound(Bound::AtMost(0.0)),
    ]
}
