//! SIGHUP: the configuration is read again, and what has changed in it is applied.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zk_registry::operate::Operator;
use zk_registry::testing::Server;
use zk_registry::{Member, Options, Registry, ServiceName, Status};

use crate::running::{Running, file, free, program, start, subcommand, until};

/// The one instance that is registered, once `wanted` holds of it.
async fn instance(registry: &Registry, wanted: impl Fn(&Member) -> bool) -> Arc<Member> {
    let service: ServiceName = "time".parse().unwrap();
    let found = async {
        loop {
            let snapshot = registry.lookup(&service).await.unwrap();
            if let Some(member) = snapshot.instances().find(|member| wanted(member)) {
                return Arc::clone(member);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("the instance becomes so")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_what_changed_in_the_file_and_keeps_what_an_operator_wrote() {
    let zookeeper = Server::start().await.unwrap();
    let at = zookeeper.address().to_string();
    let file = file("weight = 2\nzone = 'a'\nlinger = '0'\nnotice = '0'\n");
    let admin = free();
    let path = file.path().to_str().unwrap();
    let mut command = program(&["--zookeeper", &at, "--admin", &admin, "--config", path]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    until(&mut BufReader::new(child.stdout.take().unwrap()), "registered");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    let registry = Registry::open(at.parse().unwrap(), Options::default());
    let first = instance(&registry, |_| true).await;
    assert_eq!(first.attributes().weight.get(), 2);

    // An operator drains it, and gives it another weight.
    let operator = Operator::new(&registry);
    let service = "time".parse().unwrap();
    let seen = operator.inspect(&service, first.id().as_str()).await.unwrap().unwrap();
    let seen = operator.set_weight(&seen, 9.try_into().unwrap()).await.unwrap();
    operator.set_status(&seen, Status::Draining, None).await.unwrap();
    zookeeper.cut(); // with a new connection the server looks at its node, and adopts that
    let began = Instant::now();
    while !get(&admin, "/registrations").contains("draining") {
        assert!(began.elapsed() < Duration::from_secs(60), "it is adopted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    fs::write(
        file.path(),
        "weight = 2\nzone = 'b'\nlinger = '0'\nnotice = '0'\nlog-filter = 'debug'\nidle = '9s'\n",
    )
    .unwrap();
    running.kill("-HUP");
    until(&mut log, "the configuration was read again changed=\"log-filter, zone\"");
    until(&mut log, "these need a restart changed=\"idle\"");
    let moved = instance(&registry, |member| member.attributes().zone.as_deref() == Some("b")).await;
    let attributes = moved.attributes().clone();
    assert_eq!((attributes.weight.get(), attributes.status), (9, Status::Draining), "an operator wrote them");
    assert_eq!(moved.created(), first.created(), "it was never unlisted");

    for (text, words) in
        [("weight = 0\n", ":1: weight: "), ("wieght = 3", "wieght: is no key"), ("zone", ":1: ")]
    {
        fs::write(file.path(), text).unwrap();
        running.kill("-HUP");
        let mut line = String::new();
        while !line.contains("the old one stays") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the log ended");
        }
        assert!(line.contains(words), "{line}");
    }

    fs::write(
        file.path(),
        "weight = 5\nzone = 'b'\nlinger = '0'\nnotice = '0'\nlog-filter = 'debug'\nidle = '9s'\n",
    )
    .unwrap();
    running.kill("-HUP");
    let weighed = instance(&registry, |member| member.attributes().weight.get() == 5).await;
    assert_eq!(weighed.attributes().status, Status::Draining);
    assert_eq!(weighed.created(), first.created(), "it was never unlisted");
    running.kill("-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(running.exit(), Some(0), "{rest}");
}

#[test]
fn reloads_are_counted_by_what_became_of_them() {
    let file = file("weight = 2");
    let admin = free();
    let (running, mut log) = start(program(&["--admin", &admin, "--config", file.path().to_str().unwrap()]));
    running.kill("-HUP");
    until(&mut log, "the configuration was read again");
    fs::write(file.path(), "weight = 0").unwrap();
    running.kill("-HUP");
    until(&mut log, "the old one stays");
    let metrics = get(&admin, "/metrics");
    for outcome in ["applied", "refused"] {
        let line = format!("time_server_reloads_total{{outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert_eq!(subcommand(&["probe", "--admin", &admin]).status().unwrap().code(), Some(0));
}

/// What the admin endpoint answers.
fn get(admin: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
