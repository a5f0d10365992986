//! The disk of the snapshot file is full: nothing else suffers, and the older file stays until there is room.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::process::{Program, Resource};
use integration_tests::registries::{open, time};
use integration_tests::replay::init_tracing;
use integration_tests::time_servers::SOON;
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::{Instance, Registration, Registry};

use super::{SLACK, report};

#[tokio::test]
async fn a_full_disk_costs_only_the_newer_snapshot_file() {
    full(&ZooKeeper::shared()).await;
}

/// The longest pause between two attempts to write the file, and the shortest.
const RETRY: Duration = Duration::from_secs(6);
const NEXT: Duration = Duration::from_secs(1);

pub(super) async fn full(zk: &ZooKeeper) {
    init_tracing();
    let chroot = zk.chroot("full-disk").await;
    let registry = open(&chroot.connect_string());
    let _first = registered(&registry, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let client = Program::time_client()
        .args(["watch", "--output", "json", "--session-timeout", "4s"])
        .args(["--zookeeper", &chroot.connect_string()])
        .args(["--snapshot-file", directory.path().to_str().unwrap()])
        .env("RUST_LOG", "zk_registry::discovery=info")
        .surviving_full_disks()
        .start();
    eventually(SOON, "a file of one instance", async || remembers(directory.path(), 1)).await;
    let older = fs::read(file(directory.path()).unwrap()).unwrap();

    // No temporary file gets as large as a record.
    client.limit(Resource::FileSize, Some(64));
    let _second = registered(&registry, 2).await;
    client.says("\"up\",\"id\":\"10.0.0.1:2\"", SOON).await;
    client.logs("cannot be written", SOON).await;
    let _third = registered(&registry, 3).await;
    client.says("\"up\",\"id\":\"10.0.0.1:3\"", SOON).await;
    always(NEXT * 3, "one warning, and the older file", async || {
        let warnings = client.stderr().containing("cannot be written").len();
        let kept = fs::read(file(directory.path()).unwrap()).unwrap() == older;
        if (warnings, kept) == (1, true) { Ok(()) } else { Err(format!("{warnings} warnings, kept: {kept}")) }
    })
    .await;

    client.limit(Resource::FileSize, None);
    let start = Stopwatch::start();
    // Nothing changes any more.
    eventually(RETRY + SLACK, "a file of all instances", async || remembers(directory.path(), 3)).await;
    report("written once there was room", start.elapsed());
    client.logs("written again", SOON).await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
}

async fn registered(registry: &Registry, port: u16) -> Registration {
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", port));
    within(SOON, "registered in time", registration.registered()).await.unwrap();
    registration
}

fn file(directory: &Path) -> Option<PathBuf> {
    let mut paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|extension| extension == "snapshot"))
}

/// Whether there is a whole file of that many instances: a checksum is its last line.
fn remembers(directory: &Path, instances: usize) -> Result<(), String> {
    let path = file(directory).ok_or("no file")?;
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let whole = text.contains(&format!("\"instances\":{instances}}}")) && text.contains("\"crc32\":");
    if whole { Ok(()) } else { Err(text) }
}
