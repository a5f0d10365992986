//! The servers that are compared, each as a process of its own, so that its processor time and memory are its own: this
//! very program, started again with the name of a server in its environment.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use integration_tests::bench::usage::{processor_time_of, resident_memory_of};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use time_server::limits::Limits;
use time_server::server::{Server, listen};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufWriter};

use crate::again::{asked, end_with_input, say};

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerKind {
    /// A single-threaded epoll loop that answers a request with fixed bytes and closes as we do.
    Epoll,
    /// A server of plain tokio that sends back every line.
    LineEcho,
    /// time-server's own server.
    Ours,
    /// tokio's simplest server that answers a request with fixed bytes and closes as we do.
    Tokio,
}

/// A server in a process of its own; dropping it ends the process.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Served {
    pub(crate) fn start(kind: ServerKind) -> Self {
        let exe = std::env::current_exe().expect("a running program has a path");
        let mut child = Command::new(exe)
            .env(KIND, kind.word())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts again");
        let stdout = child.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line.trim().parse().expect("an address");
        Self { address, child }
    }

    /// The processor time of its threads so far.
    pub(crate) fn processor_time(&self) -> Duration {
        processor_time_of(self.child.id())
    }

    /// Its resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        resident_memory_of(self.child.id())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // An error of either means that it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ServerKind {
    const ALL: [Self; 4] = [Self::Epoll, Self::LineEcho, Self::Ours, Self::Tokio];

    fn word(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::LineEcho => "line-echo",
            Self::Ours => "ours",
            Self::Tokio => "tokio",
        }
    }
}

/// Serves for ever, if that is what this process was started for.
pub(crate) async fn serve_if_asked() {
    let Some(word) = asked(KIND) else { return };
    let kind = ServerKind::ALL.into_iter().find(|kind| kind.word() == word).expect("a kind of server");
    end_with_input();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    say(&listener.local_addr().expect("it is bound").to_string());
    match kind {
        ServerKind::Epoll => {
            tokio::task::block_in_place(|| epoll(&listener.into_std().expect("it is bound")));
        }
        ServerKind::LineEcho => each(listener, line_echo).await,
        ServerKind::Ours => {
            let mut limits = Limits::default();
            (limits.connections, limits.per_peer) = (100_000, 100_000);
            let never = std::future::pending();
            Server::new(limits)
                .run(vec![listener], never, Duration::ZERO)
                .await
                .map(drop)
                .expect("it serves");
        }
        ServerKind::Tokio => each(listener, answer).await,
    }
}

async fn each<F: Future<Output = std::io::Result<()>> + Send + 'static>(
    listener: tokio::net::TcpListener,
    serve: fn(tokio::net::TcpStream) -> F,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("descriptors are enough");
        // What breaks a connection is the load's business.
        tokio::spawn(async move { serve(stream).await });
    }
}

async fn answer(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 512];
    if stream.read(&mut buffer).await? > 0 {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        while stream.read(&mut buffer).await? > 0 {}
    }
    Ok(())
}

async fn line_echo(mut stream: tokio::net::TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, write) = stream.split();
    let (mut read, mut write) = (tokio::io::BufReader::new(read), BufWriter::new(write));
    let mut line = Vec::new();
    while read.read_until(b'\n', &mut line).await? > 0 {
        write.write_all(&line).await?;
        line.clear();
        if read.buffer().is_empty() {
            write.flush().await?;
        }
    }
    Ok(())
}

/// One thread, level-triggered: accept, wait for the request, answer, shut down, wait for the end, close.
fn epoll(listener: &TcpListener) {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("a descriptor");
    let readable = |data| EpollEvent::new(EpollFlags::EPOLLIN, data);
    epoll.add(listener, readable(u64::MAX)).expect("it is open");
    let mut streams: Vec<Option<(TcpStream, bool)>> = Vec::new();
    let mut free = Vec::new();
    let mut events = vec![EpollEvent::empty(); 256];
    let mut buffer = [0; 512];
    loop {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).expect("it is open");
        for event in &events[..ready] {
            if event.data() == u64::MAX {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("it is open");
                    let slot = free.pop().unwrap_or_else(|| {
                        streams.push(None);
                        streams.len() - 1
                    });
                    epoll.add(&stream, readable(slot as u64)).expect("it is open");
                    streams[slot] = Some((stream, false));
                }
                continue;
            }
            let slot = usize::try_from(event.data()).expect("it was one");
            let Some((stream, answered)) = &mut streams[slot] else { continue };
            match stream.read(&mut buffer) {
                Ok(1..) if !*answered => {
                    *answered = true;
                    let sent = stream.write_all(ANSWER).and_then(|()| stream.shutdown(Shutdown::Write));
                    if sent.is_ok() {
                        continue;
                    }
                }
                Ok(1..) => continue,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Ok(0) | Err(_) => {}
            }
            streams[slot] = None;
            free.push(slot);
        }
    }
}

/// As long as ours.
const ANSWER: &[u8; 46] = b"127.0.0.1:8897: 2026-11-22T20:52:06.123456789Z";
/// The environment variable that makes this program a server.
const KIND: &str = "BENCH_SERVE";
