//! An instance fails, is slow, hangs or restarts, and is well again: how soon it has its share, for every strategy, and tower's two in
//! the same histories.
//!
//! In virtual time and seeded: each contestant gets the same calls at the same times.

mod contestants;
mod history;
mod run;

use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Subject, Unit, World};
use zk_registry::balance::strategy::Named;

use contestants::Ours;
use history::{SERVERS, Traffic, Trouble};
use run::{Contestant, Course, FOLLOWED, STEP, Share, run};

use crate::simulation::towers::Towers;

pub(crate) const FAILS_ONCE: Subject = Subject {
    name: "recovery-fails-once",
    title: "one of four equal instances fails one call",
    run: |world| async { rows(world, Trouble::Fails(1)) }.boxed_local(),
};

pub(crate) const FAILS_FIVE_TIMES: Subject = Subject {
    name: "recovery-fails-five-times",
    title: "one of four equal instances fails five calls in a row",
    run: |world| async { rows(world, Trouble::Fails(5)) }.boxed_local(),
};

pub(crate) const SLOW: Subject = Subject {
    name: "recovery-slow",
    title: "one of four equal instances takes 20 times as long for 10 s, and half a second at least",
    run: |world| async { rows(world, Trouble::Slow) }.boxed_local(),
};

pub(crate) const HANGS: Subject = Subject {
    name: "recovery-hangs",
    title: "one of four equal instances does not answer for 10 s; callers wait for 1 s",
    run: |world| async { rows(world, Trouble::Hangs) }.boxed_local(),
};

pub(crate) const RESTARTS: Subject = Subject {
    name: "recovery-restarts",
    title: "one of four equal instances is dead for 1 s, then another process is listed in its place",
    run: |world| async { rows(world, Trouble::Restarts) }.boxed_local(),
};

/// Calls a second, and how many histories are averaged: `None` = as many as runs are asked for, because each is long.
const RATES: [(u32, Option<u64>); 3] = [(10, Some(200)), (100, Some(200)), (10_000, None)];
/// How long a well instance takes, in milliseconds.
const ANSWERS: [u64; 3] = [1, 20, 200];
/// An instance has its share when it gets so much of it, on average over [`WINDOW`] steps.
const PART: f64 = 0.9;
const WINDOW: usize = 4;
/// The promise, since the trouble and the ejection that it led to are over.
const BOUND: Duration = Duration::from_secs(10);
/// Equal algorithms differ by chance: this much in the figures of a few histories.
const CHANCE: f64 = 1.02;

