//! A server for tests that speaks ZooKeeper's protocol: one process, in memory, on this machine only.

mod connection;
mod core;
mod decode;
mod encode;
mod options;
mod reader;
#[cfg(feature = "testing")]
mod replies;
mod words;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::connection::accept;
use self::core::{Core, lock};
pub use self::options::{Frozen, Reach, ServerOptions};
#[cfg(feature = "testing")]
pub(super) use self::replies::replies;

/// A server for tests and a first look that speaks ZooKeeper's protocol, to any client of any language: one process, in
/// memory, nothing is kept. It is no ZooKeeper: no replicas, no disk, no TLS, no quotas; an operation that it does not know
/// is refused. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    core: Arc<Mutex<Core>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    /// Starts a server of an empty ZooKeeper on a free port of 127.0.0.1, with a tick of 2 seconds: sessions get timeouts of 4
    /// to 40 seconds.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::with(SocketAddr::from(([127, 0, 0, 1], 0)), ServerOptions::default()).await
    }

    /// Starts a server at this address of this machine, with this tick: sessions get timeouts of 2 to 20 ticks.
    ///
    /// # Errors
    ///
    /// As [`with`](Self::with).
    pub async fn listen(address: SocketAddr, tick: Duration) -> io::Result<Self> {
        Self::with(address, ServerOptions { tick, ..ServerOptions::default() }).await
    }

    /// Starts a server at this address.
    ///
    /// # Errors
    ///
    /// When an interval is shorter than a millisecond, the address is one that the [reach](ServerOptions::reach) forbids, or it
    /// cannot be had.
    pub async fn with(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let shortest = Duration::from_millis(1);
        if options.tick < shortest || options.container_interval < shortest {
            return refused("tick, container_interval: use a millisecond or more".to_owned());
        }
        if options.reach == Reach::ThisMachine && !address.ip().is_loopback() {
            return refused(format!("{address} is not a loopback address: see `ServerOptions::reach`"));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let tick = options.tick;
        let core = Arc::new(Mutex::new(Core::new(options)));
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, core.clone(), tick)));
        Ok(Self { address, core, _accepting: accepting })
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection. Clients may connect again at once.
    pub fn cut(&self) {
        lock(&self.core).cut();
    }

    /// Refuses new connections, or takes them again: each is closed before a byte of it is read.
    pub fn refuse(&self, refuse: bool) {
        lock(&self.core).refuses = refuse;
    }

    /// Executes every request this much later from now on. Zero at first.
    pub fn delay(&self, delay: Duration) {
        lock(&self.core).delay = delay;
    }

    /// Executes the next write, and cuts its connection instead of answering it.
    pub fn lose_next_reply(&self) {
        lock(&self.core).lose = true;
    }

    /// Holds back what goes in these directions, without a word to either end. What was held back arrives when the direction
    /// is named no longer.
    pub fn freeze(&self, frozen: Frozen) {
        lock(&self.core).frozen.send_replace(frozen);
    }

    /// Cuts every connection, and gives every session its whole timeout again, as a restart does that loses nothing.
    pub fn restart(&self) {
        let mut core = lock(&self.core);
        core.cut();
        core.engine.renew(Instant::now());
    }

    /// Expires a session; `false`: it is not known. Its ephemeral nodes are deleted, its connection is closed.
    pub fn expire(&self, session: i64) -> bool {
        let mut core = lock(&self.core);
        let known = core.engine.timeout(session).is_some();
        core.engine.expire(session, Instant::now());
        core.dispatch();
        known
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}
