//! A reader as a process of its own, so that its processor time and memory are its own.

use std::io::Read;
use std::time::Duration;

use integration_tests::bench::usage::{processor_time_of, resident_memory_of};
use integration_tests::bench::{Row, Runs, Unit, World};
use integration_tests::line_process::LineProcess;
use integration_tests::raw::Raw;
use zk_registry::Resolve;
use zookeeper_client::AddWatchMode;

use crate::again::{again, asked, end_with_input, say};
use crate::fleet::{LargeFleet, open, time};

/// A process that watches; dropping it ends it.
pub(super) struct ReaderProcess(LineProcess);

impl ReaderProcess {
    /// It is connected, and watches nothing yet.
    pub(super) async fn start(to: &str) -> Self {
        Self::connected(READ, to).await
    }

    /// The same by the client crate alone: it reads the node of every event, and keeps nothing.
    pub(super) async fn start_raw(to: &str) -> Self {
        Self::connected(READ_RAW, to).await
    }

    async fn connected(kind: &'static str, to: &str) -> Self {
        let mut process = LineProcess::start(&again(kind, to));
        assert_eq!(process.says().await, "connected");
        Self(process)
    }

    /// Lets it watch, and waits until its snapshot is live: how many instances that has.
    pub(super) async fn live(&mut self) -> usize {
        self.0.ask("").await.parse().expect("a number")
    }

    pub(super) fn processor_time(&self) -> Duration {
        processor_time_of(self.0.id())
    }

    fn memory(&self) -> u64 {
        resident_memory_of(self.0.id())
    }
}

/// The growth of its memory when it watches.
pub(super) async fn memory(world: &World, fleet: &LargeFleet, size: usize) -> Row {
    let runs = Runs(world.runs.0.min(3));
    let ours = async || {
        let mut reader = ReaderProcess::start(&fleet.to).await;
        let before = reader.memory();
        assert_eq!(reader.live().await, size);
        (reader.memory() - before) as f64 / size as f64
    };
    let ours = runs.alone(ours).await;
    let record = fleet.record(size - 1).len();
    let what = format!("resident memory per instance, of 100,000 with records of {record} bytes");
    Row::new(what, Unit::Bytes, ours.into_iter().collect())
}

/// Watches for ever, if that is what this process was started for.
pub(crate) async fn read_if_asked() {
    if let Some(to) = asked(READ_RAW) {
        read_raw(&to).await;
    }
    let Some(to) = asked(READ) else { return };
    let registry = open(&to).await;
    say("connected");
    std::io::stdin().read_exact(&mut [0]).expect("whoever started us says when");
    let mut watch = registry.watch(&time());
    say(&watch.live().await.expect("the registry is open").len().to_string());
    end_with_input();
    loop {
        std::hint::black_box(watch.changed().await.expect("the registry is open").len());
    }
}

async fn read_raw(to: &str) {
    let raw = Raw::connect(to).await;
    say("connected");
    std::io::stdin().read_exact(&mut [0]).expect("whoever started us says when");
    let service = "/services/time";
    let mut watcher =
        raw.client().watch(service, AddWatchMode::PersistentRecursive).await.expect("the server is up");
    let names = raw.list(service).await.expect("the server is up").expect("it is there");
    say(&names.len().to_string());
    end_with_input();
    loop {
        let event = watcher.changed().await;
        std::hint::black_box(raw.get(&event.path).await.expect("the server is up"));
    }
}

/// The environment variables that make this program a reader.
const READ: &str = "BENCH_READ";
const READ_RAW: &str = "BENCH_READ_RAW";
