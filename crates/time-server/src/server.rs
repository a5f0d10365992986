//! Accepts connections and serves them, until told to stop; knows nothing of ZooKeeper.
//!
//! Stopping has three steps: the accept queues are emptied and the listeners closed, connections finish what is under
//! way, and after a while those that have not are dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use zk_registry::cli::MAX_DURATION;

use crate::backoff::{Backoff, Throttle};
use crate::clock::{Clock, SystemClock};
use crate::connection::{Host, Place, serve, turn_away};
use crate::limits::{Admission, Full, Limits};
use crate::metrics::{Fault, Metrics};
use crate::tasks::Tasks;

/// Serves the time on any number of listeners.
#[derive(Debug)]
pub struct Server {
    clock: Arc<dyn Clock>,
    limits: Limits,
    metrics: Metrics,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Finished {
    /// Connections that were dropped because they had not ended in time.
    pub dropped: usize,
}

impl Server {
    /// A server with these limits and the system's clock.
    pub fn new(limits: Limits) -> Self {
        Self { clock: Arc::new(SystemClock), limits: limits.bounded(), metrics: Metrics::default() }
    }

    /// Tells the time of this clock instead.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// What the server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves these listeners until `stop` completes; then closes them, after every connection that the system had
    /// already accepted on their behalf, and waits at most `patience` for connections to finish what is under way.
    ///
    /// # Errors
    ///
    /// A listener that has no address. Nothing has been accepted then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listeners and drops all connections.
    pub async fn run(
        self,
        listeners: Vec<TcpListener>,
        stop: impl Future<Output = ()>,
        patience: Duration,
    ) -> io::Result<Finished> {
        let stopping = CancellationToken::new();
        let draining = CancellationToken::new();
        let admission = Arc::new(Admission::new(&self.limits));
        let last_words = Arc::new(Semaphore::new(LAST_WORDS));

        let mut hosts = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let address = listener.local_addr()?;
            let specified = !address.ip().is_unspecified();
            let host = Host {
                address: specified.then(|| address.to_string().into()),
                clock: Arc::clone(&self.clock),
                limits: self.limits.clone(),
                metrics: self.metrics.clone(),
                admission: Arc::clone(&admission),
                draining: draining.clone(),
            };
            hosts.push((listener, Arc::new(host)));
        }
        let mut accepting = JoinSet::new();
        for (listener, host) in hosts {
            let last_words = Arc::clone(&last_words);
            let door = Door { host, tasks: Tasks::default(), last_words };
            accepting.spawn(door.accept_until(listener, stopping.clone()));
        }

        stop.await;
        stopping.cancel();
        let accepted = accepting.join_all().await;
        draining.cancel();
        let deadline = Instant::now() + patience.min(MAX_DURATION);
        let mut dropped = 0;
        for tasks in accepted {
            dropped += tasks.finish(deadline).await;
        }
        Ok(Finished { dropped })
    }
}

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
fn queued<T>(mut accept: impl FnMut() -> io::Result<T>) -> impl Iterator<Item = io::Result<T>> {
    let there = |accepted: &io::Result<T>| {
        !accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    (0..BACKLOG).map(move |_| accept()).take_while(there)
}

/// Where connections of one listener come in.
struct Door {
    host: Arc<Host>,
    tasks: Tasks,
    last_words: Arc<Semaphore>,
}

impl Door {
    /// Accepts until told to stop; the tasks of those who came in.
    async fn accept_until(mut self, listener: TcpListener, stopping: CancellationToken) -> Tasks {
        let mut backoff = Backoff::default();
        let mut log = Throttle::default();
        let mut stopped = std::pin::pin!(stopping.cancelled());
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped.as_mut() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    backoff.reset();
                    self.enter(stream, peer);
                }
                Err(error) => {
                    self.host.metrics.count_fault(Fault::Accept);
                    log.warn(&error);
                    // Whatever is short (descriptors, memory) will not be there again at once.
                    tokio::select! {
                        () = stopped.as_mut() => break,
                        () = tokio::time::sleep(backoff.next()) => {}
                    }
                }
            }
        }
        self.empty(listener);
        self.tasks
    }

    /// Serves what the system has already accepted for us, then closes the listener: closing alone would reset it.
    fn empty(&mut self, listener: TcpListener) {
        // A listener that cannot leave the runtime, or an error of accept, leaves nothing to be done but to close.
        let Ok(listener) = listener.into_std() else { return };
        for accepted in queued(|| listener.accept()) {
            let stream = accepted.and_then(|(stream, peer)| {
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, peer))
            });
            match stream {
                Ok((stream, peer)) => self.enter(stream, peer),
                Err(_) => self.host.metrics.count_fault(Fault::Accept),
            }
        }
    }

    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        match Place::take(&self.host, peer) {
            // A panic ends this task alone, and gives the place back.
            Ok(place) => self.tasks.spawn(serve(stream, place)),
            Err(full) => self.turn_away(stream, peer, full),
        }
    }

    /// Says why, and ends the connection as gently as any other, unless there are too many of these: under attack nobody
    /// is waited for.
    fn turn_away(&mut self, stream: TcpStream, peer: SocketAddr, full: Full) {
        self.host.metrics.count_fault(match full {
            Full::Peer => Fault::PeerLimit,
            Full::Total => Fault::TotalLimit,
        });
        debug!(%peer, %full, "turned away");
        if let Ok(place) = Arc::clone(&self.last_words).try_acquire_owned() {
            self.tasks.spawn(async move {
                let _place = place;
                turn_away(stream, &full.to_string()).await;
            });
            return;
        }
        let Ok(mut stream) = stream.into_std() else { return };
        // What has arrived is read first, else closing would reset the connection. Who is gone need not be told.
        let _ = io::Read::read(&mut stream, &mut [0; 256]);
        let _ = io::Write::write(&mut stream, format!("error: {full}\n").as_bytes());
    }
}

/// Connections of those who are turned away that are ended gently at the same time.
const LAST_WORDS: usize = 64;

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
