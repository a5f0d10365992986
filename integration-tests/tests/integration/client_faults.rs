//! Faults behind the client's back stay there: restarts and kills of servers under load, ZooKeeper away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::proxy::Proxy;
use integration_tests::servers::Launch;
use integration_tests::time_clients::{ends_with, json, summary, three_listeners, time_client};
use integration_tests::time_servers::{SERVICE, SOON};
use integration_tests::under_load::{QueryLoad, ThreeServers};
use integration_tests::zookeeper::ZooKeeper;
use serde_json::Value;

/// 500 queries a second by the program until a signal, one line of JSON each.
async fn load(fleet: &ThreeServers) -> RunningProgram {
    let client = time_client(&fleet.chroot().connect_string())
        .args(["--rate", "500", "--duration", "1h", "--strategy", "round-robin", "--output", "json"])
        .start();
    client.says("\"n\":100,", SOON).await;
    client
}

/// The lines of queries that were answered after a failed attempt, or not at all.
fn troubled(client: &RunningProgram) -> Vec<Value> {
    let lines = json(client).into_iter();
    lines.filter(|line| line["ok"] == false || line["attempts"].as_u64().is_some_and(|n| n > 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_query_and_no_attempt() {
    let mut fleet = ThreeServers::start(ZooKeeper::shared().chroot("restart").await).await;
    let (client, beside) = (load(&fleet).await, QueryLoad::start(&fleet).await);
    fleet.restart_each().await;
    let counts = beside.stop().await;
    client.signal(Signal::SIGINT);
    ends_with(&client, 0).await;
    let summary = summary(&client).await;
    println!("rolling restart of 3: {summary}, {counts:?}");
    assert_eq!((counts.failed, counts.failed_attempts), (0, 0), "{counts:?}");
    assert!(summary["ok"].as_u64().unwrap() > 500, "{summary}");
    assert_eq!(
        (&summary["failed"], &summary["failed_attempts"]),
        (&0.into(), &0.into()),
        "{:?}",
        troubled(&client)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_one_of_three_under_load_fails_no_query() {
    let fleet = ThreeServers::start(ZooKeeper::shared().chroot("kill").await).await;
    let (client, beside) = (load(&fleet).await, QueryLoad::start(&fleet).await);
    let (victim, killed, since) = (fleet.address(1), Instant::now(), Stopwatch::start());
    let at_kill = client.stdout().all().len();
    // Beyond the end of its session, so that its ejection, its probes and its removal all happen under load.
    let kill = beside.kill(&fleet, 1, 2500).await;
    client.signal(Signal::SIGINT);
    ends_with(&client, 0).await;

    let summary = summary(&client).await;
    let troubled = troubled(&client);
    let failed = summary["failed_attempts"].as_u64().unwrap();
    let lines = client.stdout().all();
    let last = lines.iter().rfind(|line| line.text.contains("\"attempts\":2")).map(|line| line.at - killed);
    println!("kill -9 of one of 3: {kill:?}");
    assert_eq!(kill.counts.failed, 0, "{kill:?}");
    assert!(kill.counts.failed_attempts <= kill.allowed, "{kill:?}");
    assert!(kill.ejected_after <= BRIEFLY, "{kill:?}");
    println!("by the program: {failed} failed attempts, the last {last:?} after the kill; {summary}");
    assert_eq!(summary["failed"], 0, "{troubled:?}");
    // Those under way at once are at most 64; five in a row eject; then one probe every few seconds.
    assert!(failed <= 64 + 5 + 3, "{failed} failed attempts: {troubled:?}");
    let a_second_later = killed + Duration::from_secs(1) + since.stalls();
    let late =
        lines.iter().filter(|line| line.text.contains("\"attempts\":2") && line.at > a_second_later).count();
    assert!(late <= 3, "{late} attempts failed later than a second after the kill: it is not ejected");
    let after: BTreeMap<String, usize> = lines[at_kill..].iter().fold(BTreeMap::new(), |mut seen, line| {
        let line: Value = serde_json::from_str(&line.text).unwrap();
        if let Some(instance) = line["instance"].as_str() {
            *seen.entry(instance.to_owned()).or_default() += 1;
        }
        seen
    });
    assert!(after.get(&victim.to_string()).copied().unwrap_or(0) < 64, "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_go_on_while_zookeeper_is_away() {
    let own = Launch::single().start().await;
    let chroot = own.chroot("away").await;
    let (_server, _) = three_listeners(&chroot).await;
    let client = time_client(&chroot.connect_string())
        .args(["--interval", "20ms", "--duration", "1h", "--output", "json"])
        .start();
    let watch = Program::time_client()
        .args([
            "watch",
            "--output",
            "json",
            "--session-timeout",
            "4s",
            "--zookeeper",
            &chroot.connect_string(),
        ])
        .start();
    client.says("\"n\":20,", SOON).await;
    watch.says("\"ready\"", SOON).await;
    own.kill(1).await;
    watch.says("\"freshness\":\"stale\",\"true_until_ns\":", SOON).await;
    let before = client.stdout().all().len();
    client.stdout().nth("time-client", before + 50, "\"ok\":true", SOON).await;
    own.start(1).await;
    watch.says("\"freshness\":\"live\"", SOON).await;
    assert!(watch.stdout().containing("\"down\"").is_empty(), "{}", watch.stdout().text());
    client.signal(Signal::SIGINT);
    ends_with(&client, 0).await;
    assert_eq!(summary(&client).await["failed_attempts"], 0);
}

/// A port where no ZooKeeper is, held so that no other process takes it.
fn nowhere() -> (tokio::net::TcpSocket, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test]
async fn without_zookeeper_it_says_so_after_the_wait() {
    let (_held, address) = nowhere();
    for subcommand in ["query", "list", "watch"] {
        let began = Instant::now();
        let client =
            Program::time_client().args([subcommand, "--zookeeper", &address, "--wait", "1s"]).start();
        ends_with(&client, 3).await;
        assert!(began.elapsed() >= BRIEFLY, "{:?}", began.elapsed());
        let text = client.stderr().text();
        assert!(
            text.starts_with(&format!("time-client: ZooKeeper was not reached at {address} within 1s: ")),
            "{text}"
        );
        assert!(text.to_lowercase().contains("refused"), "it says why: {text}");
    }
}

#[tokio::test]
async fn with_a_snapshot_file_it_works_without_zookeeper() {
    let directory = tempfile::tempdir().unwrap();
    let remember = ["--snapshot-file", directory.path().to_str().unwrap()];
    let chroot = ZooKeeper::shared().chroot("disk").await;
    let link = Proxy::to(ZooKeeper::shared().address(1)).await;
    let through = chroot.through(link.address());
    let (_server, _) = three_listeners(&chroot).await;
    let first = time_client(&through).args(remember).args(["--count", "3", "--interval", "0"]).start();
    ends_with(&first, 0).await;
    eventually(SOON, "a snapshot file", async || directory.path().read_dir().unwrap().next().is_some()).await;

    link.refuse().await;
    let client = time_client(&through)
        .args(remember)
        .args(["--count", "9", "--interval", "0", "--output", "json"])
        .start();
    ends_with(&client, 0).await;
    assert_eq!(summary(&client).await["ok"], 9);
    let list = Program::time_client()
        .args(["list", "--output", "json", "--zookeeper", &through])
        .args(remember)
        .start();
    ends_with(&list, 0).await;
    let list = json(&list).remove(0);
    assert_eq!((&list["freshness"], list["instances"].as_array().unwrap().len()), (&"disk".into(), 3));
    assert!(list["true_until_ns"].as_u64().is_some());

    // What was remembered of one ZooKeeper says nothing about another one.
    let (_held, address) = nowhere();
    let other = time_client(&chroot.through(&address)).args(remember).args(["--wait", "1s"]).start();
    ends_with(&other, 3).await;
}

#[tokio::test]
async fn a_snapshot_file_that_cannot_be_read_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let remember = ["--snapshot-file", directory.path().to_str().unwrap()];
    let chroot = ZooKeeper::shared().chroot("disk").await;
    let (_server, _) = three_listeners(&chroot).await;
    let list =
        || Program::time_client().args(["list", "--zookeeper", &chroot.connect_string()]).args(remember);
    let first = list().start();
    ends_with(&first, 0).await;
    assert_eq!(first.stderr().text(), "");
    let file = directory.path().read_dir().unwrap().next().unwrap().unwrap().path();
    std::fs::write(file, b"no snapshot").unwrap();
    let second = list().start();
    ends_with(&second, 0).await;
    assert!(second.stderr().text().contains("snapshot file is ignored"), "{}", second.stderr().text());
}

#[tokio::test]
async fn a_service_that_is_remembered_as_empty_is_not_said_to_be_empty() {
    let directory = tempfile::tempdir().unwrap();
    let remember = ["--snapshot-file", directory.path().to_str().unwrap()];
    let chroot = ZooKeeper::shared().chroot("disk").await;
    chroot.raw().await.mkdir(SERVICE).await.unwrap();
    let link = Proxy::to(ZooKeeper::shared().address(1)).await;
    let through = chroot.through(link.address());
    let list =
        || Program::time_client().args(["list", "--wait", "1s", "--zookeeper", &through]).args(remember);
    let first = list().start();
    ends_with(&first, 3).await;
    assert!(first.stderr().text().contains("no instance of time"), "{}", first.stderr().text());
    assert!(directory.path().read_dir().unwrap().next().is_some());

    link.refuse().await;
    for client in [list(), time_client(&through).args(["--wait", "1s"]).args(remember)] {
        let client = client.start();
        ends_with(&client, 3).await;
        let text = client.stderr().text();
        assert!(text.contains("ZooKeeper was not reached"), "{text}");
    }
}

/// Long enough to be told from a hang, short enough for a test.
const BRIEFLY: Duration = Duration::from_secs(1);
