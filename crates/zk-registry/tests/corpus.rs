//! The fuzz targets' checks over their committed corpus, on the stable compiler and in every test run.

use std::fs;

#[path = "../../../fuzz/checks/connect_string.rs"]
mod connect_string;
#[path = "../../../fuzz/checks/dialects.rs"]
mod dialects;
#[path = "../../../fuzz/checks/formats.rs"]
mod formats;
#[path = "../../../fuzz/checks/replies.rs"]
mod replies;
#[path = "../../../fuzz/checks/snapshot_file.rs"]
mod snapshot_file;
#[path = "../../../fuzz/checks/zookeeper_wire.rs"]
mod zookeeper_wire;

/// Runs the check over every file of these directories of the repository, of which there are so many at least.
fn check(check: fn(&[u8]), directories: &[&str], least: usize) {
    let mut checked = 0;
    for directory in directories {
        let directory = format!("{}/../../{directory}", env!("CARGO_MANIFEST_DIR"));
        let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
        for file in files {
            check(&fs::read(file.expect("a directory is read").path()).expect("a file is read"));
            checked += 1;
        }
    }
    assert!(checked >= least, "{checked} files in {directories:?}");
}

#[test]
fn connect_strings_hold_for_the_committed_corpus() {
    check(connect_string::connect_string, &["fuzz/corpus/connect_string"], 12);
}

#[test]
fn the_dialects_hold_for_the_committed_corpus() {
    check(dialects::dialects, &["fuzz/corpus/dialects"], 20);
}

#[test]
fn the_formats_hold_for_the_committed_corpus_and_every_fixture() {
    let fixtures = "crates/zk-registry/src/format/fixtures";
    let directories = ["fuzz/corpus/formats", &format!("{fixtures}/curator"), &format!("{fixtures}/ours")];
    check(formats::formats, &directories, 19);
}

#[test]
fn the_snapshot_file_holds_for_the_committed_corpus() {
    check(snapshot_file::snapshot_file, &["fuzz/corpus/snapshot_file"], 12);
}

#[test]
fn the_wire_of_the_server_for_tests_holds_for_the_committed_corpus() {
    check(zookeeper_wire::zookeeper_wire, &["fuzz/corpus/zookeeper_wire"], 6);
}

#[test]
fn the_replies_of_a_hostile_zookeeper_hold_for_the_committed_corpus() {
    check(replies::replies, &["fuzz/corpus/replies"], 12);
}
