//! A server for tests that speaks ZooKeeper's protocol: one process, in memory, on this machine only.

mod decode;
mod encode;
mod reader;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::encode::Writer;
use self::reader::Reader;
use crate::store::memory::engine::record::Request;
use crate::store::memory::engine::{ConnectionId, Effect, Engine, Greeting, Hello, Settings};

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

/// How a [`Server`] behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// The unit of session timeouts, which are 2 to 20 of it. Defaults to 2 seconds.
    pub tick: Duration,
    /// How long a container is left after it has lost its last child. Defaults to 60 seconds.
    pub container_interval: Duration,
    /// The user who may do everything, as `user:hash`; ZooKeeper's `superDigest`. Defaults to none.
    pub superuser: Option<String>,
    /// Who can connect. Defaults to this machine.
    pub reach: Reach,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(2),
            container_interval: Duration::from_secs(60),
            superuser: None,
            reach: Reach::ThisMachine,
        }
    }
}

/// Who can connect to a [`Server`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// An address that other machines reach is taken as well: a client there may write anything.
    OtherMachines,
    /// An address that is not of loopback is refused.
    ThisMachine,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The directions in which nothing comes through. None by default.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Frozen {
    /// Requests wait, and the server hears of no client: sessions expire.
    pub to_server: bool,
    /// Replies and events wait.
    pub to_clients: bool,
}

/// What all connections share.
struct Core {
    engine: Engine,
    member: usize,
    outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    last_connection: ConnectionId,
    refuses: bool,
    lose: bool,
    delay: Duration,
    frozen: watch::Sender<Frozen>,
}

/// What one connection has yet to be sent.
#[derive(Default)]
struct Outbox {
    bytes: Mutex<Vec<u8>>,
    filled: Notify,
    drained: Notify,
    /// Nothing more is put in: it is sent, and the connection is closed.
    finished: CancellationToken,
    /// The connection is closed at once.
    cut: CancellationToken,
}

impl Core {
    fn new(options: ServerOptions) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(wall.as_secs()).unwrap_or_default();
        let wall = i64::try_from(wall.as_millis()).unwrap_or_default();
        let mut engine = Engine::new(Settings {
            began: Instant::now(),
            wall,
            // Later than all of an earlier life, as an election's epoch is: a client that has seen that life is not stranded.
            zxid: seconds << 32,
            session: 1 << 56 | (wall & 0xff_ffff_ffff) << 16,
            tick: options.tick,
            container_check: options.container_interval,
            superuser: options.superuser,
        });
        let member = engine.add_member();
        Self {
            engine,
            member,
            outboxes: HashMap::new(),
            last_connection: 0,
            refuses: false,
            lose: false,
            delay: Duration::ZERO,
            frozen: watch::Sender::new(Frozen::default()),
        }
    }

    fn cut(&mut self) {
        for (connection, outbox) in std::mem::take(&mut self.outboxes) {
            outbox.cut.cancel();
            self.engine.disconnect(connection);
        }
    }

    /// Sends on their way what the engine has caused.
    fn dispatch(&mut self) {
        for effect in self.engine.effects() {
            match effect {
                Effect::Close(connection) => {
                    if let Some(outbox) = self.outboxes.remove(&connection) {
                        outbox.finished.cancel();
                    }
                }
                Effect::Event(connection, event) => {
                    if let Some(outbox) = self.outboxes.get(&connection) {
                        outbox.put(&encode::event(&event));
                    }
                }
            }
        }
    }

    /// Answers a packet. `false`: the connection is over.
    fn packet(&mut self, connection: ConnectionId, session: i64, packet: &[u8]) -> bool {
        let now = Instant::now();
        let Some((xid, request)) = decode::request(packet) else { return false };
        let Some(outbox) = self.outboxes.get(&connection).cloned() else { return false };
        self.engine.touch(session, now);
        let reply = self.engine.request(connection, &request, now);
        self.dispatch();
        if request.writes() && request != Request::CloseSession && std::mem::take(&mut self.lose) {
            outbox.cut.cancel();
            return false;
        }
        outbox.put(&encode::reply(xid, &reply));
        !reply.closes
    }
}

impl Outbox {
    fn put(&self, frame: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > MOST_EVENTS {
            // A client that does not read what it has asked to be told.
            self.cut.cancel();
            return;
        }
        bytes.extend_from_slice(frame);
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_full(&self) -> bool {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).len() > MOST_REPLIES
    }
}

/// The replies to these packets, of one connection of a new server: what the fuzz target asks for.
#[cfg(feature = "testing")]
pub(super) fn replies<'a>(packets: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut core = Core::new(ServerOptions::default());
    let hello = Hello { last_zxid: 0, timeout: Duration::from_secs(10), session: 0, password: &[] };
    core.last_connection = 1;
    let member = core.member;
    let greeting = core.engine.connect(1, member, [127, 0, 0, 1].into(), hello, Instant::now());
    let Greeting::Accepted { session, .. } = greeting else { return Vec::new() };
    let outbox = Arc::new(Outbox::default());
    core.outboxes.insert(1, outbox.clone());
    let mut replies = Vec::new();
    for packet in packets {
        let goes_on = core.packet(1, session, packet);
        replies.push(outbox.take());
        if !goes_on {
            break;
        }
    }
    replies
}

