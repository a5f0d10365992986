//! time-client: each subcommand as its users meet it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use integration_tests::eventually::eventually;
use integration_tests::fair_time::within;
use integration_tests::process::{Program, Signal};
use integration_tests::raw::CreateMode;
use integration_tests::time_clients::{ends_with, json, summary, three_listeners, time_client};
use integration_tests::time_servers::{SERVICE, SOON, registered, time_server};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use serde_json::Value;

fn looking(subcommand: &str, chroot: &Chroot) -> Program {
    Program::time_client().args([subcommand, "--zookeeper", &chroot.connect_string(), "--output", "json"])
}

#[tokio::test]
async fn queries_are_answered_by_all_instances() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, addresses) = three_listeners(&chroot).await;
    for strategy in ["round-robin", "random", "least-loaded", "peak-ewma", "weighted-round-robin"] {
        let client = time_client(&chroot.connect_string())
            .args(["--count", "60", "--interval", "0", "--strategy", strategy, "--output", "json"])
            .start();
        ends_with(&client, 0).await;
        let summary = summary(&client).await;
        assert_eq!(
            (&summary["ok"], &summary["failed"], &summary["failed_attempts"]),
            (&60.into(), &0.into(), &0.into())
        );
        let by_instance = summary["by_instance"].as_object().unwrap();
        for address in &addresses {
            assert!(by_instance.contains_key(&address.to_string()), "{strategy}: {summary}");
        }
        let lines = json(&client);
        assert_eq!(lines.len(), 61);
        assert!(lines[..60].iter().all(|line| line["ok"] == true && line["attempts"] == 1));
    }
}

#[tokio::test]
async fn a_key_stays_with_its_instance_and_a_zone_is_preferred() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_elsewhere, _) = three_listeners(&chroot).await;
    // As many as elsewhere: a smaller zone would spill over.
    let near = time_server(&chroot.connect_string())
        .args(["--listen", "127.0.0.1:0"].repeat(3))
        .args(["--zone", "near"])
        .start();
    let mut local = Vec::new();
    for n in 1..=3 {
        local.push(registered(&near, n).await.to_string());
    }

    let choose = async |arguments: &[&str]| {
        let client = time_client(&chroot.connect_string())
            .args(["--count", "30", "--interval", "0", "--quiet", "--output", "json"])
            .args(arguments)
            .start();
        ends_with(&client, 0).await;
        summary(&client).await["by_instance"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    let keyed = ["--strategy", "consistent-hash", "--key", "alice"];
    let first = choose(&keyed).await;
    assert_eq!(first.len(), 1);
    assert_eq!(choose(&keyed).await, first);
    for chosen in choose(&["--zone", "near", "--strategy", "round-robin"]).await {
        assert!(local.contains(&chosen), "{chosen} is not near");
    }
}

#[tokio::test]
async fn the_text_has_a_line_per_query_and_a_bar_per_instance() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, addresses) = three_listeners(&chroot).await;
    let client = time_client(&chroot.connect_string())
        .args(["--count", "9", "--interval", "0", "--strategy", "round-robin"])
        .start();
    ends_with(&client, 0).await;
    let text = client.stdout().text();
    for address in addresses {
        assert_eq!(text.lines().filter(|line| line.contains(&address.to_string())).count(), 4, "{text}");
        assert!(text.contains(&format!("{address}  3   33.3 %  ####")), "{text}");
    }
    assert!(text.contains("9 answered, 0 failed, 0 failed attempts"), "{text}");
    assert!(text.contains("latency  p50 "), "{text}");
    assert!(
        !text.contains('\u{1b}') && client.stderr().text().is_empty(),
        "colours or progress without a terminal"
    );
}

#[tokio::test]
async fn the_clocks_of_the_fleet_are_compared() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, _) = three_listeners(&chroot).await;
    let client = time_client(&chroot.connect_string()).args(["--offset", "--output", "json"]).start();
    ends_with(&client, 0).await;
    let lines = json(&client);
    assert_eq!(lines.len(), 4);
    for line in &lines[..3] {
        let (offset, error) = (line["offset_ns"].as_i64().unwrap(), line["error_ns"].as_i64().unwrap());
        // It is the same clock.
        assert!(offset.abs() <= error, "{line}");
    }
    assert_eq!(lines[3]["offsets"]["measured"], 3);
}

