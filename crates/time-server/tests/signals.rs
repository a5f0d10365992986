//! The program and its signals, without any ZooKeeper.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

/// Starts the program in a session of its own, which has no controlling terminal, with these dispositions of signals whatever
/// the test run has inherited, and waits until it listens.
fn start(signals: &str) -> (Child, BufReader<ChildStderr>) {
    let program = env!("CARGO_BIN_EXE_time-server");
    let arguments = "--zookeeper 127.0.0.1:1 --listen 127.0.0.1:0 --linger 0 --drain-timeout 1s";
    let script = format!("exec env {signals} setsid {program} {arguments}");
    let mut command = Command::new("sh");
    let mut child =
        command.args(["-c", &script]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    until(&mut log, "listening");
    (child, log)
}

fn until(log: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ended before {word:?}");
    }
}

fn kill(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_hangup_without_a_terminal_is_ignored_and_a_quit_leaves() {
    let (mut child, mut log) = start("--default-signal=HUP,QUIT");
    kill(&child, "-HUP");
    until(&mut log, "SIGHUP is ignored");
    kill(&child, "-QUIT");
    until(&mut log, "leaving");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let (mut child, mut log) = start("--default-signal=HUP,TERM --ignore-signal=INT");
    kill(&child, "-INT");
    kill(&child, "-HUP");
    until(&mut log, "SIGHUP is ignored");
    assert!(child.try_wait().unwrap().is_none());
    kill(&child, "-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("leaving"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
