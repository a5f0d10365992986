//! One connection to one instance: dial it, ask it, and tell whether it died while it was idle.
//!
//! Nothing here chooses an instance, retries, or knows a deadline: the caller puts one around it.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use time_server::protocol::{ClientCodec, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::Instant;
use tokio_util::codec::{Decoder, Encoder};
use zk_registry::DialPolicy;

use crate::fault::Fault;
use crate::legacy;

/// A connection that may be asked again and again.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    round_trip: Duration,
}

impl Connection {
    /// Connects to the first address of `host` that the policy allows and that accepts.
    ///
    /// # Errors
    ///
    /// [`Fault::NotAllowed`] where the policy refuses every address, and what [`Fault::of_dial`] makes of the last error.
    pub(crate) async fn dial(host: &str, port: u16, policy: &DialPolicy) -> Result<Self, Fault> {
        let resolved = lookup_host((host, port)).await.map_err(Fault::of_dial)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in policy.select(resolved).map_err(Fault::NotAllowed)? {
            let began = Instant::now();
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true).map_err(Fault::of_dial)?;
                    let round_trip = began.elapsed();
                    return Ok(Self { stream, buffer: BytesMut::with_capacity(128), round_trip });
                }
                Err(error) => last = error,
            }
        }
        Err(Fault::of_dial(last))
    }

    /// How long connecting took: a round trip at least.
    pub(crate) fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// Whether the peer has neither closed it nor said anything unasked, as far as is known without waiting.
    pub(crate) fn is_quiet(&self) -> bool {
        let nothing = self.stream.try_read(&mut [0]);
        matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Asks and waits for the answer; the connection can then be asked again.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the peer closed without an answer, [`io::ErrorKind::InvalidData`] when its
    /// answer is none, and whatever the socket says. The connection is of no use after one.
    ///
    /// # Cancel safety
    ///
    /// None: an answer may still be under way, so a connection whose `ask` was dropped must be dropped too.
    pub(crate) async fn ask(&mut self, request: Request) -> io::Result<Reply> {
        self.send(request).await?;
        loop {
            if let Some(reply) = ClientCodec.decode(&mut self.buffer)? {
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let rest = ClientCodec.decode_eof(&mut self.buffer)?;
                return rest.ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Whether not a byte of an answer has come since the last one.
    pub(crate) fn has_heard_nothing(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Asks for a `timestamp` and reads to the end, as the client of 2016 did.
    ///
    /// A server of that year answers without reading what it was asked, so its reply may be followed by a reset, and
    /// asking may fail while the reply is already here: neither costs the reply.
    pub(crate) async fn ask_last(mut self) -> io::Result<Reply> {
        let sent = self.send(Request::Timestamp).await;
        let end = loop {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => break sent,
                Ok(_) if self.buffer.len() > LONGEST => break Err(io::ErrorKind::InvalidData.into()),
                Ok(_) => {}
                Err(error) => break sent.and(Err(error)),
            }
        };
        match end {
            Err(error) if self.buffer.is_empty() => Err(error),
            Ok(()) if self.buffer.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => legacy::whole_reply(&self.buffer),
        }
    }

    async fn send(&mut self, request: Request) -> io::Result<()> {
        let mut bytes = BytesMut::with_capacity(32);
        ClientCodec.encode(request, &mut bytes)?;
        self.stream.write_all(&bytes).await
    }
}

/// No reply that is read to the end is longer than this; what is longer comes from something else.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn peer(serve: impl AsyncFnOnce(TcpStream) + 'static) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream).await;
        });
        Connection::dial("127.0.0.1", port, &DialPolicy::default()).await.unwrap()
    }

    fn local(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_reply_in_pieces_is_one_reply() {
        local(async {
            let mut connection = peer(async |mut stream| {
                let mut request = [0; 4];
                stream.read_exact(&mut request).await.unwrap();
                for piece in [&b"2026-11-22T20:"[..], b"52:06.5Z", b"\n"] {
                    stream.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
                // Held open: the reply ends with its newline, not with the connection.
                std::future::pending::<()>().await;
            })
            .await;
            let reply = connection.ask(Request::Now).await.unwrap();
            assert!(matches!(reply, Reply::Now(time) if time.to_string() == "2026-11-22T20:52:06.5Z"));
            assert!(connection.is_quiet());
        });
    }

    #[test]
    fn a_server_of_2016_is_heard_through_its_reset() {
        local(async {
            let connection = peer(async |mut stream| {
                // It never reads; with something unread, closing is a reset.
                stream.readable().await.unwrap();
                stream.write_all(b"127.0.0.1:8897: 2016-10-19 14:52:39.12 +0800 CST").await.unwrap();
            })
            .await;
            let reply = connection.ask_last().await.unwrap();
            assert!(matches!(reply, Reply::Timestamp { listener, .. } if &*listener == "127.0.0.1:8897"));
        });
    }

    #[test]
    fn a_peer_that_closes_without_a_word_is_an_unexpected_end() {
        local(async {
            let mut connection = peer(async |mut stream| {
                stream.read_exact(&mut [0; 4]).await.unwrap();
            })
            .await;
            let error = connection.ask(Request::Now).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
    }
}
