//! What must hold for any bytes from a peer: the codecs do not panic, keep at most a line, and do not care how the bytes
//! were cut into packets.

use bytes::BytesMut;
use time_server::protocol::{ClientCodec, Refusal, Request, ServerCodec};
use tokio_util::codec::Decoder;

/// The first byte is the size of a packet, the others are the stream.
pub(crate) fn protocol(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    let size = usize::from(size).max(1);
    assert_eq!(requests(stream.chunks(size)), requests([stream].into_iter()));

    let mut replies = BytesMut::from(stream);
    while let Ok(Some(_)) = ClientCodec.decode_eof(&mut replies) {}
}

fn requests<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Request, Refusal>> {
    let (mut codec, mut buffer, mut found) = (ServerCodec::new(MAX_LINE), BytesMut::new(), Vec::new());
    for packet in packets {
        buffer.extend_from_slice(packet);
        while let Some(item) = codec.decode(&mut buffer).expect("memory does not fail") {
            found.push(item);
        }
        assert!(buffer.len() <= MAX_LINE, "{} bytes kept", buffer.len());
    }
    while let Some(item) = codec.decode_eof(&mut buffer).expect("memory does not fail") {
        found.push(item);
    }
    assert!(codec.is_finished() || buffer.is_empty());
    found
}

const MAX_LINE: usize = 64;
