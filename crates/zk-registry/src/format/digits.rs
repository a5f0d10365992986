//! Numbers for names that others count up: derived from what the node says, so that the path is known before it is created.

/// The least number: one that a server's ten digits never reach.
const LEAST: u64 = 10_000_000_000;
/// How many numbers there are, so that the largest one is a signed number of 64 bits.
const COUNT: u64 = 9_000_000_000_000_000_000;

/// The number of an instance with this id and these data: eleven to nineteen digits.
pub(super) fn of(id: &str, data: &[u8]) -> u64 {
    // FNV-1a: it must not change between releases.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in id.bytes().chain([0]).chain(data.iter().copied()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    LEAST + hash % COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calculated by hand: another number would give every node another name.
    const PINNED: u64 = 5_192_610_634_703_334_595;

    #[test]
    fn a_number_is_the_same_in_every_release_and_no_servers_counter() {
        assert_eq!(of("10.0.0.1:80", b"{}"), PINNED);
        assert_ne!(of("10.0.0.1:80", b"{}"), of("10.0.0.1:80", b"{ }"));
        for n in 0..1_000_u32 {
            let digits = of("id", &n.to_be_bytes()).to_string();
            assert!((11..=19).contains(&digits.len()) && digits.parse::<i64>().is_ok(), "{digits}");
        }
    }
}
