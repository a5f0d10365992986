//! The server for tests beside Apache ZooKeeper, over the bytes of the wire. `make diff` runs more of it.

use integration_tests::diff::{Pair, Script, Tally};

/// A few seconds of what `make diff` does for as long as one likes.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_for_tests_answers_as_zookeeper_does() {
    // What it answers is that of 3.9, and 3.8 differs.
    if std::env::var("ZK_VERSION").is_ok_and(|version| version != "3.9") {
        return println!("not compared: the server for tests is held to ZooKeeper 3.9");
    }
    let pair = Pair::start().await;
    let mut tally = Tally::default();
    for seed in 1..=25 {
        if let Some(difference) = pair.run(&Script::of(seed), &mut tally).await {
            panic!("seed {seed}, `SEED={seed} make diff SEEDS=1` shrinks it:\n{difference}");
        }
    }
    println!("{tally}");
}