#[tokio::test]
async fn a_list_shows_instances_and_names_what_is_none() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let server = time_server(&chroot.connect_string())
        .args(["--listen", "127.0.0.1:0", "--weight", "3", "--zone", "a", "--metadata", "rack=7"])
        .start();
    let address = registered(&server, 1).await;
    let raw = chroot.raw().await;
    raw.create(&format!("{SERVICE}/broken"), b"{\"name\":", CreateMode::Persistent).await.unwrap();

    let client = looking("list", &chroot).start();
    ends_with(&client, 0).await;
    let list = json(&client).remove(0);
    assert_eq!(list["service"], "time");
    assert_eq!(list["freshness"], "live");
    let expected = serde_json::json!({
        "id": address.to_string(), "host": "127.0.0.1", "port": address.port(), "weight": 3, "zone": "a",
        "dialable": true, "status": "up", "metadata": {"rack": "7"}, "format": "curator",
    });
    assert_eq!(list["instances"], Value::Array(vec![expected]));
    assert_eq!(list["rejected"][0]["id"], "broken");
    assert!(!list["rejected"][0]["reason"].as_str().unwrap().is_empty());

    let text = Program::time_client().args(["list", "--zookeeper", &chroot.connect_string()]).start();
    ends_with(&text, 0).await;
    assert!(text.stdout().text().contains("weight 3  zone a  rack=7"), "{}", text.stdout().text());
}

#[tokio::test]
async fn a_watch_tells_who_comes_and_goes_until_a_signal() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (first, _) = three_listeners(&chroot).await;
    let watch = looking("watch", &chroot).start();
    let ready = watch.says("\"ready\"", SOON).await.text;
    assert!(ready.contains("\"count\":3"), "{ready}");

    let second = time_server(&chroot.connect_string()).args(["--listen", "127.0.0.1:0"]).start();
    let address = registered(&second, 1).await;
    watch.says(&format!("{{\"event\":\"up\",\"id\":\"{address}\",\"at_ns\":"), SOON).await;
    second.signal(Signal::SIGTERM);
    watch.says(&format!("{{\"event\":\"update\",\"id\":\"{address}\",\"at_ns\":"), SOON).await; // it drains
    watch.says(&format!("{{\"event\":\"down\",\"id\":\"{address}\",\"at_ns\":"), SOON).await;

    watch.signal(Signal::SIGTERM);
    ends_with(&watch, 0).await;
    assert_eq!(first.status(), None);
}

#[tokio::test]
async fn a_signal_ends_queries_with_their_summary() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, _) = three_listeners(&chroot).await;
    let client =
        time_client(&chroot.connect_string()).args(["--interval", "50ms", "--output", "json"]).start();
    client.says("\"n\":3", SOON).await;
    client.signal(Signal::SIGINT);
    ends_with(&client, 0).await;
    assert!(summary(&client).await["ok"].as_u64().unwrap() >= 3);
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, _) = three_listeners(&chroot).await;
    // The harness reads everything, so this one is started by hand; the first run has built it.
    let built = time_client("-").arg("--help").start();
    ends_with(&built, 0).await;
    let zookeeper = chroot.connect_string();
    for words in [&["query", "--interval", "0", "--count", "1000000"][..], &["query", "--interval", "10ms"]] {
        let ended = tokio::task::spawn_blocking({
            let (zookeeper, words) = (zookeeper.clone(), words.to_vec());
            move || {
                let mut client = Command::new(Program::time_client().path())
                    .args(words)
                    .env("ZOOKEEPER", zookeeper)
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let mut line = String::new();
                BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
                client.wait().unwrap()
            }
        });
        let status = within(SOON, "it ends", ended).await.unwrap();
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn results_that_cannot_be_written_are_exit_1_and_one_line() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, _) = three_listeners(&chroot).await;
    for words in [&["list"][..], &["query", "--interval", "0", "--count", "100000"], &["watch"]] {
        let client = looking(words[0], &chroot)
            .args(&words[1..])
            .stdout_to(File::options().write(true).open("/dev/full").unwrap())
            .start();
        ends_with(&client, 1).await;
        let text = client.stderr().text();
        assert!(text.contains("standard output") && text.lines().count() == 1, "{words:?}: {text}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_even_while_nobody_reads() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, _) = three_listeners(&chroot).await;
    let (_unread, mut pipe) = std::io::pipe().unwrap();
    // As much as a pipe takes: the first line will have to wait.
    pipe.write_all(&[b'\n'; 64 * 1024]).unwrap();
    let client = looking("query", &chroot)
        .args(["--interval", "0", "--count", "1000000"])
        .env("RUST_LOG", "zk_registry=debug")
        .stdout_to(pipe)
        .start();
    // From here on it asks, and ends only when all that it has to say is written.
    client.logs("snapshot published", SOON).await;
    let ended = eventually(SOON, "its end", async || {
        if client.status().is_none() {
            client.signal(Signal::SIGINT);
        }
        client.status()
    });
    assert_eq!(ended.await.code(), Some(1));
    client.logs("a second signal", SOON).await;
}

#[tokio::test]
async fn an_offset_that_cannot_be_measured_is_exit_1() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let (_server, addresses) = three_listeners(&chroot).await;
    let raw = chroot.raw().await;
    let nobody = br#"{"name":"time","id":"nobody","address":"127.0.0.1","port":1,"serviceType":"DYNAMIC"}"#;
    raw.create(&format!("{SERVICE}/nobody"), nobody, CreateMode::Ephemeral).await.unwrap();
    let client = time_client(&chroot.connect_string()).args(["--offset", "--output", "json"]).start();
    ends_with(&client, 1).await;
    let lines = json(&client);
    let failed: Vec<_> = lines.iter().filter(|line| line["ok"] == false).collect();
    assert_eq!((lines.len(), failed.len()), (addresses.len() + 2, 1));
    assert_eq!(failed[0]["instance"], "nobody");
    assert_eq!((&lines[4]["offsets"]["measured"], &lines[4]["offsets"]["failed"]), (&3.into(), &1.into()));
}

