//! `make soak MINUTES=n`: the soak for as long as one likes. `SEED` replays the faults of an earlier run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use integration_tests::replay::{init_tracing, seeded};
use integration_tests::soak;
use tokio::signal::ctrl_c;

/// Breaks things around a fleet on real ZooKeeper and checks all the time that it stays true.
#[derive(Debug, Parser)]
struct Args {
    /// For how long
    #[arg(long, default_value = "10")]
    minutes: u64,
}

/// A violation panics; then, as at Ctrl-C, the servers are stopped and erased on the way out.
#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    init_tracing();
    let (lasting, mut rng) = (Duration::from_secs(args.minutes * 60), seeded("soak"));
    tokio::select! {
        report = soak::run(lasting, &mut rng) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        _ = ctrl_c() => ExitCode::FAILURE,
    }
}
