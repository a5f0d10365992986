//! Connections: their first packets, their frames, and how they end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use super::core::{Attached, Core, Outbox, lock};
use super::encode::Writer;
use super::reader::Reader;
use super::words;
use crate::store::memory::engine::{ConnectionId, Greeting, Hello};

/// Accepts connections, and does by the clock what is due, until it is dropped.
pub(super) async fn accept(listener: TcpListener, core: Arc<Mutex<Core>>, tick: Duration) {
    let mut connections = JoinSet::new();
    let mut ticks = interval(tick / 2);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if !lock(&core).refuses => {
                    connections.spawn(serve(stream, peer, core.clone()));
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

async fn serve(stream: TcpStream, peer: SocketAddr, core: Arc<Mutex<Core>>) {
    // A connection without it is only slower.
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let mut buffer = Vec::new();
    let Ok(Some(first)) = timeout(HANDSHAKE, frame(&mut reader, &mut buffer, true)).await else { return };
    let hello = match first {
        First::Word(word) => {
            let answer = words::answer(word, &lock(&core));
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
            let wait = lock(&core).delay + written_in(packet.len());
            if !wait.is_zero() {
                sleep(wait).await;
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
    core.connections.remove(&connection);
    core.engine.disconnect(connection);
}

/// Answers a client's first packet; the connection and the session, if there is one now.
fn greet(
    core: &Mutex<Core>,
    outbox: &Arc<Outbox>,
    peer: SocketAddr,
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
    let greeting = core.engine.connect(connection, member, peer.ip(), hello, Instant::now());
    core.dispatch();
    let mut writer = Writer::new();
    let greeted = match greeting {
        Greeting::Accepted { session, timeout, password } => {
            let granted = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            writer.int(0).int(granted).long(session).buffer(Some(&password));
            core.connections.insert(connection, Attached { outbox: outbox.clone(), peer, session });
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

/// How long a packet of so many bytes takes to be written down, by whole milliseconds: small ones take none. A client may rely
/// on it that a large request has not been answered by the time it has done the next thing.
fn written_in(bytes: usize) -> Duration {
    Duration::from_millis(u64::try_from(bytes / DISK).unwrap_or_default())
}

/// Sends what there is to send; `false`: the client is gone.
async fn write_all(writer: &mut OwnedWriteHalf, outbox: &Outbox) -> bool {
    let written = writer.write_all(&outbox.take()).await;
    outbox.drained.notify_one();
    written.is_ok()
}

/// `jute.maxbuffer`.
const MOST_REQUEST: usize = 0xf_ffff;
/// What a disk writes in a millisecond: 50 MB a second.
const DISK: usize = 50_000;
/// How long a connection may say nothing at first.
const HANDSHAKE: Duration = Duration::from_secs(10);
