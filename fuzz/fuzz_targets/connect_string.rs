//! Whatever an operator writes where a connect string belongs.
#![no_main]

#[path = "../checks/connect_string.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::connect_string(input));
