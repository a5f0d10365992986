//! A TCP proxy in the test's process that breaks connections on command, without any privilege.
//!
//! | to provoke | call |
//! |---|---|
//! | an orderly end / a reset of every connection | [`Proxy::cut_fin`], [`Proxy::cut_rst`] |
//! | a link that is dead in one or both directions | [`Proxy::freeze`], undone by [`Proxy::thaw`] |
//! | a host that swallows packets | [`Proxy::black_hole`], undone by [`Proxy::thaw`] |
//! | a port without a listener | [`Proxy::refuse`], undone by [`Proxy::accept`] |
//! | a slow link | [`Proxy::delay`] |
//! | anything else that [`Rules`] can hold back | [`Proxy::impose`], undone by [`Proxy::thaw`] |
//! | a connection that breaks mid-message | [`Proxy::cut_after`] |
//! | a request that was executed and whose reply is lost | [`Proxy::lose_reply`] |
//! | a request that is executed after its connection was cut | [`Proxy::cut_client`] |
//! | a server that is too old for a request | [`Proxy::lacks`] |
//!
//! It works on streams, not on packets: what a frozen direction holds is delivered after the thaw, nothing is lost.
//! It runs on the runtime of its test: a test that blocks its thread blocks its proxies.

mod direction;
mod frames;
mod link;
mod route;
mod rules;
mod trip;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::eventually::eventually;
pub use direction::Direction;
use link::ProxiedConnection;
use route::{Framing, Route};
use rules::Cut;
pub use rules::Rules;
pub use trip::{Request, Trip};
use trip::{TripWire, Trips};

/// A listener on a loopback port of its own that forwards to one server. Dropping it ends everything it carries.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    route: Arc<Route>,
    listener: Mutex<ListenerState>,
    _stop: DropGuard,
}

