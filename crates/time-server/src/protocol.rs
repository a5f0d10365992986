//! What the two programs say to each other, as a pair of codecs that know nothing of sockets, clocks or deadlines.
//!
//! A server decodes [`Request`]s and encodes [`Reply`]s with [`ServerCodec`], a client does the reverse with
//! [`ClientCodec`]. How a stream is cut into packets never changes what is decoded, and neither codec ever needs more
//! than one line of buffer. The page `docs/PROTOCOL.md` describes the same for people.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io;
use std::str;
use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};
use jiff::Timestamp;
use tokio_util::codec::{Decoder, Encoder};

use crate::rfc3339;

/// What a client asks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Request {
    /// The time, on a connection that stays open.
    Now,
    /// The server's receive and transmit times, for a client that computes its clock's offset.
    Sync {
        /// The client's own clock when it sent this, in nanoseconds since the epoch; the server only echoes it.
        t1: u64,
    },
    /// The listener's address and the time, then the end of the connection.
    Timestamp,
}

/// What a server answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// A request could not be served, and the connection ends.
    Error(Cow<'static, str>),
    /// The time.
    Now(Timestamp),
    /// The answer to [`Request::Sync`]; all three in nanoseconds since the epoch.
    Sync {
        /// What the client had sent.
        t1: u64,
        /// The server's clock when the request had been received.
        t2: u64,
        /// The server's clock when this reply was about to be sent.
        t3: u64,
    },
    /// The answer to [`Request::Timestamp`]. It has no newline: the end of the connection ends it.
    Timestamp {
        /// The address that was connected to, as the server knows it.
        listener: Arc<str>,
        /// The time.
        time: Timestamp,
    },
}

/// Why the bytes of a peer are not a request. The connection cannot go on after one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// The stream ended inside a line.
    Incomplete,
    /// A line is longer than the server's limit.
    TooLong,
    /// A line is none of the requests.
    Unknown,
}

/// The server's side: bytes to requests, replies to bytes.
#[derive(Debug)]
pub struct ServerCodec {
    max_line: usize,
    finished: bool,
    times: rfc3339::Writer,
}

/// The client's side: requests to bytes, bytes to replies.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientCodec;

impl ServerCodec {
    /// A codec that refuses lines of more than `max_line` bytes (at least [`MIN_LINE`], without the newline).
    pub fn new(max_line: usize) -> Self {
        Self { max_line: max_line.max(MIN_LINE), finished: false, times: rfc3339::Writer::default() }
    }

    /// Whether nothing that follows will be looked at, because of a [`Request::Timestamp`] or a [`Refusal`].
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    fn finish<T>(&mut self, src: &mut BytesMut, last: T) -> io::Result<Option<T>> {
        self.finished = true;
        src.clear();
        Ok(Some(last))
    }
}

impl Decoder for ServerCodec {
    type Item = Result<Request, Refusal>;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        if self.finished {
            src.clear();
            return Ok(None);
        }
        if src.starts_with(TIMESTAMP) {
            return self.finish(src, Ok(Request::Timestamp));
        }
        let window = src.len().min(self.max_line + 1);
        match src[..window].iter().position(|&byte| byte == b'\n') {
            Some(end) => match request(&src[..end]) {
                Some(request) => {
                    src.advance(end + 1);
                    Ok(Some(Ok(request)))
                }
                None => self.finish(src, Err(Refusal::Unknown)),
            },
            None if window > self.max_line => self.finish(src, Err(Refusal::TooLong)),
            None => Ok(None),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        match self.decode(src)? {
            None if !src.is_empty() => self.finish(src, Err(Refusal::Incomplete)),
            item => Ok(item),
        }
    }
}

impl Encoder<&Reply> for ServerCodec {
    type Error = io::Error;

    fn encode(&mut self, reply: &Reply, dst: &mut BytesMut) -> io::Result<()> {
        match reply {
            Reply::Error(what) => writeln!(dst, "error: {what}").map_err(io::Error::other)?,
            Reply::Now(time) => {
                self.times.write(*time, dst)?;
                dst.put_u8(b'\n');
            }
            Reply::Sync { t1, t2, t3 } => writeln!(dst, "sync {t1} {t2} {t3}").map_err(io::Error::other)?,
            Reply::Timestamp { listener, time } => {
                dst.put_slice(listener.as_bytes());
                dst.put_slice(b": ");
                self.times.write(*time, dst)?;
            }
        }
        Ok(())
    }
}

