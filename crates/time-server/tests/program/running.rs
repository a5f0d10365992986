//! The program as a process, with a reader on its log.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

/// A process that is killed when the test fails.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn kill(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap().success());
    }

    pub(crate) fn exit(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error of either means that it has ended, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with these arguments, on a port of its own, and no ZooKeeper unless they name one.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = subcommand(&[]);
    if !arguments.contains(&"--zookeeper") {
        command.args(["--zookeeper", "127.0.0.1:1"]);
    }
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Starts the program and waits until it listens.
pub(crate) fn start(mut command: Command) -> (Running, BufReader<ChildStderr>) {
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    until(&mut log, "listening");
    (running, log)
}

/// What a program says on standard error, and how it ends. It is one that ends by itself.
pub(crate) fn said(mut command: Command) -> (Option<i32>, String) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A subcommand with these arguments, in an environment that says nothing.
pub(crate) fn subcommand(arguments: &[&str]) -> Command {
    let mut command = Command::new("env");
    // nohup, or a shell's `&`, makes a program ignore some of these signals, and every child of it inherits that.
    command.args(["--default-signal=HUP,INT,QUIT,TERM", env!("CARGO_BIN_EXE_time-server")]);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The variables that the program reads.
const VARIABLES: [&str; 5] = ["ADVERTISE", "NO_COLOR", "POD_IP", "RUST_LOG", "ZOOKEEPER"];

/// An address that is free now.
pub(crate) fn free() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A file with this text.
pub(crate) fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

pub(crate) fn until(log: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the log ended before {word:?}");
    }
}
