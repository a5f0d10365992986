//! The operator's program: what it costs to list a large fleet, and to look at one that changes all the time.

mod live;
mod page;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Subject, Unit, World};
use integration_tests::process::Program;
use integration_tests::terminal::Terminal;

use self::live::Fleet;
use self::page::Page;
use crate::fleet::LargeFleet;
use crate::view::cold;

pub(crate) const SUBJECT: Subject = Subject {
    name: "operator",
    title: "zkr, the operator's program, with 10,000 instances",
    run: |world| run(world).boxed_local(),
};

async fn run(world: &World) -> Vec<Row> {
    let chroot = world.zookeeper().await.chroot("operator").await;
    let fleet = LargeFleet::of(SIZE, &chroot).await;
    let mut rows = vec![list(world, &fleet).await];
    let mut changing = Fleet::of(&fleet, SIZE);

    let words = ["top", "time", "--zookeeper", &fleet.to];
    let terminal = Terminal::start(&Program::zkr().args(words), WIDTH, HEIGHT);
    rows.extend(changing.rows(world, "top", terminal.id(), terminal.lookout()).await);
    drop(terminal);

    let page = Page::open(&fleet.to).await;
    rows.extend(changing.rows(world, "web, one page", page.id(), page.lookout()).await);
    drop(page);
    fleet.disband(SIZE).await;
    rows
}

/// From the start of the program to its end, all of its output read.
async fn list(world: &World, fleet: &LargeFleet) -> Row {
    let (ours, reference) =
        world.runs.beside(async || listed(&fleet.to), async || cold::reference(fleet, SIZE).await).await;
    Row::new("list, from the start of the program to its end", Unit::Time, ours.into_iter().collect())
        .beside(
            "raw list and multi-reads, in a program that runs, not decoded",
            reference.into_iter().collect(),
        )
        .bound(Bound::within(Duration::from_millis(300)))
}

fn listed(to: &str) -> f64 {
    let mut command = Command::new(Program::zkr().path());
    command.args(["list", "time", "--output", "json", "--zookeeper", to]).stdin(Stdio::null());
    let start = Instant::now();
    let output = command.output().expect("it was built");
    let took = start.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), SIZE);
    took.as_nanos() as f64
}

const SIZE: usize = 10_000;
/// The terminal of a large window.
const WIDTH: u16 = 200;
const HEIGHT: u16 = 60;
