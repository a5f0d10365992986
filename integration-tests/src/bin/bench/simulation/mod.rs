//! Every strategy, and tower's beside ours, against fleets with servers of different speed, a slow and a failing one.
//!
//! In virtual time and seeded: each run is another seed, the same for all, so that everybody gets the same calls at the
//! same times and each call is the same work wherever it goes.

mod fleet;
mod ours;
pub(crate) mod race;
pub(crate) mod towers;

use std::thread;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Subject, Unit, World};
use zk_registry::balance::strategy::Named;

use fleet::{Fleet, SERVERS};
use ours::Ours;
use race::{Contestant, Outcome, race};
use towers::Towers;

pub(crate) const SUBJECT: Subject = Subject {
    name: "simulation",
    title: "answer times and errors of a simulated fleet; an error counts as an answer after a second",
    run: |world| run(world).boxed_local(),
};

const FLEETS: [(&str, Fleet); 3] = [
    ("ten of different speed", Fleet { slow: false, failing: false }),
    ("one of ten slow", Fleet { slow: true, failing: false }),
    ("one slow, one failing", Fleet { slow: true, failing: true }),
];

/// The name of what stands beside ours, and how it is made from a seed.
type Beside = (&'static str, fn(usize, u64) -> Towers);

/// What stands beside a strategy of ours.
fn beside(name: &str) -> Option<Beside> {
    match name {
        "least-loaded" => Some(("tower PendingRequests", Towers::pending_requests)),
        "peak-ewma" => Some(("tower PeakEwma", Towers::peak_ewma)),
        _ => None,
    }
}

/// Equal algorithms differ by chance: this much in the figures of seven seeds.
const CHANCE: f64 = 1.02;

async fn run(world: &World) -> Vec<Row> {
    let seeds = 0..world.runs.0 as u64;
    let mut rows = Vec::new();
    for (words, fleet) in FLEETS {
        for name in Named::NAMES.into_iter().chain(["zone:a/peak-ewma"]) {
            let ours: Vec<Outcome> =
                seeds.clone().map(|seed| run_one(fleet, seed, || Ours::new(name, seed))).collect();
            let theirs = beside(name).map(|(their_name, towers)| {
                let outcomes = seeds.clone().map(|seed| run_one(fleet, seed, || towers(SERVERS, seed)));
                (their_name, outcomes.collect::<Vec<Outcome>>())
            });
            rows.extend(figures(&format!("{words}: {name}"), &ours, theirs.as_ref()));
        }
    }
    rows
}

/// What is read off an outcome.
type Figure = (&'static str, Unit, fn(&Outcome) -> f64);

fn figures(what: &str, ours: &[Outcome], theirs: Option<&(&str, Vec<Outcome>)>) -> Vec<Row> {
    let figures: [Figure; 4] = [
        ("median", Unit::Time, |outcome| outcome.p50),
        ("99th percentile", Unit::Time, |outcome| outcome.p99),
        ("99.9th percentile", Unit::Time, |outcome| outcome.p999),
        ("errors per million", Unit::Count, |outcome| outcome.errors),
    ];
    let row = |(figure, unit, read): Figure| {
        let row = Row::new(format!("{what}, {figure}"), unit, ours.iter().map(read).collect());
        match theirs {
            Some((name, theirs)) => {
                row.against(*name, theirs.iter().map(read).collect()).bound(Bound::RatioAtMost(CHANCE))
            }
            None => row,
        }
    };
    figures.map(row).into()
}

/// A race on a thread and under a clock of its own.
fn run_one<C: Contestant>(fleet: Fleet, seed: u64, contestant: impl FnOnce() -> C + Send) -> Outcome {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("it needs nothing from the system").block_on(async {
            let mut contestant = contestant();
            race(fleet, seed, &mut contestant).await
        })
    };
    thread::scope(|scope| scope.spawn(run).join().expect("a race does not panic"))
}
