//! What peers cost the system beside this process: the memory of the server's sockets, and its price.

use std::process::Command;
use std::time::{Duration, Instant};

use time_server::metrics::Fault;
use time_server::server::listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::world::{Running, eventually};

/// The memory that the system holds for the server's own sockets of this port, in bytes, as `ss -tmn` shows it: what is
/// allocated for receiving and sending, and what waits to be sent.
fn socket_memory(port: u16) -> usize {
    let shown =
        Command::new("ss").args(["-tmnH", &format!("sport = :{port}")]).output().expect("ss, of iproute2");
    let text = String::from_utf8(shown.stdout).unwrap();
    let of = |field: &str, skmem: &str| -> usize {
        let value = skmem.split(',').find_map(|part| {
            part.strip_prefix(field).filter(|rest| rest.chars().all(|digit| digit.is_ascii_digit()))
        });
        value.map_or(0, |value| value.parse().unwrap())
    };
    let skmems = text.split("skmem:(").skip(1).filter_map(|rest| rest.split(')').next());
    skmems.map(|skmem| of("r", skmem) + of("w", skmem)).sum()
}

/// The peers of the attack: 64, or as many as `SLOW_READERS` says (`make ci-deep`: all places of one address).
fn peers() -> usize {
    std::env::var("SLOW_READERS").map_or(64, |peers| peers.parse().expect("SLOW_READERS is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_reads_cost_a_bounded_memory_that_ends_with_the_connection() {
    let peers = peers();
    let files = time_server::open_files::fit_connections(2 * peers);
    assert!(files >= 2 * peers, "the limit of open files allows {files} of {} sockets", 2 * peers);
    let server = Running::start(|limits| {
        limits.slow_reader = Duration::from_secs(5);
        assert!(limits.per_peer >= peers, "one address may have {} places", limits.per_peer);
    });
    let requests: &[u8] = [b"now\n".repeat(60_000), b"junk\n".to_vec()].concat().leak();
    let attack = async {
        let mut attackers = Vec::new();
        for _ in 0..peers {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            // What the server does not take stays with the attacker, whose memory is not measured.
            socket.set_send_buffer_size(4096).unwrap();
            let mut stream = socket.connect(server.address).await.unwrap();
            attackers.push(tokio::spawn(async move {
                // It ends with an error when the server gives the connection up.
                let _ = stream.write_all(requests).await;
                stream
            }));
        }
        attackers
    };
    let port = server.address.port();
    let (began, mut most) = (Instant::now(), 0);
    let watch = async {
        while server.metrics.faults(Fault::SlowReader) < peers as u64 {
            most = most.max(socket_memory(port));
            sleep(Duration::from_millis(50)).await;
        }
    };
    let limit = Duration::from_secs(60);
    let (_attackers, given_up) = tokio::join!(attack, timeout(limit, watch));
    given_up.expect("every slow reader is given up");
    assert_eq!(server.metrics.faults(Fault::SlowReader), peers as u64, "each is counted once");
    println!("{peers} peers: {most} bytes, {} each; all given up after {:?}", most / peers, began.elapsed());
    assert!(most > 0, "ss shows the sockets");
    // 300 MiB for 4,096 of them.
    assert!(most / peers <= 300 * 1024 * 1024 / 4096, "{most} bytes for {peers} connections");
    eventually("the system holds nothing any more", || socket_memory(port) == 0).await;
    eventually("every place is free", || server.metrics.open() == 0).await;
}

#[tokio::test]
async fn a_peer_that_closes_its_side_and_reads_nothing_is_given_up_too() {
    let server = Running::start(|limits| limits.slow_reader = Duration::from_millis(200));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    // The replies fit into what the system takes, but not into what the peer takes.
    stream.write_all(&b"now\n".repeat(900)).await.unwrap();
    stream.shutdown().await.unwrap();
    eventually("it is given up", || server.metrics.faults(Fault::SlowReader) == 1).await;
    eventually("the system holds nothing any more", || socket_memory(server.address.port()) == 0).await;
}

/// Asks `now` over and over on each of some connections, `window` at a time; the replies of a second, over all of them.
async fn rate(server: &Running, window: usize) -> f64 {
    const CONNECTIONS: usize = 8;
    const ROUND: Duration = Duration::from_millis(150);
    let began = Instant::now();
    let mut askers = Vec::new();
    for _ in 0..CONNECTIONS {
        let address = server.address;
        askers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let requests = b"now\n".repeat(window);
            let mut replies = vec![0; window * "2026-11-22T20:52:06.123456789Z\n".len()];
            let (mut reader, mut writer) = stream.split();
            let mut answered = 0;
            while began.elapsed() < ROUND {
                let (sent, read) = tokio::join!(writer.write_all(&requests), reader.read_exact(&mut replies));
                sent.unwrap();
                read.unwrap();
                answered += window;
            }
            answered
        }));
    }
    let mut answered = 0;
    for asker in askers {
        answered += asker.await.unwrap();
    }
    answered as f64 / began.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_as_fast_as_over_the_buffers_of_the_system() {
    let bounded = Running::serve(|_| {}, listen(([127, 0, 0, 1], 0).into()).unwrap());
    let unbounded = Running::serve(|_| {}, TcpListener::bind("127.0.0.1:0").await.unwrap());
    for window in [64, 1_024] {
        // Rounds take turns and each is compared with its neighbour: a busy machine slows both, and a lucky round counts once.
        let mut ratios = Vec::new();
        let ratio = loop {
            let (theirs, ours) = (rate(&unbounded, window).await, rate(&bounded, window).await);
            ratios.push(ours / theirs);
            ratios.sort_unstable_by(f64::total_cmp);
            let median = ratios[ratios.len() / 2];
            if ratios.len() >= 5 && median >= 0.95 {
                break median;
            }
            assert!(
                ratios.len() < 40,
                "{window} at a time: {median:.2} of the rate without bounds, of {ratios:.2?}"
            );
        };
        println!("{window} at a time: {ratio:.2} of the rate without bounds");
    }
}
