//! `make soak MINUTES=n`: the soak for as long as one likes. `SEED` replays the faults of an earlier run.

use std::time::Duration;

use clap::Parser;
use integration_tests::soak;
use integration_tests::steps::{init_tracing, seeded};

/// Breaks things around a fleet on real ZooKeeper and checks all the time that it stays true.
#[derive(Debug, Parser)]
struct Args {
    /// For how long
    #[arg(long, default_value = "10")]
    minutes: u64,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    init_tracing();
    // A violation in any task ends the run.
    let shout = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shout(panic);
        std::process::exit(1);
    }));
    let report = soak::run(Duration::from_secs(args.minutes * 60), seeded("soak")).await;
    print!("{report}");
}
