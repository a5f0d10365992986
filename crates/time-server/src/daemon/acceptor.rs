//! Accepting: every connection of one listener is admitted and served, or told why not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::daemon::admission::Full;
use crate::daemon::backoff::{Backoff, Throttle};
use crate::daemon::connection::serve;
use crate::daemon::farewell::turn_away;
use crate::daemon::listener::queued;
use crate::daemon::listener_context::ListenerContext;
use crate::daemon::metrics::Fault;
use crate::daemon::permit::ConnectionPermit;
use crate::daemon::tasks::Tasks;

/// The loop that accepts the connections of one listener and starts a task for each.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) context: Arc<ListenerContext>,
    pub(crate) tasks: Tasks,
    pub(crate) last_words: Arc<Semaphore>,
}

impl Acceptor {
    /// Accepts until `stopping`, and hands back the tasks of the connections that were admitted.
    pub(crate) async fn accept_until(mut self, listener: TcpListener, stopping: CancellationToken) -> Tasks {
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
                    self.context.metrics.count_fault(Fault::Accept);
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
                Err(_) => self.context.metrics.count_fault(Fault::Accept),
            }
        }
    }

    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        match ConnectionPermit::take(&self.context, peer) {
            // A panic ends this task alone, and gives the place back.
            Ok(permit) => self.tasks.spawn(serve(stream, permit)),
            Err(full) => self.turn_away(stream, peer, full),
        }
    }

    /// Says why, and ends the connection as gently as any other, unless there are too many of these: under attack nobody
    /// is waited for.
    fn turn_away(&mut self, stream: TcpStream, peer: SocketAddr, full: Full) {
        self.context.metrics.count_fault(match full {
            Full::Network => Fault::NetworkLimit,
            Full::Peer => Fault::PeerLimit,
            Full::Total => Fault::TotalLimit,
        });
        debug!(%peer, %full, "turned away");
        if let Ok(permit) = Arc::clone(&self.last_words).try_acquire_owned() {
            self.tasks.spawn(async move {
                let _permit = permit;
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
pub(crate) const LAST_WORDS: usize = 64;
