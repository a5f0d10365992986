//! What must hold for any packets to the server for tests: it does not panic, and each of its answers is a row of whole frames,
//! no longer than what was sent can have asked for.

use zk_registry::testing::fuzzing::zookeeper_replies;

/// The first byte is the size of a packet, the others are the packets.
pub(crate) fn zookeeper_wire(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    for replies in zookeeper_replies(stream.chunks(usize::from(size).max(1))) {
        let mut left = &replies[..];
        while let Some((head, rest)) = left.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*head)).expect("it fits");
            assert!((16..=MOST_REPLY).contains(&length), "a frame of {length} bytes");
            left = rest.get(length..).expect("the frame is whole");
        }
        assert!(left.is_empty(), "{} bytes behind the last frame", left.len());
    }
}

/// No packet here can ask for as much.
const MOST_REPLY: usize = 1 << 20;
