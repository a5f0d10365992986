//! The end of a connection: the peer sees the end of the stream behind the last reply, and never a reset.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::daemon::socket::{at_once, read_some};

/// Tells a peer that is not served why, and ends the connection.
pub(crate) async fn turn_away(mut stream: TcpStream, why: &str) {
    let mut input = BytesMut::new();
    let farewell = async {
        let mut deadline = pin!(sleep(LINGER));
        // Nothing has been sent yet: one line fits.
        at_once(SockRef::from(&stream).send(format!("error: {why}\n").as_bytes()))?;
        end(&mut stream, &mut input, deadline.as_mut()).await
    };
    // Who is gone need not be told.
    let _: io::Result<()> = farewell.await;
}

/// Ends the connection so that the peer sees the end of the stream behind the last reply and never a reset: closing a
/// socket that holds unread bytes would reset it, and the peer's system would throw away what it had received.
pub(crate) async fn end(
    stream: &mut TcpStream,
    input: &mut BytesMut,
    mut deadline: Pin<&mut Sleep>,
) -> io::Result<()> {
    stream.shutdown().await?;
    deadline.as_mut().reset(Instant::now() + LINGER);
    let mut budget = LINGER_BYTES;
    loop {
        input.clear();
        let read = tokio::select! {
            biased;
            read = read_some(stream, input) => read?,
            () = deadline.as_mut() => return Ok(()),
        };
        budget = budget.saturating_sub(read);
        if read == 0 || budget == 0 {
            return Ok(());
        }
    }
}

/// How long, and for how many bytes, a peer that goes on sending is listened to after the last reply.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;
