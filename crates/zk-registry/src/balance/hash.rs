//! The arithmetic of chance and of keys: stable mixing, and a fair index from a random word.
//!
//! Hashes here decide which instance owns a key, so all processes must agree on them for ever: they are written out instead of being
//! the standard library's, which promises nothing across versions.

use super::entropy::Entropy;

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every input bit moves about half of the output bits.
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The `n`th of a family of independent hashes of `word`.
pub(super) const fn nth(word: u64, n: u64) -> u64 {
    mix(word.wrapping_add((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// FNV-1a over the bytes, then [`mix`].
pub(super) fn bytes(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

/// Maps a random 32-bit word to `0..len` by multiplication (Lemire, 2019). The bias is below `len / 2^32`.
pub(super) const fn below(word: u32, len: usize) -> usize {
    ((word as u64 * len as u64) >> 32) as usize
}

/// A random number below `len` that has no divisor in common with it: steps of that length meet every place before they meet
/// one again.
pub(super) fn stride(rng: &mut dyn Entropy, len: usize) -> usize {
    loop {
        let stride = 1 + below(halves(rng.next_u64()).0, len);
        if gcd(stride as u64, len as u64) == 1 {
            return stride;
        }
    }
}

/// The largest number that divides both.
pub(super) const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The high and the low half of a random word: two independent random numbers from one call of the generator.
pub(super) const fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// A number in `[0, 1)` from a random word.
pub(super) const fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}
