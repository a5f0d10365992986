//! One proxied connection: two pumps, and the ways in which it ends.

use std::net::Shutdown;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{Either, FusedFuture, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::direction::Direction;
use super::frames;
use super::route::{Framing, Route};
use super::rules::{Connects, Cut, Rules};
use super::trip::MessageFate;

/// A connection in the list of those that a cut must end; it leaves the list however it ends.
pub(super) struct ProxiedConnection {
    id: u64,
    /// How often everything had been cut before it came.
    born: u64,
    route: Arc<Route>,
}

impl ProxiedConnection {
    pub(super) fn enter(route: Arc<Route>) -> Self {
        let born = route.rules.borrow().cuts;
        Self { id: route.trips.enter(born), born, route }
    }

    /// Carries the connection to its end.
    pub(super) async fn carry(self, client: TcpStream) {
        let (end, sockets) = connect_and_pump(client, &self).await;
        if end == Cut::Rst {
            sockets.iter().for_each(reset_on_close);
            drop(sockets);
            return;
        }
        // FIN is out when `shutdown` returns. Closing a socket with unread input would turn it into a RST, so what the
        // peers still say is read, for a while, after the link has left the list.
        let mut farewells = JoinSet::new();
        for mut socket in sockets {
            // A failure means that the peer has closed already.
            let _ = socket.shutdown().await;
            farewells.spawn(async move {
                let mut rest = [0; 4096];
                let drain = async { while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
                // Whether the peer closed or the time is over: the socket is dropped now.
                let _ = timeout(FAREWELL, drain).await;
            });
        }
        drop(self);
        farewells.join_all().await;
    }
}

impl Drop for ProxiedConnection {
    fn drop(&mut self) {
        self.route.trips.leave(self.id);
    }
}

/// Returns how the link is to end, with the sockets that are still to be closed.
async fn connect_and_pump(mut client: TcpStream, link: &ProxiedConnection) -> (Cut, Vec<TcpStream>) {
    let route = &*link.route;
    let mut rules = route.rules.subscribe();
    let mut cuts = rules.clone();
    let mut cut = pin!(async move {
        match cuts.wait_for(|rules| rules.cuts > link.born).await {
            Ok(rules) => rules.how,
            // The proxy is gone, and this task is about to be dropped.
            Err(_) => Cut::Rst,
        }
    });

    let connected = async {
        // It fails only when the proxy is gone.
        let _ = rules.wait_for(|rules| rules.connects == Connects::ToServer).await;
        TcpStream::connect(route.server).await
    };
    let mut server = tokio::select! {
        how = &mut cut => {
            let end = if matches!(how, Cut::Client(_)) { Cut::Fin } else { how };
            return (end, vec![client]);
        }
        connected = connected => match connected {
            Ok(server) => server,
            Err(_) => return (Cut::Rst, vec![client]),
        },
    };
    for socket in [&client, &server] {
        // The proxy must not add Nagle's delays to what it measures. A failure shows at the first read anyway.
        let _ = socket.set_nodelay(true);
    }

    // The pumps borrow the sockets; this one is the client's as well.
    let Ok(ending) = socket2::SockRef::from(&client).try_clone() else {
        return (Cut::Rst, vec![client, server]);
    };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let pump = |direction| Pump { direction, route, link: link.id, rules: rules.clone() };
        let mut to_server = pin!(pump(Direction::ToServer).run(from_client, to_server).fuse());
        let to_client = pump(Direction::ToClient).run(from_server, to_client);
        let how = tokio::select! {
            how = &mut cut => how,
            ended = async { tokio::try_join!(&mut to_server, to_client) } => ended.map_or(Cut::Rst, |_| Cut::Fin),
        };
        if let Cut::Client(hold) = how {
            // An error means that the client has gone already.
            let _ = ending.shutdown(Shutdown::Both);
            route.trips.leave(link.id);
            sleep(hold).await;
            if !to_server.is_terminated() {
                // Whether or not the server still wants it.
                let _ = to_server.await;
            }
            Cut::Rst
        } else {
            how
        }
    };
    (end, vec![client, server])
}

/// The link was reset by a peer, or is to be by us.
struct Reset;

/// Some bytes and when they are due.
type Piece = (Instant, Bytes);

struct Pump<'a> {
    direction: Direction,
    route: &'a Route,
    link: u64,
    rules: watch::Receiver<Rules>,
}

