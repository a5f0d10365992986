//! Pure: splits a ZooKeeper stream into whole messages, and reads the two header fields that the proxy needs.

use bytes::{Buf, Bytes, BytesMut};

/// The next whole message of `stream`, its length prefix included; `None` until it is complete.
///
/// A length that no ZooKeeper peer sends ends the splitting: everything that is there is one message then.
pub(super) fn next(stream: &mut BytesMut) -> Option<Bytes> {
    let prefix = stream.first_chunk::<4>()?;
    let message = i32::from_be_bytes(*prefix);
    let whole = match usize::try_from(message) {
        Ok(length) if length <= MOST => length + 4,
        _ => stream.len(),
    };
    (stream.len() >= whole).then(|| stream.split_to(whole).freeze())
}

/// The number that ties a reply to its request. The first message of each direction has none.
pub(super) fn xid(message: &[u8]) -> Option<i32> {
    field(message, 4)
}

/// The operation of a request. The first message of a connection has none.
pub(super) fn operation(message: &[u8]) -> Option<i32> {
    field(message, 8)
}

/// The same request for something that no server knows.
pub(super) fn unknown(message: &[u8]) -> Bytes {
    let mut message = BytesMut::from(message);
    if let Some(operation) = message.get_mut(8..12) {
        operation.copy_from_slice(&i32::MAX.to_be_bytes());
    }
    message.freeze()
}

fn field(message: &[u8], at: usize) -> Option<i32> {
    message.get(at..)?.try_get_i32().ok()
}

/// Larger than what a server sends for 1,000,000 children.
const MOST: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_split_anywhere_come_out_whole() {
        let sent = [&[0, 0, 0, 2, 7, 8][..], &[0, 0, 0, 0], &[0, 0, 0, 1, 9]].concat();
        for split in 0..sent.len() {
            let mut stream = BytesMut::new();
            let mut got = Vec::new();
            for part in [&sent[..split], &sent[split..]] {
                stream.extend_from_slice(part);
                got.extend(std::iter::from_fn(|| next(&mut stream)));
            }
            assert_eq!(got, [&sent[..6], &sent[6..10], &sent[10..]], "split at {split}");
        }
    }

    #[test]
    fn a_senseless_length_does_not_hold_anything_back() {
        let mut stream = BytesMut::from(&b"\xff\xff\xff\xffrest"[..]);
        assert_eq!(next(&mut stream).map(|all| all.len()), Some(8));
    }

    #[test]
    fn the_header_is_read_where_it_is_complete() {
        let message = [0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 15];
        assert_eq!((xid(&message), operation(&message)), (Some(5), Some(15)));
        assert_eq!((xid(&message[..7]), operation(&message[..11])), (None, None));
    }
}
