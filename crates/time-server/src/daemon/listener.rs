//! Listening: a socket with a long queue, and what is in that queue when the server stops.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

use crate::daemon::limits::Limits;

/// A listening socket on `address`, for peers that take their replies within the default of
/// [`Limits::slow_reader`](crate::daemon::limits::Limits::slow_reader). Port 0 takes any free port.
///
/// # Errors
///
/// Those of the system, for instance [`io::ErrorKind::AddrInUse`].
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    listen_for(address, Limits::default().slow_reader)
}

/// A listening socket on `address`, with a queue long enough for bursts, whose connections cost the system a bounded
/// memory: small buffers, and the end of a connection whose peer takes nothing of what was sent for `reply_timeout`.
///
/// The system frees such a connection even after this process has closed it, and its buffers are no longer counted
/// against any limit of ours then.
///
/// # Errors
///
/// Those of the system.
pub(crate) fn listen_for(address: SocketAddr, reply_timeout: Duration) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)] // elsewhere the option would let others take the port
    socket.set_reuseaddr(true)?;
    bound_memory(&SockRef::from(&socket), reply_timeout)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The same of a socket that listens already, with the queue that it has.
///
/// # Errors
///
/// Those of the system.
pub(crate) fn adopt(listener: std::net::TcpListener, reply_timeout: Duration) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    bound_memory(&SockRef::from(&listener), reply_timeout)?;
    TcpListener::from_std(listener)
}

/// Connections inherit all of these from the listening socket.
fn bound_memory(socket: &SockRef<'_>, reply_timeout: Duration) -> io::Result<()> {
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    #[cfg(target_os = "linux")]
    {
        // In milliseconds, and 0 would mean the system's default of many minutes.
        let reply_timeout = reply_timeout.clamp(Duration::from_millis(1), LONGEST_USER_TIMEOUT);
        socket.set_tcp_user_timeout(Some(reply_timeout))?;
        // "Writable" then means that everything was sent, which is how a connection knows that it may close.
        socket.set_tcp_notsent_lowat(1)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = reply_timeout; // the connection's own deadline has to do
    Ok(())
}

/// The memory that Linux allows a socket is twice what is asked for: 32 KiB of replies and 32 KiB of requests, so that 4,096
/// connections of one address cost 256 MiB at the very most. A thousand pipelined requests are then answered as fast as over
/// the system's own buffers; more of them wait with the peer.
const SEND_BUFFER: usize = 16 * 1024;
const RECEIVE_BUFFER: usize = 16 * 1024;

/// The system counts milliseconds in 32 bits with a sign.
#[cfg(target_os = "linux")]
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// Connections that the system keeps for us until we accept them. With tokio's own default of 128, a burst of 256 loses
/// some and their peers try again a second later.
const BACKLOG: u32 = 4096;

/// What is in the accept queue. An error ends one connection, not the queue, and a queue that is filled as fast as it is
/// emptied would have no end: what it can hold is enough.
pub(crate) fn queued<T>(mut accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = io::Result<T>> {
    let there = |accepted: &io::Result<T>| {
        !accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    (0..BACKLOG).map(move |_| accept()).take_while(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_aborted_in_the_queue_does_not_end_the_others() {
        let mut queue = vec![
            Err(io::ErrorKind::WouldBlock.into()),
            Ok(2),
            Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(1),
        ];
        let found: Vec<_> = queued(|| queue.pop().unwrap()).map(|accepted| accepted.ok()).collect();
        assert_eq!(found, [Some(1), None, Some(2)]);
    }

    #[test]
    fn a_queue_that_is_filled_as_fast_as_it_is_emptied_has_an_end() {
        assert_eq!(queued(|| Ok(())).count(), BACKLOG as usize);
    }
}
