//! Every reader of a fleet loses its server at the same moment: when they come back, and what they ask in the first second.

use std::time::{Duration, Instant};

use integration_tests::bench::{Row, Unit};
use integration_tests::four_letter;
use integration_tests::servers::{Launch, Servers};

use super::readers::Readers;
use crate::fleet::LargeFleet;
use crate::grouped::grouped;

const INSTANCES: usize = 1_000;
/// How many readers lose the one server that there is, with which session timeout.
const READERS: [(usize, Duration); 2] = [(3_000, Duration::from_secs(30)), (10_000, Duration::from_secs(60))];
/// How many lose the leader of three.
const READERS_OF_ENSEMBLE: (usize, Duration) = (1_000, Duration::from_secs(10));
/// How often the server is asked how many requests it had.
const EVERY: Duration = Duration::from_millis(50);
/// A heap for so many connections, and a compiler that optimises as it likes.
const JVM: &str = "-Xmx1000m";

pub(super) async fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for readers in READERS {
        let single = Launch::single().jvm(JVM).on_disk().start().await;
        let restart = async || single.restart(1).await;
        rows.extend(storm(&single, readers, "the server is restarted", restart).await);
    }
    let ensemble = Launch::ensemble().jvm(JVM).on_disk().start().await;
    let leader = ensemble.leader().await;
    let elect = async || {
        ensemble.kill(leader).await;
        ensemble.another_leader(leader).await;
    };
    rows.extend(storm(&ensemble, READERS_OF_ENSEMBLE, "the leader of three is killed", elect).await);
    rows
}

/// The requests that all servers have taken since they started; a server that is down has taken none.
async fn requests(servers: &Servers) -> f64 {
    let mut all = 0.0;
    for server in servers.addresses() {
        if let Ok(figures) = four_letter::figures(*server).await
            && let Some(received) =
                figures.get("zk_packets_received").and_then(|text| text.parse::<f64>().ok())
        {
            all += received;
        }
    }
    all
}

async fn storm(
    servers: &Servers,
    (readers, session): (usize, Duration),
    what: &str,
    lose: impl AsyncFnOnce(),
) -> Vec<Row> {
    let chroot = servers.chroot("storm").await;
    let fleet = LargeFleet::of(INSTANCES, &chroot).await;
    let mut readers = Readers::open(&fleet.to, readers, session).await;
    lose().await;
    // From here on there is somebody to ask.
    let began = Instant::now();
    let mut taken = vec![(Duration::ZERO, requests(servers).await)];
    while readers.live() < readers.len() && began.elapsed() < session * 6 {
        tokio::time::sleep(EVERY).await;
        taken.push((began.elapsed(), requests(servers).await));
    }
    let all = began.elapsed();
    assert_eq!(readers.live(), readers.len(), "they come back");
    let from = taken.first().map_or(0.0, |(_, requests)| *requests);
    let until = taken.last().map_or(0.0, |(_, requests)| *requests);
    let second =
        taken.iter().rfind(|(at, _)| *at <= Duration::from_secs(1)).map_or(from, |(_, requests)| *requests);
    println!("{what}: {taken:?}");
    let about = format!("{what}, {} readers of {} instances", grouped(readers.len()), grouped(INSTANCES));
    let row = |what: &str, unit, value: f64| {
        Row::new(format!("{about}: {what}"), unit, [value].into_iter().collect())
    };
    let rows = vec![
        row(
            "percent of all requests that come in the first second",
            Unit::Count,
            (second - from) / (until - from) * 100.0,
        ),
        row(
            "until the last reader is live, for each session timeout",
            Unit::Count,
            all.as_secs_f64() / session.as_secs_f64(),
        ),
        row("requests of a reader", Unit::Count, (until - from) / readers.len() as f64),
    ];
    readers.close().await;
    fleet.disband(INSTANCES).await;
    rows
}
