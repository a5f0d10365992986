//! The source of chance: passed in with each call, so that a test can seed it.

/// A source of random 64-bit words. Closures are sources: `|| rng.next_u64()` makes one of any generator.
///
/// The words must be independent and evenly spread; they need not be secret.
pub trait Entropy {
    /// Draws the next word.
    fn next_u64(&mut self) -> u64;
}

impl<F: FnMut() -> u64 + ?Sized> Entropy for F {
    fn next_u64(&mut self) -> u64 {
        self()
    }
}
