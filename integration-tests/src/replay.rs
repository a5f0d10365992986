//! Captured logs and printed seeds, which make a failed test readable and repeatable.

use std::ops::{Deref, DerefMut};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tracing_subscriber::EnvFilter;

use crate::artifacts;

/// Sends tracing events to the test's captured output, which the test runner shows for a failed test only.
///
/// The filter is `RUST_LOG`, by default `info,zookeeper_client=warn`. Calling it again changes nothing.
pub fn init_tracing() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,zookeeper_client=warn"));
    // An error means that an earlier test of this process was first, which is as good.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

/// A generator whose seed is printed, taken from the environment variable `SEED` for a replay, else drawn.
///
/// # Panics
///
/// When `SEED` is set and is no number.
pub fn seeded(what: &str) -> Seeded {
    let seed = match std::env::var("SEED") {
        Ok(text) => {
            text.parse().unwrap_or_else(|_| panic!("SEED={text}: expected a number from 0 to 2^64 - 1"))
        }
        Err(_) => rand::random(),
    };
    println!("{what}: replay with SEED={seed}");
    Seeded { what: what.to_owned(), seed, rng: StdRng::seed_from_u64(seed) }
}

/// A generator and its seed, which is [kept](artifacts::keep) when the test fails meanwhile.
#[derive(Debug)]
pub struct Seeded {
    what: String,
    seed: u64,
    rng: StdRng,
}

impl Deref for Seeded {
    type Target = StdRng;

    fn deref(&self) -> &StdRng {
        &self.rng
    }
}

impl DerefMut for Seeded {
    fn deref_mut(&mut self) -> &mut StdRng {
        &mut self.rng
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            artifacts::keep("seed", &format!("{}: replay with SEED={}\n", self.what, self.seed));
        }
    }
}
