//! The soak, for as long as a test may take; `make soak` runs it for longer.

use std::time::Duration;

use integration_tests::replay::{init_tracing, seeded};
use integration_tests::soak;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_minutes_of_bad_weather_changes_nothing_that_is_promised() {
    init_tracing();
    let report = soak::run(Duration::from_secs(120), &mut seeded("soak")).await;
    println!("{report}");
    assert!(report.rounds() >= 5 && report.faults() >= 100, "it was too calm");
}
