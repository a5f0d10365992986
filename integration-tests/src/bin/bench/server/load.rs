//! Clients that cost little themselves: a few threads, each an epoll loop over many connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::bench::Samples;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// The outcome of many connections.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the begin of a connection to its end, in nanoseconds.
    pub(crate) latencies: Vec<f64>,
    /// Connections that ended otherwise than with a reply and an orderly end.
    pub(crate) broken: usize,
    /// From the first begin to the last end.
    pub(crate) took: Duration,
}

impl Outcome {
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn percentile(&self, part: f64) -> f64 {
        self.latencies.iter().copied().collect::<Samples>().percentile(part)
    }
}

/// Connects, sends `timestamp`, reads to the end and closes, `total` times, `clients` at a time.
pub(crate) fn one_shot(address: SocketAddr, clients: usize, total: usize) -> Outcome {
    let threads = clients.min(THREADS);
    let start = Instant::now();
    let parts = in_threads(threads, || one_shots(address, clients / threads, total / threads));
    let took = start.elapsed();
    let broken = parts.iter().map(|part| part.broken).sum();
    let latencies = parts.into_iter().flat_map(|part| part.latencies).collect();
    Outcome { latencies, broken, took }
}

/// Sends `line` over and over on each of `clients` connections, `window` at a time, and counts the lines that come back:
/// lines per second, for about `lasting`.
pub(crate) fn pipelined(address: SocketAddr, clients: usize, window: usize, lasting: Duration) -> f64 {
    let start = Instant::now();
    let lines: usize =
        in_threads(THREADS, || pipelines(address, clients / THREADS, window, lasting)).into_iter().sum();
    lines as f64 / start.elapsed().as_secs_f64()
}

/// Connections that have been answered one `now` and stay open.
pub(crate) fn idle(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = connect(address, b"now\n");
        let mut line = [0; 64];
        let read = stream.read(&mut line).expect("a reply");
        assert!(line[..read].ends_with(b"\n"), "a whole line");
        stream
    };
    (0..connections).map(open).collect()
}

/// Keeps `connections` connections in the middle of a request, a byte each now and then, until told to stop. Meets `standing` once
/// all of them are open.
pub(crate) fn slow_loris(address: SocketAddr, connections: usize, standing: &Barrier, stop: &AtomicBool) {
    let mut victims: Vec<_> = (0..connections).map(|_| connect(address, b"n")).collect();
    standing.wait();
    for n in (0..connections).cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if victims[n].write_all(b"n").is_err() {
            victims[n] = connect(address, b"n");
        }
        // A byte per connection and second.
        thread::sleep(Duration::from_millis(1));
    }
}

fn in_threads<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running.into_iter().map(|thread| thread.join().expect("no load panics")).collect()
    })
}

struct Shot {
    stream: TcpStream,
    start: Instant,
    replied: bool,
}

fn one_shots(address: SocketAddr, clients: usize, total: usize) -> Outcome {
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("a descriptor");
    let begin = |slot: usize| {
        let start = Instant::now();
        let stream = connect(address, b"timestamp");
        stream.set_nonblocking(true).expect("it is open");
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64)).expect("it is open");
        Shot { stream, start, replied: false }
    };
    let mut shots: Vec<_> = (0..clients).map(|slot| Some(begin(slot))).collect();
    let mut begun = clients;
    let mut outcome = Outcome::default();
    let mut events = vec![EpollEvent::empty(); clients];
    let mut buffer = [0; 512];
    while outcome.latencies.len() + outcome.broken < total {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).expect("it is open");
        for event in &events[..ready] {
            let slot = usize::try_from(event.data()).expect("it was one");
            let Some(shot) = &mut shots[slot] else { continue };
            let end = loop {
                match shot.stream.read(&mut buffer) {
                    Ok(0) => break Some(shot.replied),
                    Ok(_) => shot.replied = true,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
                    Err(_) => break Some(false),
                }
            };
            match end {
                None => continue,
                Some(true) => outcome.latencies.push(shot.start.elapsed().as_nanos() as f64),
                Some(false) => outcome.broken += 1,
            }
            shots[slot] = None;
            if begun < total {
                begun += 1;
                shots[slot] = Some(begin(slot));
            }
        }
    }
    outcome
}

fn pipelines(address: SocketAddr, clients: usize, window: usize, lasting: Duration) -> usize {
    let requests = b"now\n".repeat(window);
    let epoll = Epoll::new(EpollCreateFlags::empty()).expect("a descriptor");
    let mut streams: Vec<_> = (0..clients).map(|_| (connect(address, &requests), 0)).collect();
    for (slot, (stream, _)) in streams.iter().enumerate() {
        stream.set_nonblocking(true).expect("it is open");
        epoll.add(stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64)).expect("it is open");
    }
    let start = Instant::now();
    let mut events = vec![EpollEvent::empty(); clients];
    let mut buffer = vec![0; 64 * 1024];
    let mut lines = 0;
    while start.elapsed() < lasting {
        let ready = epoll.wait(&mut events, EpollTimeout::NONE).expect("it is open");
        for event in &events[..ready] {
            let (stream, heard) = &mut streams[usize::try_from(event.data()).expect("it was one")];
            let read = stream.read(&mut buffer).expect("a reply");
            assert!(read > 0, "the server closed the connection");
            let new = buffer[..read].iter().filter(|byte| **byte == b'\n').count();
            lines += new;
            *heard += new;
            if *heard == window {
                *heard = 0;
                stream.write_all(&requests).expect("a window fits into the socket");
            }
        }
    }
    lines
}

/// Connecting over loopback is done when the call returns, so that it need not be waited for in the loop.
fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("it is open");
    stream.write_all(first).expect("the server listens");
    stream
}

/// The machines at hand have two processors, one of which the server should have.
const THREADS: usize = 2;