impl Pump<'_> {
    /// Returns when the source has ended in an orderly way and the end was passed on.
    async fn run(mut self, source: ReadHalf<'_>, mut sink: WriteHalf<'_>) -> Result<(), Reset> {
        let (queue, due) = mpsc::channel(QUEUE);
        let ended = {
            let reading = pin!(read(source, self.route.framing, self.rules.clone(), queue));
            let writing = pin!(self.write(due, &mut sink));
            match select(reading, writing).await {
                // What was read before the source ended is still on its way.
                Either::Left((ended, writing)) => writing.await.and(ended),
                Either::Right((Ok(()), reading)) => reading.await,
                Either::Right((Err(reset), _)) => return Err(reset),
            }
        };
        self.thawed(self.direction).await;
        ended?;
        sink.shutdown().await.map_err(|_| Reset)
    }

    /// Delivers until the queue is empty and its other end is gone.
    async fn write(&mut self, mut due: mpsc::Receiver<Piece>, sink: &mut WriteHalf<'_>) -> Result<(), Reset> {
        let mut delivered = 0;
        while let Some((at, bytes)) = due.recv().await {
            sleep_until(at).await;
            // As in `thawed`.
            let _ = self.rules.wait_for(|rules| rules.passes(self.direction, delivered)).await;
            delivered += 1;
            let bytes = self.rules.borrow().delivered(self.direction, bytes);
            let fate = self.route.trips.judge(self.link, self.direction, &bytes);
            let pass = match fate {
                MessageFate::Pass => bytes.len(),
                MessageFate::Reset { pass } => pass,
            };
            if sink.write_all(&bytes[..pass]).await.is_err() {
                // The sink's reset travels the other way, which may be frozen.
                self.thawed(self.direction.opposite()).await;
                return Err(Reset);
            }
            self.route.carried[self.direction as usize].fetch_add(pass as u64, Ordering::Relaxed);
            if fate != MessageFate::Pass {
                return Err(Reset);
            }
        }
        Ok(())
    }

    async fn thawed(&mut self, direction: Direction) {
        // It fails only when the proxy is gone, and this task with it.
        let _ = self.rules.wait_for(|rules| !rules.is_frozen(direction)).await;
    }
}

/// Reads as long as there is room, so that a delay costs no throughput; stamps each piece with its time of delivery.
async fn read(
    mut source: ReadHalf<'_>,
    framing: Framing,
    rules: watch::Receiver<Rules>,
    queue: mpsc::Sender<Piece>,
) -> Result<(), Reset> {
    let mut buffer = BytesMut::with_capacity(ROOM);
    loop {
        buffer.reserve(ROOM);
        let ended = match source.read_buf(&mut buffer).await {
            Ok(read) => (read == 0).then_some(Ok(())),
            Err(_) => Some(Err(Reset)),
        };
        let at = Instant::now() + rules.borrow().delay;
        let whole = matches!(framing, Framing::Bytes) || ended.is_some();
        while let Some(piece) = if whole { rest(&mut buffer) } else { frames::next(&mut buffer) } {
            if queue.send((at, piece)).await.is_err() {
                // The writer has ended the link.
                return Err(Reset);
            }
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

fn rest(buffer: &mut BytesMut) -> Option<Bytes> {
    (!buffer.is_empty()).then(|| buffer.split().freeze())
}

fn reset_on_close(socket: &TcpStream) {
    // A failure means that the socket is dead already.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// How long the peers may take to close after a FIN.
const FAREWELL: Duration = Duration::from_secs(5);
const ROOM: usize = 64 * 1024;
/// Pieces under way in one direction.
const QUEUE: usize = 256;
