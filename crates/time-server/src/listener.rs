//! Listening: a socket with a long queue, and what is in that queue when the server stops.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Listens on an address, with a queue long enough for bursts; port 0 takes any free port.
///
/// # Errors
///
/// Those of the system, for instance [`io::ErrorKind::AddrInUse`].
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)] // elsewhere the option would let others take the port
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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
