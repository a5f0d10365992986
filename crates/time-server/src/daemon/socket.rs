//! Reading and writing a socket without asking the runtime where that is not needed.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// The number of bytes, or `None` if the socket is not ready.
pub(crate) fn at_once(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the system has sent everything that was written to the socket, as far as its peer had room for it.
#[cfg(unix)]
pub(crate) fn has_sent_all(stream: &TcpStream) -> bool {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    // An error of poll itself says nothing about the peer.
    poll(&mut fds, PollTimeout::ZERO).map_or(true, |ready| ready > 0)
}

/// Whether the system has sent everything: not known here.
#[cfg(not(unix))]
pub(crate) fn has_sent_all(_: &TcpStream) -> bool {
    true
}

/// How much is read at once: a full batch of the shortest requests makes 8 KiB of replies.
const READ: usize = 1024;

/// Reads what there is; the buffer grows only once something is there.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
pub(crate) async fn read_some(stream: &mut TcpStream, input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|cx| {
        ready!(stream.poll_read_ready(cx))?;
        let mut space = [MaybeUninit::uninit(); READ];
        let mut found = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut found))?;
        input.extend_from_slice(found.filled());
        Poll::Ready(Ok(found.filled().len()))
    })
    .await
}
