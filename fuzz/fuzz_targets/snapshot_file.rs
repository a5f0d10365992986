//! Whatever stands in a snapshot file.
#![no_main]

#[path = "../checks/snapshot_file.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::snapshot_file(input));
