//! Whatever somebody writes into a node, or calls one.
#![no_main]

#[path = "../checks/formats.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::formats(input));
