//! The server over real sockets, without any ZooKeeper: the protocol, the limits and the end.

#![expect(clippy::unwrap_used, reason = "a failed step fails its test")]

mod kernel_memory;
mod world;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use time_server::clock::{Clock, SystemClock};
use time_server::metrics::{Asked, Fault};
use time_server::server::Finished;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use self::world::{Running, eventually, line, rest, within};

fn assert_is_time(text: &str) {
    let time: Timestamp = text.trim_end().parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert!(Timestamp::now().duration_since(time).abs().as_secs() < 10, "{text:?} is not now");
    assert_eq!(
        text.trim_end().len(),
        "2026-11-22T20:52:06.123456789Z".len(),
        "nanoseconds, always: {text:?}"
    );
}

#[tokio::test]
async fn the_2016_client_is_told_the_listener_and_the_time() {
    let server = Running::start(|_| {});
    for request in ["timestamp", "timestamp\n", "timestamp\r\n"] {
        let reply = server.ask(request.as_bytes()).await;
        let (listener, time) = reply.split_once(": ").unwrap();
        assert_eq!(listener, server.address.to_string());
        assert_is_time(time);
    }
    assert_eq!(server.metrics.asked(Asked::Timestamp), 3);
}

#[tokio::test]
async fn a_listener_on_an_unspecified_address_names_the_one_that_was_dialled() {
    let server = Running::start_with(|_| {}, SystemClock, "0.0.0.0:0");
    let mut stream = TcpStream::connect(("127.0.0.1", server.address.port())).await.unwrap();
    stream.write_all(b"timestamp").await.unwrap();
    let reply = rest(&mut stream).await;
    assert!(reply.starts_with(&format!("127.0.0.1:{}: ", server.address.port())), "{reply}");
}

#[tokio::test]
async fn requests_are_answered_in_order_however_they_arrive() {
    let server = Running::start(|_| {});
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in b"now\r\nsync 17\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_is_time(&line(&mut stream).await);
    let before = u64::try_from(Timestamp::now().as_nanosecond()).unwrap();
    stream.write_all(format!("sync {before}\nnow\ntimestamp").as_bytes()).await.unwrap();

    let first = line(&mut stream).await;
    assert!(first.starts_with("sync 17 "), "{first}");
    let second = line(&mut stream).await;
    let stamps: Vec<u64> = second.trim_end().split(' ').skip(1).map(|stamp| stamp.parse().unwrap()).collect();
    let after = u64::try_from(Timestamp::now().as_nanosecond()).unwrap();
    assert!(stamps[0] == before && stamps[1] >= before && stamps[2] >= stamps[1] && after >= stamps[2]);
    assert_is_time(&line(&mut stream).await);
    assert!(rest(&mut stream).await.starts_with("127.0.0.1:"));
}

#[tokio::test]
async fn whoever_says_nothing_is_told_the_time() {
    let server = Running::start(|limits| limits.daytime_after = Some(Duration::from_millis(50)));
    assert_is_time(&server.ask(b"").await);

    let server = Running::start(|_| {});
    let mut stream = server.connect().await;
    stream.shutdown().await.unwrap();
    assert_is_time(&rest(&mut stream).await);
    assert_eq!(server.metrics.asked(Asked::Daytime), 1);
}

