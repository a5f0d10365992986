//! The soak, for as long as a test may take; `make soak` runs it for longer.

use std::time::Duration;

use integration_tests::soak;
use integration_tests::steps::{init_tracing, seeded};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_of_bad_weather_changes_nothing_that_is_promised() {
    init_tracing();
    let report = soak::run(Duration::from_secs(50), &mut seeded("soak")).await;
    println!("{report}");
    assert!(report.rounds() >= 2 && report.faults() >= 30, "it was too calm");
}
