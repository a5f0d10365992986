//! `bench`: measures what we promise, prints it, keeps it. `make bench` runs it.

mod again;
mod calls;
mod client;
mod curator;
mod dialects;
mod fleet;
mod for_tests;
mod grouped;
mod many_services;
mod operator;
mod pick;
mod recovery;
mod registration;
mod scale;
mod server;
mod simulation;
mod subset;
mod update;
mod view;
mod zookeeper;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use integration_tests::bench::machine::{self, Machine};
use integration_tests::bench::{Report, Runs, Samples, Subject, World, page, plot, table};
use integration_tests::checkout::target_directory;

/// Every subject, in the order in which they run. A new one is a module beside this file and a line here.
const SUBJECTS: &[Subject] = &[
    zookeeper::SUBJECT,
    for_tests::SUBJECT,
    registration::SUBJECT,
    view::SUBJECT,
    dialects::SUBJECT,
    many_services::SUBJECT,
    pick::SUBJECT,
    update::SUBJECT,
    calls::SUBJECT,
    simulation::SUBJECT,
    recovery::FAILS_ONCE,
    recovery::FAILS_FIVE_TIMES,
    recovery::SLOW,
    recovery::HANGS,
    recovery::RESTARTS,
    subset::SUBJECT,
    scale::SUBJECT,
    server::SUBJECT,
    client::SUBJECT,
    operator::SUBJECT,
    curator::SUBJECT,
];

#[derive(Debug, Parser)]
#[command(about = "Measures what we promise, beside references, and keeps the figures")]
struct Args {
    /// Only subjects whose name contains one of these; all without any
    only: Vec<String>,

    /// How often each thing is measured
    #[arg(long, default_value_t = 7, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    runs: usize,

    /// Name the subjects and measure nothing
    #[arg(long)]
    list: bool,

    /// Write this page, and its plots beside it, from the figures of earlier runs and measure nothing
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Ten thousand connections and more are measured; the servers that we start have our limit.
    time_server::open_files::fit_connections(usize::MAX);
    server::serve_if_asked().await;
    view::read_if_asked().await;
    client::list_if_asked().await;
    curator::register_if_asked().await;
    match run(Args::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> io::Result<ExitCode> {
    let directory = target_directory().join("bench");
    if let Some(file) = args.page {
        return write_page(&directory, &file);
    }
    if args.list {
        for subject in SUBJECTS {
            println!("{:12} {}", subject.name, subject.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = |subject: &&Subject| {
        args.only.is_empty() || args.only.iter().any(|only| subject.name.contains(only.as_str()))
    };
    let chosen: Vec<&Subject> = SUBJECTS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        eprintln!("bench: no subject is named like {:?}; there are: {}", args.only, names.join(", "));
        return Ok(ExitCode::from(2));
    }
    let machine = Machine::here();
    let world = World::new(Runs(args.runs));
    println!("{}; median of {} runs", machine.words(), args.runs);
    for subject in chosen {
        let report = measure(subject, &world, &machine).await;
        if report.rows.is_empty() {
            // It has said what it lacks.
            continue;
        }
        println!("\n{}: {}", subject.name, subject.title);
        print!("{}", table::text(&report));
        println!("noise of the machine itself: {}", machine::noise(&report.calibration));
        println!("-> {}", report.write(&directory)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure(subject: &Subject, world: &World, machine: &Machine) -> Report {
    let before = machine::calibrate();
    let rows = (subject.run)(world).await;
    let after = machine::calibrate();
    let calibration: Samples = before.values().iter().chain(after.values()).copied().collect();
    Report {
        subject: subject.name.to_owned(),
        title: subject.title.to_owned(),
        at: jiff::Timestamp::now()
            .round(jiff::Unit::Second)
            .unwrap_or_else(|_| jiff::Timestamp::now())
            .to_string(),
        commit: commit(),
        machine: machine.clone(),
        zookeeper: world.zookeeper_version(),
        calibration,
        rows,
    }
}

fn write_page(directory: &Path, file: &Path) -> io::Result<ExitCode> {
    let reports = Report::read_all(directory)?;
    if reports.is_empty() {
        return Err(io::Error::other(format!(
            "no figures in {}: run `make bench` first",
            directory.display()
        )));
    }
    let beside = file.parent().unwrap_or_else(|| Path::new("."));
    let plots = beside.join("plots");
    fs::create_dir_all(&plots)?;
    for report in &reports {
        if let Some(svg) = plot::svg(report) {
            fs::write(plots.join(format!("{}.svg", report.subject)), svg)?;
        }
    }
    // What a person found out about the figures; a page without it is complete.
    let notes = fs::read_to_string(beside.join("benchmark-notes.md")).unwrap_or_default();
    fs::write(file, page::markdown(&reports, &notes))?;
    println!("{} subjects -> {}", reports.len(), file.display());
    Ok(ExitCode::SUCCESS)
}

/// The commit that is measured, as far as git is there to say.
fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty=+", "--exclude=*"]).output();
    let text = described.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".to_owned(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}