#[tokio::test]
async fn a_silent_peer_is_refused_where_daytime_is_off() {
    let server = Running::start(|limits| {
        limits.daytime_after = None;
        limits.request_time = Duration::from_millis(50);
    });
    assert_eq!(server.ask(b"").await, "error: no complete request in time\n");
    assert_eq!(server.ask(b"no").await, "error: no complete request in time\n");
    assert_eq!(server.metrics.faults(Fault::SlowRequest), 2);
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_keep_a_request_alive() {
    let server = Running::start(|limits| limits.request_time = Duration::from_millis(200));
    let mut stream = server.connect().await;
    let began = Instant::now();
    let dripping = async {
        for _ in 0..100 {
            if stream.write_all(b"n").await.is_err() {
                break;
            }
            if let Ok(text) = timeout(Duration::from_millis(50), rest(&mut stream)).await {
                return text;
            }
        }
        String::new()
    };
    assert_eq!(dripping.await, "error: no complete request in time\n");
    assert!(began.elapsed() < Duration::from_secs(2), "ended after {:?}", began.elapsed());
}

#[tokio::test]
async fn an_idle_connection_ends_without_a_word() {
    let server = Running::start(|limits| limits.idle = Duration::from_millis(50));
    let mut stream = server.connect().await;
    stream.write_all(b"now\n").await.unwrap();
    assert_is_time(&line(&mut stream).await);
    assert_eq!(rest(&mut stream).await, "");
    assert_eq!(server.metrics.faults(Fault::Idle), 1);
}

#[tokio::test]
async fn times_without_end_are_only_very_long() {
    let server = Running::start(|limits| {
        limits.daytime_after = Some(Duration::MAX);
        limits.request_time = Duration::MAX;
        limits.idle = Duration::MAX;
        limits.slow_reader = Duration::MAX;
    });
    let mut stream = server.connect().await;
    for part in ["n", "ow\n", "now\n"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_is_time(&line(&mut stream).await);
    assert_is_time(&line(&mut stream).await);
    assert_eq!(server.metrics.faults(Fault::Lost), 0);
}

#[tokio::test]
async fn junk_gets_one_line_and_the_end_without_a_reset() {
    let server = Running::start(|_| {});
    let unknown = "error: unknown request; use `timestamp`, `now` or `sync <nanoseconds>`\n";
    assert_eq!(server.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await, unknown);
    assert_eq!(server.ask(&vec![0xfe; 60_000]).await, "error: line too long\n");
    assert!(
        server.ask(&[b"timestamp".to_vec(), vec![b'x'; 60_000]].concat()).await.starts_with("127.0.0.1:")
    );
    let mut stream = server.connect().await;
    stream.write_all(b"now\nno").await.unwrap();
    stream.shutdown().await.unwrap();
    let all = rest(&mut stream).await;
    assert_is_time(all.lines().next().unwrap());
    assert!(all.ends_with("error: the last line has no newline\n"), "{all}");
    for fault in [Fault::Unknown, Fault::TooLong, Fault::Incomplete] {
        assert_eq!(server.metrics.faults(fault), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_reply_does_not_wait_until_the_one_before_is_acknowledged() {
    let server = Running::start(|_| {});
    let mut stream = server.connect().await;
    // More than the server reads at once: it sends twice while the peer sends nothing that could acknowledge.
    let requests = b"now\n".repeat(300);
    let mut replies = vec![0; 300 * "2026-11-22T20:52:06.123456789Z\n".len()];
    let began = Instant::now();
    for _ in 0..100 {
        stream.write_all(&requests).await.unwrap();
        within(stream.read_exact(&mut replies)).await.unwrap();
    }
    // A delayed acknowledgement takes up to 40 ms.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for 100 rounds", began.elapsed());
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped() {
    let server = Running::start(|limits| limits.slow_reader = Duration::from_millis(100));
    let mut stream = server.connect().await;
    let requests = b"now\n".repeat(16 * 1024);
    while stream.write_all(&requests).await.is_ok() {}
    assert_eq!(server.metrics.faults(Fault::SlowReader), 1);
    eventually("the connection is gone", || server.metrics.open() == 0).await;
}

#[tokio::test]
async fn a_health_check_is_neither_a_request_nor_a_loss() {
    let server = Running::start(|_| {});
    for n in 1..=5 {
        drop(server.connect().await);
        eventually("it has ended", || server.metrics.empty() == n).await;
    }
    assert_eq!((server.metrics.asked(Asked::Daytime), server.metrics.faults(Fault::Lost)), (0, 0));
}

#[tokio::test]
async fn an_idle_connection_makes_room_when_all_places_are_taken() {
    let server = Running::start(|limits| limits.connections = 2);
    let (mut old, mut young) = (server.connect().await, server.connect().await);
    for stream in [&mut old, &mut young] {
        stream.write_all(b"now\n").await.unwrap();
        assert_is_time(&line(stream).await);
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    young.write_all(b"now\n").await.unwrap();
    assert_is_time(&line(&mut young).await);
    assert!(server.ask(b"timestamp").await.contains(": "));
    assert_eq!(rest(&mut old).await, "", "the longest idle one has ended");
    assert_eq!((server.metrics.faults(Fault::Evicted), server.metrics.faults(Fault::TotalLimit)), (1, 0));
}

#[tokio::test]
async fn a_connection_ends_after_an_answer_at_the_end_of_its_life() {
    let server = Running::start(|limits| limits.lifetime = Some(Duration::from_millis(300)));
    let mut stream = server.connect().await;
    stream.write_all(b"now\n").await.unwrap();
    assert_is_time(&line(&mut stream).await);
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.write_all(b"now\n").await.unwrap();
    assert_is_time(&rest(&mut stream).await);
}

#[tokio::test]
async fn connections_beyond_a_limit_are_told_so() {
    let server = Running::start(|limits| limits.per_peer = 1);
    let mut first = server.connect().await;
    first.write_all(b"now\n").await.unwrap();
    assert_is_time(&line(&mut first).await);
    assert_eq!(rest(&mut server.connect().await).await, "error: too many connections from your address\n");
    drop(first);
    eventually("the place is free", || server.metrics.open() == 0).await;
    assert!(server.ask(b"timestamp").await.contains(": "));

    let server = Running::start(|limits| limits.connections = 0);
    assert_eq!(rest(&mut server.connect().await).await, "error: too many connections\n");
    assert_eq!(server.metrics.faults(Fault::TotalLimit), 1);
}

#[tokio::test]
async fn who_is_turned_away_hears_why_even_if_it_goes_on_sending() {
    let server = Running::start(|limits| limits.connections = 0);
    let mut stream = server.connect().await;
    eventually("it is turned away", || server.metrics.faults(Fault::TotalLimit) == 1).await;
    for _ in 0..10 {
        stream.write_all(b"timestamp").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(rest(&mut stream).await, "error: too many connections\n");
}

#[tokio::test]
async fn a_flood_that_is_turned_away_is_not_waited_for() {
    let server = Running::start(|limits| limits.connections = 0);
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(server.connect().await);
    }
    eventually("all are turned away", || server.metrics.faults(Fault::TotalLimit) == 200).await;
    for stream in &mut flood {
        assert_eq!(rest(stream).await, "error: too many connections\n");
    }
    drop(flood);
    assert_eq!(server.finish().await, Finished { dropped: 0 });
}

/// A clock that breaks when told to.
#[derive(Debug, Default)]
struct Broken(Arc<AtomicBool>);

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        assert!(!self.0.load(Ordering::Relaxed), "the clock is broken, as this test wants it");
        SystemClock.now()
    }
}

#[tokio::test]
async fn a_panic_ends_one_connection_only() {
    let broken = Arc::new(AtomicBool::new(true));
    let server = Running::start_with(|_| {}, Broken(Arc::clone(&broken)), "127.0.0.1:0");
    let mut victim = server.connect().await;
    victim.write_all(b"now\n").await.unwrap();
    let end = within(victim.read_u8()).await.unwrap_err();
    assert!(matches!(end.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{end}");
    assert_eq!((server.metrics.faults(Fault::Panic), server.metrics.open()), (1, 0));
    broken.store(false, Ordering::Relaxed);
    assert!(server.ask(b"timestamp").await.contains(": "));
    assert_eq!(server.finish().await, Finished { dropped: 0 });
}

#[tokio::test]
async fn stopping_serves_who_is_connected_and_lets_idle_ones_go() {
    let mut server = Running::start(|_| {});
    let mut idle = server.connect().await;
    idle.write_all(b"now\n").await.unwrap();
    assert_is_time(&line(&mut idle).await);
    let mut begun = server.connect().await;
    begun.write_all(b"time").await.unwrap();
    let mut silent = server.connect().await;
    eventually("all three are accepted", || server.metrics.accepted() == 3).await;

    server.stop();
    assert_eq!(rest(&mut idle).await, "");
    drop(idle);
    let refused = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    begun.write_all(b"stamp").await.unwrap();
    assert!(rest(&mut begun).await.starts_with("127.0.0.1:"));
    silent.write_all(b"timestamp").await.unwrap();
    assert!(rest(&mut silent).await.starts_with("127.0.0.1:"));
    drop((begun, silent));
    assert_eq!(server.run.await.unwrap().unwrap(), Finished { dropped: 0 });
}

#[tokio::test]
async fn whoever_never_finishes_is_dropped_in_the_end() {
    let server = Running::start(|_| {});
    let mut begun = server.connect().await;
    begun.write_all(b"time").await.unwrap();
    eventually("it is accepted", || server.metrics.accepted() == 1).await;
    assert_eq!(server.finish().await, Finished { dropped: 1 });
    assert!(within(begun.read_u8()).await.is_err());
}

#[tokio::test(flavor = "current_thread")]
async fn connections_in_the_accept_queue_are_served_when_stopping() {
    let mut server = Running::start(|_| {});
    // Nothing on this thread accepts while these connect and the server is told to stop.
    let connect = |_| std::net::TcpStream::connect(server.address).unwrap();
    let queued: Vec<_> = (0..100).map(connect).collect();
    server.stop();
    for stream in queued {
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        stream.write_all(b"timestamp").await.unwrap();
        assert!(rest(&mut stream).await.starts_with("127.0.0.1:"));
    }
    assert_eq!(server.run.await.unwrap().unwrap(), Finished { dropped: 0 });
}