#[tokio::test]
async fn wrong_usage_is_one_line_and_exit_2() {
    for (flag, value) in [
        ("--zookeeper", "127.0.0.1:none"),
        ("--service", "a//b"),
        ("--base", "services"),
        ("--interval", "soon"),
        ("--strategy", "fastest"),
        ("--rate", "-1"),
        ("--attempts", "0"),
        ("--zone", ""),
        ("--snapshot-file", "/dev/null/x"),
    ] {
        let client = Program::time_client().args(["query", flag, value]).start();
        ends_with(&client, 2).await;
        let text = client.stderr().text();
        assert!(text.contains(flag) && text.lines().count() == 1, "{flag} {value}: {text}");
    }
}

#[tokio::test]
async fn no_instance_is_exit_3_in_these_words() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    for subcommand in ["query", "list"] {
        let client = looking(subcommand, &chroot).start();
        ends_with(&client, 3).await;
        let text = client.stderr().text();
        assert_eq!(text, "time-client: no instance of time at /services/time\n");
    }
}

#[tokio::test]
async fn queries_that_nobody_answers_are_exit_1() {
    let chroot = ZooKeeper::shared().chroot("client").await;
    let raw = chroot.raw().await;
    raw.mkdir("/go_servers").await.unwrap();
    // No process listens on port 1; the layout of 2016 lets a test write a node by hand.
    raw.create("/go_servers/127.0.0.1:1", b"", CreateMode::Ephemeral).await.unwrap();
    let client = time_client(&chroot.connect_string())
        .args(["--base", "/", "--service", "go_servers", "--format", "plain"])
        .args(["--count", "2", "--interval", "0", "--output", "json"])
        .start();
    ends_with(&client, 1).await;
    let lines = json(&client);
    assert_eq!(lines[0]["error"], "exhausted", "{}", lines[0]);
    assert_eq!(lines[0]["failed"].as_array().unwrap().len(), 3);
    assert!(lines[0]["message"].as_str().unwrap().contains("127.0.0.1:1 "));
    assert_eq!(lines[2]["summary"]["failed_attempts"], 6);
}

#[tokio::test]
async fn servers_of_2016_are_found_and_asked_as_then() {
    use tokio::io::AsyncWriteExt;
    let chroot = ZooKeeper::shared().chroot("client").await;
    let raw = chroot.raw().await;
    raw.mkdir("/go_servers").await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    raw.create(&format!("/go_servers/{address}"), b"", CreateMode::Ephemeral).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It never reads the request, so that its close is often a reset.
            stream.write_all(format!("{address}: 2016-10-19 14:52:39.5 +0800 CST").as_bytes()).await.unwrap();
        }
    });
    let client = time_client(&chroot.connect_string())
        .args(["--base", "/", "--service", "go_servers", "--format", "plain"])
        .args(["--count", "50", "--interval", "0", "--output", "json"])
        .start();
    ends_with(&client, 0).await;
    let lines = json(&client);
    assert!(lines[..50].iter().all(|line| line["time"] == "2016-10-19T06:52:39.500000000Z"));
    assert_eq!(summary(&client).await["failed_attempts"], 0);
}

#[tokio::test]
async fn help_teaches_by_example() {
    for (words, example) in [
        (&["--help"][..], "time-client --rate 500"),
        (&["list", "--help"], "time-client list --service"),
        (&["watch", "--help"], "time-client watch --output json"),
    ] {
        let client = Program::time_client().args(words).start();
        ends_with(&client, 0).await;
        let text = client.stdout().text();
        assert!(text.contains(example) && text.contains("Exit codes:"), "{text}");
    }
}
