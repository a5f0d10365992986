//! Nodes that somebody wrote to hurt the readers of a service: what they cost a reader that is a process of its own.

use std::time::Duration;

use integration_tests::bench::usage::{peak_memory_of, processor_time_of, resident_memory_of};
use integration_tests::eventually::eventually;
use integration_tests::process::{Program, RunningProgram};
use integration_tests::raw::Raw;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use zk_registry::testing::Server;

const SOON: Duration = Duration::from_secs(60);
/// How long a reader is watched.
const WINDOW: Duration = Duration::from_secs(4);
/// How often one of the nodes is rewritten in a second.
const WRITES: u32 = 150;

fn reader(subcommand: &str, to: &str) -> Program {
    Program::time_client().args([subcommand, "--zookeeper", to, "--output", "json"])
}

/// A service with one instance and so many nodes that are none.
async fn service(name: &str, junk: usize) -> (Chroot, Raw) {
    let chroot = ZooKeeper::shared().chroot(name).await;
    let raw = chroot.raw().await;
    raw.mkdir("/services/time").await.unwrap();
    raw.create_many([("/services/time/good".to_owned(), br#"{"address":"10.0.0.1","port":80}"#.to_vec())])
        .await
        .unwrap();
    raw.create_many((0..junk).map(|n| (format!("/services/time/junk-{n:05}"), b"junk".to_vec())))
        .await
        .unwrap();
    (chroot, raw)
}

/// The processor time that a watcher uses while one of the nodes is rewritten all the time.
async fn cost_of_rewriting(raw: &Raw, watcher: &RunningProgram) -> Duration {
    let (before, began) = (processor_time_of(watcher.id()), Instant::now());
    let mut due = interval(Duration::from_secs(1) / WRITES);
    due.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut writes = 0;
    while began.elapsed() < WINDOW {
        due.tick().await;
        raw.set("/services/time/junk-00000", format!("junk {writes}").as_bytes()).await.unwrap();
        writes += 1;
    }
    sleep(Duration::from_millis(200)).await;
    let used = processor_time_of(watcher.id()) - before;
    println!("{writes} writes cost {used:?}, {:?} each", used / writes);
    used / writes
}

#[tokio::test]
async fn one_of_20000_rejected_nodes_that_is_rewritten_costs_a_watcher_what_one_of_10_does() {
    let mut costs = Vec::new();
    for (name, junk) in [("ten-junk-nodes", 10), ("many-junk-nodes", 20_000)] {
        let (chroot, raw) = service(name, junk).await;
        let watcher = reader("watch", &chroot.connect_string()).start();
        watcher.says("\"ready\"", SOON).await;
        let memory = resident_memory_of(watcher.id());
        costs.push(cost_of_rewriting(&raw, &watcher).await);
        let grown = resident_memory_of(watcher.id()).saturating_sub(memory);
        assert!(grown < 16 << 20, "its memory has grown by {grown} bytes");
    }
    // It had grown with the number of nodes: 15 times at 20,000.
    assert!(costs[1] < costs[0] * 3 + Duration::from_micros(200), "{costs:?} for each write");
}

#[tokio::test]
async fn records_of_a_megabyte_are_rejected_before_they_fill_a_readers_memory() {
    let server = Server::start().await.unwrap();
    let to = server.address().to_string();
    let raw = Raw::connect(&to).await;
    let good = br#"{"address":"10.0.0.1","port":80}"#.to_vec();
    raw.mkdir("/services/time").await.unwrap();
    raw.create_many([("/services/time/good".to_owned(), good)]).await.unwrap();
    for n in 0..300 {
        let huge = format!(r#"{{"address":"10.0.0.2","port":80,"payload":"{}"}}"#, "x".repeat(1_000_000));
        raw.create_many([(format!("/services/time/huge-{n:03}"), huge.into_bytes())]).await.unwrap();
    }
    let watcher = reader("watch", &to).start();
    watcher.says("\"ready\"", SOON).await;
    let peak = peak_memory_of(watcher.id());
    println!("300 records of 1 MB took a watcher to {} MiB", peak >> 20);
    // It had been 1,020 MiB.
    assert!(peak < 200 << 20, "{} MiB", peak >> 20);
    let listed = reader("list", &to).start();
    eventually(SOON, "the good one is listed, the others are rejected", async || {
        let lines = listed.stdout().all();
        let text: String = lines.iter().map(|line| line.text.as_str()).collect();
        let rejected = text.matches("huge-").count();
        if text.contains("10.0.0.1") && rejected == 300 {
            Ok(())
        } else {
            Err(format!("{rejected} rejected"))
        }
    })
    .await;
}