async fn accept(listener: TcpListener, core: Arc<Mutex<Core>>, tick: Duration) {
    let mut connections = JoinSet::new();
    let mut ticks = interval(tick / 2);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if !lock(&core).refuses => {
                    connections.spawn(serve(stream, peer.ip(), core.clone()));
                }
                Ok(_) => {}
                // Too many open files, say.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            _ = ticks.tick() => {
                let mut core = lock(&core);
                let now = Instant::now();
                core.engine.expire_due(now);
                core.engine.inspect(now);
                core.dispatch();
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, core: Arc<Mutex<Core>>) {
    // A connection without it is only slower.
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = Vec::new();
    let Ok(Some(first)) = timeout(HANDSHAKE, frame(&mut reader, &mut buffer, true)).await else { return };
    let hello = match first {
        First::Word(word) => {
            let answer = {
                let core = lock(&core);
                words::answer(word, core.engine.census(), core.outboxes.len())
            };
            if let Some(answer) = answer {
                // The connection ends either way.
                let _ = writer.write_all(answer.as_bytes()).await;
                let _ = writer.shutdown().await;
            }
            return;
        }
        First::Frame(packet) => packet,
    };
    let outbox = Arc::new(Outbox::default());
    let Some((connection, session)) = greet(&core, &outbox, peer, &hello) else {
        write_all(&mut writer, &outbox).await;
        return;
    };
    let mut to_clients = lock(&core).frozen.subscribe();
    let mut to_server = to_clients.clone();
    let writing = async {
        loop {
            tokio::select! {
                () = outbox.filled.notified() => {}
                () = outbox.finished.cancelled() => break,
            }
            // It fails only once there is no server any more.
            let thawed = to_clients.wait_for(|frozen| !frozen.to_clients).await.is_ok();
            if !thawed || !write_all(&mut writer, &outbox).await {
                return;
            }
        }
        write_all(&mut writer, &outbox).await;
    };
    let reading = async {
        while let Some(First::Frame(packet)) = frame(&mut reader, &mut buffer, false).await {
            let delay = lock(&core).delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            if to_server.wait_for(|frozen| !frozen.to_server).await.is_err() {
                break;
            }
            if !lock(&core).packet(connection, session, &packet) {
                break;
            }
            while outbox.is_full() {
                outbox.drained.notified().await;
            }
        }
        outbox.finished.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = writing => {}
        () = reading => {}
        () = outbox.cut.cancelled() => {}
    }
    let mut core = lock(&core);
    core.outboxes.remove(&connection);
    core.engine.disconnect(connection);
}

/// Answers a client's first packet; the connection and the session, if there is one now.
fn greet(
    core: &Mutex<Core>,
    outbox: &Arc<Outbox>,
    peer: IpAddr,
    packet: &[u8],
) -> Option<(ConnectionId, i64)> {
    let mut reader = Reader(packet);
    let (_, last_zxid, asked, session) = (reader.int()?, reader.long()?, reader.int()?, reader.long()?);
    let password = reader.buffer()?.unwrap_or_default();
    let knows_read_only = reader.boolean().is_some();
    let timeout = Duration::from_millis(u64::try_from(asked).unwrap_or_default());
    let mut core = lock(core);
    core.last_connection += 1;
    let (connection, member) = (core.last_connection, core.member);
    let hello = Hello { last_zxid, timeout, session, password: &password };
    let greeting = core.engine.connect(connection, member, peer, hello, Instant::now());
    core.dispatch();
    let mut writer = Writer::new();
    let greeted = match greeting {
        Greeting::Accepted { session, timeout, password } => {
            let granted = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            writer.int(0).int(granted).long(session).buffer(Some(&password));
            core.outboxes.insert(connection, outbox.clone());
            Some((connection, session))
        }
        Greeting::Ahead => return None,
        Greeting::Expired => {
            writer.int(0).int(0).long(0).buffer(Some(&[0; 16]));
            None
        }
    };
    if knows_read_only {
        writer.boolean(false);
    }
    outbox.put(&writer.finish());
    greeted
}

/// What a client sends first.
enum First {
    Frame(Vec<u8>),
    Word([u8; 4]),
}

/// The next frame; `None`: the connection is over, or the frame has a length that no server takes.
async fn frame(reader: &mut OwnedReadHalf, buffer: &mut Vec<u8>, first: bool) -> Option<First> {
    loop {
        if let Some((head, rest)) = buffer.split_first_chunk::<4>() {
            if first && head.iter().all(u8::is_ascii_lowercase) {
                return Some(First::Word(*head));
            }
            let length =
                usize::try_from(i32::from_be_bytes(*head)).ok().filter(|length| *length <= MOST_REQUEST)?;
            if rest.len() >= length {
                let packet = rest[..length].to_vec();
                buffer.drain(..4 + length);
                return Some(First::Frame(packet));
            }
        }
        if reader.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Sends what there is to send; `false`: the client is gone.
async fn write_all(writer: &mut OwnedWriteHalf, outbox: &Outbox) -> bool {
    let written = writer.write_all(&outbox.take()).await;
    outbox.drained.notify_one();
    written.is_ok()
}

fn lock(core: &Mutex<Core>) -> MutexGuard<'_, Core> {
    core.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `jute.maxbuffer`.
const MOST_REQUEST: usize = 0xf_ffff;
/// No further request is read while so much is yet to be sent.
const MOST_REPLIES: usize = 4 << 20;
/// A connection is cut that does not take its events.
const MOST_EVENTS: usize = 64 << 20;
/// How long a connection may say nothing at first.
const HANDSHAKE: Duration = Duration::from_secs(10);
