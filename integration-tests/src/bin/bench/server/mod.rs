//! time-server beside tokio's simplest server and an epoll loop, all of which close as gently.

mod load;
mod serve;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};

use self::load::Outcome;
pub(crate) use self::serve::serve_if_asked;
use self::serve::{Served, ServerKind};

pub(crate) const SUBJECT: Subject = Subject {
    name: "server",
    title: "time-server beside plain tokio and an epoll loop",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let mut rows = Vec::new();
    for clients in [1, 16, 64, 256] {
        rows.extend(one_shot(world, clients).await);
    }
    rows.push(pipelined(world).await);
    rows.push(idle(world).await);
    rows.push(slow_loris(world).await);
    rows
}

/// Connections with one `timestamp` each.
async fn one_shot(world: &World, clients: usize) -> Vec<Row> {
    let [ours, tokio, epoll] = [ServerKind::Ours, ServerKind::Tokio, ServerKind::Epoll].map(Served::start);
    let total = if clients == 1 { 8_000 } else { 40_000 };
    let run = |served: &Served| Run::of(served, clients, total);
    let (ours, others) = world.runs.beside(async || run(&ours), async || (run(&tokio), run(&epoll))).await;
    let (tokio, epoll): (Vec<_>, Vec<_>) = others.into_iter().unzip();

    let what = |what: &str| format!("{what}, {clients} at a time");
    let of = |runs: &[Run], value: fn(&Run) -> f64| runs.iter().map(value).collect::<Samples>();
    let rate = |run: &Run| run.outcome.rate();
    let processor = |run: &Run| run.processor;
    let mut rows = vec![
        Row::new(what("connect, `timestamp`, end"), Unit::Rate, of(&ours, rate))
            .beside("tokio", of(&tokio, rate))
            .bound(Bound::RatioAtLeast(0.95)),
        Row::new(what("connect, `timestamp`, end"), Unit::Rate, of(&ours, rate))
            .beside("epoll", of(&epoll, rate)),
        Row::new(what("server's processor time per connection"), Unit::Time, of(&ours, processor))
            .beside("tokio", of(&tokio, processor))
            .bound(Bound::RatioAtMost(1.15)),
        Row::new(what("server's processor time per connection"), Unit::Time, of(&ours, processor))
            .beside("epoll", of(&epoll, processor)),
        Row::new(what("broken connections"), Unit::Count, of(&ours, |run| run.outcome.broken as f64))
            .beside("tokio", of(&tokio, |run| run.outcome.broken as f64))
            .bound(Bound::AtMost(0.0)),
    ];
    if clients == 256 {
        let slowest = |run: &Run| run.outcome.percentile(1.0);
        rows.push(
            Row::new(what("slowest reply"), Unit::Time, of(&ours, slowest))
                .beside("tokio", of(&tokio, slowest))
                .bound(Bound::within(Duration::from_millis(100))),
        );
    }
    rows
}

struct Run {
    outcome: Outcome,
    /// The server's processor time per connection, in nanoseconds.
    processor: f64,
}

impl Run {
    fn of(served: &Served, clients: usize, total: usize) -> Self {
        let before = served.processor_time();
        let outcome = tokio::task::block_in_place(|| load::one_shot(served.address, clients, total));
        let used = served.processor_time() - before;
        Self { outcome, processor: used.as_nanos() as f64 / total as f64 }
    }
}

async fn pipelined(world: &World) -> Row {
    let [ours, echo] = [ServerKind::Ours, ServerKind::LineEcho].map(Served::start);
    let run = |served: &Served| {
        tokio::task::block_in_place(|| load::pipelined(served.address, 16, 64, Duration::from_millis(500)))
    };
    let (ours, echo) = world.runs.beside(async || run(&ours), async || run(&echo)).await;
    Row::new("`now`, 64 at a time on 16 connections", Unit::Rate, ours.into_iter().collect())
        .beside("tokio, line echo", echo.into_iter().collect())
        .bound(Bound::RatioAtLeast(0.8))
}

async fn idle(world: &World) -> Row {
    let run = |kind| {
        let served = Served::start(kind);
        // What is needed once is not counted.
        let warm = load::idle(served.address, 100);
        let before = served.memory();
        let open = load::idle(served.address, IDLE);
        let grown = served.memory().saturating_sub(before);
        drop((warm, open));
        grown as f64 / IDLE as f64
    };
    let run = |kind| tokio::task::block_in_place(|| run(kind));
    let (ours, echo) =
        world.runs.beside(async || run(ServerKind::Ours), async || run(ServerKind::LineEcho)).await;
    Row::new("memory per idle connection, of 10,000", Unit::Bytes, ours.into_iter().collect())
        .beside("tokio, line echo", echo.into_iter().collect())
        .bound(Bound::AtMost(8.0 * 1024.0))
}

async fn slow_loris(world: &World) -> Row {
    let served = Served::start(ServerKind::Ours);
    let p99 = || tokio::task::block_in_place(|| load::one_shot(served.address, 16, 10_000).percentile(0.99));
    let attacked = || {
        // What opening them costs the others is no part of it.
        let (standing, stop) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| load::slow_loris(served.address, 1_000, &standing, &stop));
            standing.wait();
            let p99 = p99();
            stop.store(true, Ordering::Relaxed);
            p99
        })
    };
    let (under_attack, calm) = world.runs.beside(async || attacked(), async || p99()).await;
    Row::new(
        "99th percentile with 1,000 slow connections, 16 at a time",
        Unit::Time,
        under_attack.into_iter().collect(),
    )
    .beside("without", calm.into_iter().collect())
    .bound(Bound::RatioAtMost(1.5))
}

const IDLE: usize = 10_000;
