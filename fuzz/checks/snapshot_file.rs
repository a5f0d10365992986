//! What must hold for any bytes in a snapshot file: reading it does not panic, and what was read is written as something
//! that reads the same.

use zk_registry::Freshness;
use zk_registry::testing::fuzzing::{read_snapshot, write_snapshot};

/// The input is a file as it is, and a file but for its last line: a checksum that nobody guesses must hide nothing.
pub(crate) fn snapshot_file(input: &[u8]) {
    check(input);
    let tail = format!("{{\"crc32\":{}}}\n", crc32fast::hash(input));
    check(&[input, tail.as_bytes()].concat());
}

fn check(bytes: &[u8]) {
    let Ok(read) = read_snapshot(ROOT, bytes) else { return };
    let Freshness::Disk { written } = read.freshness() else { panic!("it is {:?}", read.freshness()) };
    let rewritten = write_snapshot(ROOT, &read, written).expect("memory does not fail");
    let again = read_snapshot(ROOT, &rewritten).expect("we read what we write");
    assert_eq!(again.freshness(), read.freshness());
    assert!(again.instances().eq(read.instances()), "{again:?} was {read:?}");
}

const ROOT: &str = "/services/time";
