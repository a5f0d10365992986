//! Whatever ZooKeeper answers.
#![no_main]

#[path = "../checks/replies.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::replies(input));