/// A contestant by its name.
#[derive(Clone, Copy)]
enum Who {
    Ours(&'static str),
    Theirs(&'static str, fn(usize, u64) -> Towers),
}

/// What a contestant did at one rate and one answer time, in all histories together.
struct Figures {
    cell: String,
    /// Until it had its share; [`FOLLOWED`] if it had not until then.
    until: f64,
    p99: f64,
    errors: f64,
}

fn rows(world: &World, trouble: Trouble) -> Vec<Row> {
    let towers = [
        Who::Theirs("tower PendingRequests", Towers::pending_requests),
        Who::Theirs("tower PeakEwma", Towers::peak_ewma),
    ]
    .map(|who| figures(world, trouble, who));
    let [pending_requests, peak_ewma] = &towers;
    let mut rows = Vec::new();
    for name in Named::NAMES.into_iter().chain(["zone:a/peak-ewma"]) {
        let ours = figures(world, trouble, Who::Ours(name));
        let (their_name, theirs) = match name {
            "peak-ewma" | "zone:a/peak-ewma" => ("tower PeakEwma", peak_ewma),
            _ => ("tower PendingRequests", pending_requests),
        };
        rows.push(until(name, &ours, their_name, theirs));
        if matches!(name, "peak-ewma" | "least-loaded") {
            let p99 = |figures: &Figures| figures.p99;
            let errors = |figures: &Figures| figures.errors;
            rows.push(worst(
                &format!("{name}, 99th percentile"),
                Unit::Time,
                &ours,
                (their_name, theirs),
                p99,
            ));
            rows.push(worst(
                &format!("{name}, errors per million"),
                Unit::Count,
                &ours,
                (their_name, theirs),
                errors,
            ));
        }
    }
    rows
}

/// The longest time until an instance had its share, beside the longest of tower's.
fn until(name: &str, ours: &[Figures], their_name: &str, theirs: &[Figures]) -> Row {
    let longest = |figures: &[Figures]| figures.iter().map(|one| one.until).fold(0.0, f64::max);
    let worst = ours.iter().max_by(|a, b| a.until.total_cmp(&b.until)).map_or("", |one| one.cell.as_str());
    let what =
        format!("{name}, until it has 90 % of its share, longest of nine ({worst}); 20 s: not within that");
    Row::new(what, Unit::Time, [longest(ours)].into_iter().collect())
        .against(their_name, [longest(theirs)].into_iter().collect())
        .bound(Bound::within(BOUND))
}

/// The figure that is worst beside tower's, of nine.
fn worst(
    what: &str,
    unit: Unit,
    ours: &[Figures],
    (their_name, theirs): (&str, &[Figures]),
    read: fn(&Figures) -> f64,
) -> Row {
    let ratio = |(ours, theirs): &(&Figures, &Figures)| (read(ours) + 1.0) / (read(theirs) + 1.0);
    let pairs = ours.iter().zip(theirs);
    let (ours, theirs) = pairs.max_by(|a, b| ratio(a).total_cmp(&ratio(b))).expect("there are nine");
    Row::new(format!("{what}, worst of nine ({})", ours.cell), unit, [read(ours)].into_iter().collect())
        .against(their_name, [read(theirs)].into_iter().collect())
        .bound(Bound::RatioAtMost(CHANCE))
}

/// The figures at each rate and answer time. Each is told as soon as it is known.
fn figures(world: &World, trouble: Trouble, who: Who) -> Vec<Figures> {
    let cells = RATES.into_iter().flat_map(|rate| ANSWERS.map(|answer| (rate, answer)));
    let figures = cells.map(|((rate, seeds), answer)| {
        let traffic = Traffic { rate, answer: Duration::from_millis(answer) };
        let courses = courses(trouble, traffic, seeds.unwrap_or(world.runs.0 as u64), who);
        let mut taken: Vec<_> = courses.iter().flat_map(|course| course.taken.iter().copied()).collect();
        taken.sort_unstable();
        let errors: u32 = courses.iter().map(|course| course.errors).sum();
        let figures = Figures {
            cell: format!("{rate}/s, {answer} ms"),
            until: recovered(&courses),
            p99: taken[(taken.len() as f64 * 0.99) as usize].as_nanos() as f64,
            errors: 1e6 * f64::from(errors) / taken.len() as f64,
        };
        let name = match who {
            Who::Ours(name) | Who::Theirs(name, _) => name,
        };
        eprintln!(
            "{trouble:?}, {}, {name}: share after {:.1} s, 99th percentile {:.1} ms, {:.0} errors per million",
            figures.cell,
            figures.until / 1e9,
            figures.p99 / 1e6,
            figures.errors
        );
        figures
    });
    figures.collect()
}

/// When the average share is that of the time before, in nanoseconds; [`FOLLOWED`] if it is not until then.
fn recovered(courses: &[Course]) -> f64 {
    let sum = |shares: &mut dyn Iterator<Item = Share>| {
        let mut sum = Share::default();
        shares.for_each(|share| sum.add(share));
        sum.ratio()
    };
    let before = sum(&mut courses.iter().map(|course| course.before));
    let steps = courses.first().map_or(0, |course| course.after.len());
    let since = (0..steps.saturating_sub(WINDOW)).find(|&step| {
        let window = step..step + WINDOW;
        sum(&mut courses.iter().flat_map(|course| course.after[window.clone()].iter().copied()))
            >= PART * before
    });
    since.map_or(FOLLOWED, |step| STEP * step as u32).as_nanos() as f64
}

/// The histories of these seeds, on as many threads as there are processors.
fn courses(trouble: Trouble, traffic: Traffic, seeds: u64, who: Who) -> Vec<Course> {
    let next = AtomicU64::new(0);
    let courses = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= seeds {
                return;
            }
            let course = match who {
                Who::Ours(name) => run_one(trouble, traffic, seed, || Ours::new(name, seed)),
                Who::Theirs(_, towers) => run_one(trouble, traffic, seed, || towers(SERVERS, seed)),
            };
            courses.lock().expect("a history does not panic").push((seed, course));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut courses = courses.into_inner().expect("a history does not panic");
    courses.sort_unstable_by_key(|(seed, _)| *seed);
    courses.into_iter().map(|(_, course)| course).collect()
}

/// A history under a clock of its own.
fn run_one<C: Contestant>(
    trouble: Trouble,
    traffic: Traffic,
    seed: u64,
    contestant: impl FnOnce() -> C,
) -> Course {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("it needs nothing from the system").block_on(async {
        let mut contestant = contestant();
        run(trouble, traffic, seed, &mut contestant).await
    })
}
