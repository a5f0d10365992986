//! What a server says in answer to `timestamp`, also when it is one of 2016.
//!
//! Such a server writes `<address>: <time>` with the time as Go prints one, without having read the request, and closes:
//! the reply may be followed by a reset instead of an end. Today's servers write RFC 3339, which the shared codec knows.
//! Nothing here reads a socket.

use std::io;
use std::str;

use bytes::BytesMut;
use jiff::Timestamp;
use time_server::protocol::{ClientCodec, Reply};
use tokio_util::codec::Decoder;

/// The reply that all the bytes of a connection are.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] when they are none, or not a whole one.
pub(crate) fn whole_reply(bytes: &[u8]) -> io::Result<Reply> {
    match ClientCodec.decode_eof(&mut BytesMut::from(bytes)) {
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(io::Error::new(io::ErrorKind::InvalidData, "an empty reply")),
        Err(error) => reply_of_2016(bytes).ok_or(error),
    }
}

/// `127.0.0.1:8897: 2016-10-19 14:52:39.123456789 +0800 CST`, and since Go 1.9 a monotonic reading behind it.
fn reply_of_2016(bytes: &[u8]) -> Option<Reply> {
    let (listener, text) = str::from_utf8(bytes).ok()?.split_once(": ")?;
    let mut words = text.split_ascii_whitespace();
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    // Without its four digits the zone, and so the reply, was cut off.
    let whole = zone.len() == "+0000".len();
    let time = Timestamp::strptime("%Y-%m-%d %H:%M:%S%.f %z", format!("{date} {time} {zone}")).ok();
    time.filter(|_| whole).map(|time| Reply::Timestamp { listener: listener.into(), time })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<String> {
        match whole_reply(text.as_bytes()).ok()? {
            Reply::Timestamp { listener, time } => Some(format!("{listener} {time}")),
            _ => None,
        }
    }

    #[test]
    fn replies_of_today_and_of_2016_are_read() {
        let expected = Some("127.0.0.1:8897 2016-10-19T06:52:39.123456789Z".to_owned());
        for reply in [
            "127.0.0.1:8897: 2016-10-19T06:52:39.123456789Z",
            "127.0.0.1:8897: 2016-10-19 14:52:39.123456789 +0800 CST",
            "127.0.0.1:8897: 2016-10-19 06:52:39.123456789 +0000 UTC m=+0.000012345",
        ] {
            assert_eq!(time(reply), expected, "{reply}");
        }
        assert_eq!(
            time("[::1]:8897: 2016-10-19 14:52:39 +0800 CST").unwrap(),
            "[::1]:8897 2016-10-19T06:52:39Z"
        );
    }

    #[test]
    fn a_reply_that_was_cut_off_is_no_time() {
        let whole = "127.0.0.1:8897: 2016-10-19 14:52:39.123456789 +0800";
        for length in 0..whole.len() {
            assert!(time(&whole[..length]).is_none(), "{}", &whole[..length]);
        }
        assert!(time(whole).is_some());
    }
}