impl Encoder<Request> for ClientCodec {
    type Error = io::Error;

    fn encode(&mut self, request: Request, dst: &mut BytesMut) -> io::Result<()> {
        match request {
            Request::Now => dst.put_slice(b"now\n"),
            Request::Sync { t1 } => writeln!(dst, "sync {t1}").map_err(io::Error::other)?,
            Request::Timestamp => dst.put_slice(TIMESTAMP),
        }
        Ok(())
    }
}

impl Decoder for ClientCodec {
    type Item = Reply;
    /// [`io::ErrorKind::InvalidData`] for bytes that no server of this protocol sends.
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> io::Result<Option<Reply>> {
        let window = src.len().min(MAX_REPLY + 1);
        match src[..window].iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let line = src.split_to(end + 1);
                reply(&line[..end]).map(Some)
            }
            None if window > MAX_REPLY => Err(invalid("a reply of more than 512 bytes")),
            None => Ok(None),
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> io::Result<Option<Reply>> {
        match self.decode(src)? {
            None if !src.is_empty() => reply(&src.split()).map(Some),
            item => Ok(item),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "the last line has no newline",
            Self::TooLong => "line too long",
            Self::Unknown => "unknown request; use `timestamp`, `now` or `sync <nanoseconds>`",
        })
    }
}

/// The longest line that is a request, `sync` with the largest number and a carriage return: a limit below it would
/// refuse what the protocol allows.
pub const MIN_LINE: usize = "sync 18446744073709551615\r".len();

/// No reply is longer: the longest has a listener's address and a time.
const MAX_REPLY: usize = 512;

const TIMESTAMP: &[u8] = b"timestamp";

/// The request that a line without its newline is.
fn request(line: &[u8]) -> Option<Request> {
    match line.strip_suffix(b"\r").unwrap_or(line) {
        b"now" => Some(Request::Now),
        line => line.strip_prefix(b"sync ").and_then(number).map(|t1| Request::Sync { t1 }),
    }
}

