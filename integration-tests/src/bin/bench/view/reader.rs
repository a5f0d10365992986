//! A reader as a process of its own, so that its processor time and memory are its own: this very program, started again
//! with the ZooKeeper's name in its environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use integration_tests::bench::usage::{processor_time_of, resident_memory_of};
use integration_tests::bench::{Row, Runs, Unit, World};
use zk_registry::Resolve;

use crate::fleet::{Fleet, open, time};

/// A process that watches; dropping it ends it.
pub(super) struct Reader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Reader {
    /// It is connected, and watches nothing yet.
    pub(super) fn start(to: &str) -> Self {
        let exe = std::env::current_exe().expect("a running program has a path");
        let mut child = Command::new(exe)
            .env(READ, to)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut reader = Self { child, input, output };
        assert_eq!(reader.says(), "connected");
        reader
    }

    /// Lets it watch, and waits until its snapshot is live: how many instances that has.
    pub(super) fn live(&mut self) -> usize {
        self.input.write_all(b"\n").expect("it reads");
        self.says().parse().expect("a number")
    }

    pub(super) fn processor_time(&self) -> Duration {
        processor_time_of(self.child.id())
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        line.trim().to_owned()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // An error of either means that it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What its memory grows by when it watches.
pub(super) async fn memory(world: &World, fleet: &Fleet, size: usize) -> Row {
    let runs = Runs(world.runs.0.min(3));
    let ours = async || {
        let mut reader = Reader::start(&fleet.to);
        let before = resident_memory_of(reader.child.id());
        assert_eq!(reader.live(), size);
        (resident_memory_of(reader.child.id()) - before) as f64 / size as f64
    };
    let ours = runs.alone(ours).await;
    let record = fleet.record(size - 1).len();
    let what = format!("resident memory per instance, of 100,000 with records of {record} bytes");
    Row::new(what, Unit::Bytes, ours.into_iter().collect())
}

/// Watches for ever, if that is what this process was started for.
pub(crate) async fn read_if_asked() {
    let Ok(to) = std::env::var(READ) else { return };
    let registry = open(&to).await;
    say("connected");
    std::io::stdin().read_exact(&mut [0]).expect("whoever started us says when");
    let mut watch = registry.watch(&time());
    say(&watch.live().await.expect("the registry is open").len().to_string());
    // Whoever started us keeps our input open: a parent that was killed leaves nobody behind.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        std::hint::black_box(watch.changed().await.expect("the registry is open").len());
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("somebody reads");
}

/// The environment variable that makes this program a reader.
const READ: &str = "BENCH_READ";
