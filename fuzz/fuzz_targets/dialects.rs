//! Whatever other fleets' programs write into a node, or call one.
#![no_main]

#[path = "../checks/dialects.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::dialects(input));
