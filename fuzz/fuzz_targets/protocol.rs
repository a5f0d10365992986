//! Whatever a peer sends, in whatever packets.
#![no_main]

#[path = "../checks/protocol.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::protocol(input));
