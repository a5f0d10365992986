//! The program and its signals.

use std::io::{BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zk_registry::testing::Server;
use zk_registry::{Options, Registry};

use crate::running::{Running, program, start, until};

/// The program in a session of its own, which has no controlling terminal, with these dispositions of signals whatever the
/// test run has inherited.
fn in_a_session(signals: &str) -> Command {
    let program = env!("CARGO_BIN_EXE_time-server");
    let arguments = "--zookeeper 127.0.0.1:1 --listen 127.0.0.1:0 --linger 0 --drain-timeout 1s";
    let script = format!("exec env {signals} setsid {program} {arguments}");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[test]
fn a_hangup_without_a_terminal_reads_again_and_a_quit_leaves() {
    let (running, mut log) = start(in_a_session("--default-signal=HUP,QUIT"));
    running.kill("-HUP");
    until(&mut log, "the configuration was read again");
    running.kill("-QUIT");
    until(&mut log, "leaving");
    assert_eq!(running.exit(), Some(0));
}

#[test]
fn a_server_that_was_never_registered_does_not_say_that_it_withdrew() {
    let (running, mut log) = start(in_a_session("--default-signal=TERM"));
    running.kill("-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("was never registered") && !rest.contains("withdrawn"), "{rest}");
    assert_eq!(running.exit(), Some(0));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let (mut running, mut log) = start(in_a_session("--default-signal=HUP,TERM --ignore-signal=INT"));
    running.kill("-INT");
    running.kill("-HUP");
    until(&mut log, "the configuration was read again");
    assert!(running.0.try_wait().unwrap().is_none());
    running.kill("-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("leaving"), "{rest}");
    assert_eq!(running.exit(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_now_and_still_closes_the_session() {
    let zookeeper = Server::start().await.unwrap();
    let at = zookeeper.address().to_string();
    let mut command = program(&["--zookeeper", &at, "--notice", "1m", "--linger", "1m"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    until(&mut told, "registered");
    running.kill("-TERM");
    until(&mut log, "leaving");
    let began = Instant::now();
    running.kill("-TERM");
    assert_eq!(running.exit(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(2), "it ended after {:?}", began.elapsed());
    // Its session would have lasted for ten seconds more.
    let registry = Registry::open(at.parse().unwrap(), Options::default());
    assert_eq!(registry.lookup(&"time".parse().unwrap()).await.unwrap().len(), 0);
}