impl Proxy {
    /// Forwards bytes to `server` as they come.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub async fn to(server: SocketAddr) -> Self {
        Self::start(server, Framing::Bytes).await
    }

    /// Forwards whole messages of ZooKeeper's protocol (in plain text) to `server`; needed for what concerns single messages.
    ///
    /// # Panics
    ///
    /// When no port can be bound.
    pub async fn zookeeper(server: SocketAddr) -> Self {
        Self::start(server, Framing::ZooKeeper).await
    }

    async fn start(server: SocketAddr, framing: Framing) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let stop = CancellationToken::new();
        let route = Arc::new(Route {
            server,
            framing,
            rules: watch::Sender::new(Rules::default()),
            trips: Trips::default(),
            stop: stop.clone(),
            carried: [AtomicU64::new(0), AtomicU64::new(0)],
            accepted: AtomicU64::new(0),
        });
        let listener =
            Mutex::new(ListenerState::Open { _accepting: accepting(listener, Arc::clone(&route)) });
        Self { address, route, listener, _stop: stop.drop_guard() }
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every present connection towards both ends by an orderly FIN, and returns once that is done.
    pub async fn cut_fin(&self) {
        self.cut(Cut::Fin).await;
    }

    /// Ends every present connection towards both ends by a RST, and returns once that is done.
    pub async fn cut_rst(&self) {
        self.cut(Cut::Rst).await;
    }

    /// Ends every present connection towards the client by a FIN, and returns once that is done. The requests that the client
    /// had sent and [`Proxy::freeze`] held back go on to the server after the thaw, not before `hold`; no reply comes back.
    pub async fn cut_client(&self, hold: Duration) {
        self.cut(Cut::Client(hold)).await;
    }

    async fn cut(&self, how: Cut) {
        self.route.rules.send_modify(|rules| {
            rules.cuts += 1;
            rules.how = how;
        });
        // A connection that was accepted since the cut was decided belongs to the time after it.
        let cuts = self.route.rules.borrow().cuts;
        eventually(Duration::from_secs(5), "the end of every cut connection", async || {
            self.route.trips.older_than(cuts) == 0
        })
        .await;
    }

    /// Changes the rules for present and future connections: `link.impose(Rules::answer_handshakes_only)`.
    pub fn impose(&self, change: impl FnOnce(&mut Rules)) {
        self.route.rules.send_modify(change);
    }

    /// Holds back everything that flows in `direction`, of present and future connections. Connecting still works.
    pub fn freeze(&self, direction: Direction) {
        self.impose(|rules| rules.freeze(direction));
    }

    /// Holds back everything, and does not even reach the server for new connections, which the kernel still accepts.
    pub fn black_hole(&self) {
        self.impose(Rules::black_hole);
    }

    /// Ends [`Proxy::freeze`], [`Proxy::black_hole`] and [`Rules::answer_handshakes_only`]: what was held back is delivered.
    pub fn thaw(&self) {
        self.impose(Rules::thaw);
    }

    /// Delivers everything that is read from now on this much later, in each direction: latency, not throughput.
    pub fn delay(&self, one_way: Duration) {
        self.impose(|rules| rules.delay = one_way);
    }

    /// Closes the listener: connecting is refused. Present connections go on; [`Proxy::cut_rst`] ends them.
    ///
    /// # Panics
    ///
    /// When the port cannot be kept.
    pub async fn refuse(&self) {
        let mut state = self.listener.lock().await;
        if matches!(*state, ListenerState::Shut { .. }) {
            return;
        }
        // Bound without listening: the kernel refuses, and no other process can take the port meanwhile. The listener is
        // closed when its task is dropped, which the runtime may do a moment after we ask.
        *state = ListenerState::Moving;
        let reserved =
            eventually(Duration::from_secs(5), "the listener's end", async || bind(self.address)).await;
        *state = ListenerState::Shut { reserved };
    }

    /// Listens on the same port again.
    ///
    /// # Panics
    ///
    /// When the kernel does not let it.
    pub async fn accept(&self) {
        let mut state = self.listener.lock().await;
        match std::mem::replace(&mut *state, ListenerState::Moving) {
            ListenerState::Shut { reserved } => {
                let listener = reserved.listen(1024).expect("a socket bound to the port can listen on it");
                *state = ListenerState::Open { _accepting: accepting(listener, Arc::clone(&self.route)) };
            }
            open => *state = open,
        }
    }

    /// Lets exactly `bytes` more pass in `direction`, counted over all connections, then resets the connection that
    /// would carry the next one. With 0 the next message is lost whole, together with its connection.
    pub fn cut_after(&self, direction: Direction, bytes: u64) -> Trip {
        self.route.trips.set(TripWire::Bytes { direction, left: bytes })
    }

    /// Lets the next `request` of any connection reach the server, swallows the server's reply to it, and resets that
    /// connection: the request was executed, and the client cannot know.
    ///
    /// # Panics
    ///
    /// When this is not a [`Proxy::zookeeper`].
    pub fn lose_reply(&self, request: Request) -> Trip {
        self.must_know_messages();
        self.route.trips.set(TripWire::Reply { request, awaited: None })
    }

    /// From now on no `request` of this kind reaches the server as such: its number becomes one that no server knows, and the
    /// server's own answer to that is what comes back.
    ///
    /// # Panics
    ///
    /// When this is not a [`Proxy::zookeeper`].
    pub fn lacks(&self, request: Request) {
        self.must_know_messages();
        self.impose(|rules| rules.lacks(request));
    }

    fn must_know_messages(&self) {
        assert_eq!(self.route.framing, Framing::ZooKeeper, "only Proxy::zookeeper() understands requests");
    }

    /// How many bytes were delivered in `direction` so far.
    pub fn carried(&self, direction: Direction) -> u64 {
        self.route.carried[direction as usize].load(Ordering::Relaxed)
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.route.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are carried now.
    pub fn open(&self) -> usize {
        self.route.trips.older_than(u64::MAX)
    }
}

#[derive(Debug)]
enum ListenerState {
    Moving,
    Open { _accepting: AbortOnDropHandle<()> },
    Shut { reserved: TcpSocket },
}

fn accepting(listener: TcpListener, route: Arc<Route>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let Ok((client, _)) = listener.accept().await else {
                // Out of descriptors, most likely: trying at once would fail at once.
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            route.accepted.fetch_add(1, Ordering::Relaxed);
            let stopped = route.stop.clone().cancelled_owned();
            // Here, not in its task, the connection becomes one that a cut concerns.
            let link = ProxiedConnection::enter(Arc::clone(&route)).carry(client);
            tokio::spawn(async move {
                tokio::select! {
                    () = stopped => {}
                    () = link => {}
                }
            });
        }
    }))
}

/// `host:port` of every proxy, separated by commas.
pub fn hosts(proxies: &[Proxy]) -> String {
    proxies.iter().map(|proxy| proxy.address.to_string()).collect::<Vec<_>>().join(",")
}

fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // The connections accepted before still hold the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