/// The reply that a line without its newline is.
fn reply(line: &[u8]) -> io::Result<Reply> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = str::from_utf8(line).map_err(|_| invalid("a reply that is not text"))?;
    if let Some(what) = text.strip_prefix("error: ") {
        return Ok(Reply::Error(what.to_owned().into()));
    }
    if let Some(stamps) = text.strip_prefix("sync ") {
        let mut stamps = stamps.split(' ').map(|stamp| number(stamp.as_bytes()));
        return match (stamps.next(), stamps.next(), stamps.next(), stamps.next()) {
            (Some(Some(t1)), Some(Some(t2)), Some(Some(t3)), None) => Ok(Reply::Sync { t1, t2, t3 }),
            _ => Err(invalid("a sync reply without its three numbers")),
        };
    }
    let time = |text: &str| text.parse::<Timestamp>().map_err(|_| invalid("a reply without a time"));
    match text.rsplit_once(": ") {
        Some((listener, text)) => Ok(Reply::Timestamp { listener: listener.into(), time: time(text)? }),
        None => Ok(Reply::Now(time(text)?)),
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const LIMIT: usize = 64;

    /// What a server decodes from packets, and the most that it ever kept between two of them.
    fn decode<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Result<Request, Refusal>>, usize) {
        let (mut codec, mut buffer) = (ServerCodec::new(LIMIT), BytesMut::new());
        let (mut items, mut kept) = (Vec::new(), 0);
        for packet in packets {
            buffer.extend_from_slice(packet);
            while let Some(item) = codec.decode(&mut buffer).unwrap() {
                items.push(item);
            }
            kept = kept.max(buffer.len());
        }
        while let Some(item) = codec.decode_eof(&mut buffer).unwrap() {
            items.push(item);
        }
        (items, kept)
    }

    fn decoded(stream: &[u8]) -> Vec<Result<Request, Refusal>> {
        decode([stream]).0
    }

    #[test]
    fn the_2016_client_needs_no_newline() {
        assert_eq!(decoded(b"timestamp"), [Ok(Request::Timestamp)]);
        assert_eq!(decoded(b"timestamp\r\n"), [Ok(Request::Timestamp)]);
    }

    #[test]
    fn nothing_after_a_timestamp_is_looked_at() {
        assert_eq!(decoded(b"now\ntimestamp\nnow\nrubbish"), [Ok(Request::Now), Ok(Request::Timestamp)]);
    }

    #[test]
    fn requests_may_be_pipelined_and_end_in_crlf() {
        let all = [Ok(Request::Now), Ok(Request::Sync { t1: 17 }), Ok(Request::Now)];
        assert_eq!(decoded(b"now\r\nsync 17\nnow\n"), all);
    }

    #[test]
    fn what_comes_before_rubbish_is_still_answered() {
        assert_eq!(decoded(b"now\nGET / HTTP/1.1\r\nnow\n"), [Ok(Request::Now), Err(Refusal::Unknown)]);
        for rubbish in
            ["\n", "NOW\n", "sync\n", "sync \n", "sync +1\n", "sync 1 \n", "sync 18446744073709551616\n"]
        {
            assert_eq!(decoded(rubbish.as_bytes()), [Err(Refusal::Unknown)], "{rubbish:?}");
        }
        assert_eq!(decoded(b"no"), [Err(Refusal::Incomplete)]);
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_not_too_long() {
        let line = |length| [vec![b'x'; length], b"\n".to_vec()].concat();
        assert_eq!(decoded(&line(LIMIT)), [Err(Refusal::Unknown)]);
        assert_eq!(decoded(&line(LIMIT + 1)), [Err(Refusal::TooLong)]);
        assert_eq!(decoded(&vec![0xff; 1 << 20]), [Err(Refusal::TooLong)]);
    }

    #[test]
    fn a_truncated_reply_is_never_taken_for_a_time() {
        let whole = b"127.0.0.1:8897: 2026-11-22T20:52:06.123456789Z";
        for length in 1..whole.len() {
            let mut src = BytesMut::from(&whole[..length]);
            assert!(ClientCodec.decode_eof(&mut src).is_err(), "{length} bytes");
        }
        let mut src = BytesMut::from(&whole[..]);
        let reply = ClientCodec.decode_eof(&mut src).unwrap();
        assert!(matches!(reply, Some(Reply::Timestamp { listener, .. }) if &*listener == "127.0.0.1:8897"));
    }

    /// Streams that are mostly made of what the protocol knows, so that its corners are met.
    fn streams() -> impl Strategy<Value = Vec<u8>> {
        let known = select(vec![
            "now\n",
            "now\r\n",
            "sync 1\n",
            "sync 18446744073709551615\r\n",
            "timestamp",
            "timestamp\n",
            "\n",
            "\r",
            "sync ",
            "no",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ]);
        let piece =
            prop_oneof![8 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..80)];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    fn times() -> impl Strategy<Value = Timestamp> {
        (0..=u64::MAX).prop_map(|ns| Timestamp::from_nanosecond(i128::from(ns)).unwrap())
    }

    fn replies() -> impl Strategy<Value = Reply> {
        prop_oneof![
            "[a-z ]{0,40}".prop_map(|what| Reply::Error(what.into())),
            times().prop_map(Reply::Now),
            any::<[u64; 3]>().prop_map(|[t1, t2, t3]| Reply::Sync { t1, t2, t3 }),
            (select(vec!["127.0.0.1:8897", "[::1]:8897"]), times())
                .prop_map(|(listener, time)| Reply::Timestamp { listener: listener.into(), time }),
        ]
    }

    proptest! {
        #[test]
        fn how_a_stream_is_split_does_not_change_what_is_decoded(stream in streams(), size in 1_usize..40) {
            let (whole, _) = decode([&stream[..]]);
            let (split, kept) = decode(stream.chunks(size));
            prop_assert_eq!(whole, split);
            prop_assert!(kept <= LIMIT, "{} bytes kept", kept);
        }

        #[test]
        fn requests_survive_the_way_to_the_server(t1 in any::<u64>()) {
            let sent = [Request::Now, Request::Sync { t1 }, Request::Timestamp];
            let mut wire = BytesMut::new();
            for request in sent {
                ClientCodec.encode(request, &mut wire).unwrap();
            }
            prop_assert_eq!(decoded(&wire), sent.map(Ok));
        }

        #[test]
        fn replies_survive_the_way_to_the_client(sent in replies()) {
            let mut wire = BytesMut::new();
            ServerCodec::new(LIMIT).encode(&sent, &mut wire).unwrap();
            prop_assert_eq!(ClientCodec.decode_eof(&mut wire).unwrap(), Some(sent));
        }

        #[test]
        fn no_reply_makes_a_client_panic(mut bytes in vec(any::<u8>(), 0..600).prop_map(|bytes| BytesMut::from(&bytes[..]))) {
            while let Ok(Some(_)) = ClientCodec.decode_eof(&mut bytes) {}
        }
    }
}
