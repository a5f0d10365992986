//! Whatever a peer sends, in whatever packets.
#![no_main]

#[path = "../checks/zookeeper_wire.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::zookeeper_wire(input));
