//! `make diff SEEDS=n`: the differential run. `SEED=n` begins at that seed; `--script FILE` runs one script.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use integration_tests::diff::{Difference, Pair, Script, Tally, shrink};
use tokio::signal::ctrl_c;

/// Drives Apache ZooKeeper and the server for tests in lockstep, and compares all that they tell
#[derive(Debug, Parser)]
struct Args {
    /// How many scripts
    #[arg(long, default_value = "1000")]
    seeds: u64,
    /// The first of them
    #[arg(long, env = "SEED", default_value = "1")]
    first: u64,
    /// After how many differences to end
    #[arg(long, default_value = "1")]
    most: usize,
    /// A script to run instead, a line of JSON per step
    #[arg(long)]
    script: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // The servers are stopped on the way out.
    tokio::select! {
        agree = run(&args) => if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        _ = ctrl_c() => ExitCode::FAILURE,
    }
}

async fn run(args: &Args) -> bool {
    let mut tally = Tally::default();
    if let Some(path) = &args.script {
        let text = std::fs::read_to_string(path).expect("the script can be read");
        let script = Script::parse(&text).expect("each line is a step");
        let found = Pair::start().await.run(&script, &mut tally).await;
        if let Some(difference) = &found {
            println!("{difference}");
        }
        return found.is_none();
    }
    let began = Instant::now();
    let mut differences: Vec<Difference> = Vec::new();
    let mut pair = Pair::start().await;
    for seed in args.first..args.first + args.seeds {
        let script = Script::of(seed);
        if let Some(found) = pair.run(&script, &mut tally).await {
            println!("seed {seed}: a difference after {} steps", found.after());
            pair = Pair::start().await;
            match pair.run(&script, &mut Tally::default()).await {
                None => {
                    println!("not again on new servers; what was seen:\n{}", found.last_step());
                    tally.unrepeated.push(seed);
                }
                Some(again) => {
                    let least = shrink(again).await;
                    println!("seed {seed}:\n{least}");
                    differences.push(least);
                }
            }
            if differences.len() >= args.most {
                break;
            }
        }
        tally.seeds += 1;
        if tally.seeds % PROGRESS == 0 {
            let rate = tally.steps as f64 / began.elapsed().as_secs_f64();
            println!("{} seeds, {} steps, {rate:.0} steps a second", tally.seeds, tally.steps);
        }
        if tally.seeds % FRESH == 0 {
            pair = Pair::start().await;
        }
    }
    print!("{tally}");
    println!(
        "{} differences without an explanation, in {:.0} s",
        differences.len(),
        began.elapsed().as_secs_f64()
    );
    differences.is_empty()
}

const PROGRESS: u64 = 100;
/// New servers are started after so many seeds.
const FRESH: u64 = 500;
