//! The fault proxy breaks connections in exactly the way it says.

use std::io::ErrorKind;
use std::time::Duration;

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::proxy::{Direction, Proxy, Rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(5);
const A_WHILE: Duration = Duration::from_millis(150);

/// A server that says back what it hears.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // The proxy under test breaks this on purpose.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connected(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut stream, b"hello").await, b"hello");
    stream
}

async fn ask(stream: &mut TcpStream, what: &[u8]) -> Vec<u8> {
    stream.write_all(what).await.unwrap();
    hear(stream, what.len()).await
}

async fn hear(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    within(SOON, "an answer", stream.read_exact(&mut heard)).await.unwrap();
    heard
}

async fn silent(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(A_WHILE, stream.read(&mut byte)).await.is_err(), "nothing should have come");
}

#[tokio::test]
async fn a_cut_by_fin_is_an_orderly_end() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.cut_fin().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_by_fin_with_unread_input_is_still_orderly() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.freeze(Direction::ToServer);
    stream.write_all(&[7; 100_000]).await.unwrap();
    proxy.cut_fin().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_by_rst_is_a_reset() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.cut_rst().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_cut_spares_the_connections_after_it() {
    let proxy = Proxy::to(echo().await).await;
    let _before = connected(&proxy).await;
    proxy.cut_rst().await;
    let mut after = connected(&proxy).await;
    assert_eq!(ask(&mut after, b"still here").await, b"still here");
    assert_eq!((proxy.accepted(), proxy.open()), (2, 1));
}

#[tokio::test]
async fn a_frozen_direction_holds_its_bytes_back_and_loses_none() {
    for direction in Direction::BOTH {
        let proxy = Proxy::to(echo().await).await;
        let mut stream = connected(&proxy).await;
        let before = proxy.carried(Direction::ToServer);
        proxy.freeze(direction);
        stream.write_all(b"held").await.unwrap();
        silent(&mut stream).await;
        let reached = proxy.carried(Direction::ToServer) - before;
        assert_eq!(reached, if direction == Direction::ToServer { 0 } else { 4 });
        proxy.thaw();
        assert_eq!(hear(&mut stream, 4).await, b"held");
    }
}

#[tokio::test]
async fn a_frozen_direction_holds_the_end_back_too() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.freeze(Direction::ToClient);
    stream.shutdown().await.unwrap();
    silent(&mut stream).await;
    proxy.thaw();
    assert_eq!(within(SOON, "an answer", stream.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn an_end_in_one_direction_leaves_the_other_open() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.delay(Duration::from_millis(50));
    stream.write_all(b"last words").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(hear(&mut stream, 10).await, b"last words");
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_black_hole_accepts_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    proxy.black_hole();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"anybody?").await.unwrap();
    assert!(timeout(A_WHILE, listener.accept()).await.is_err(), "the server should see nobody");
    proxy.thaw();
    let (mut reached, _) = within(SOON, "an answer", listener.accept()).await.unwrap();
    assert_eq!(hear(&mut reached, 8).await, b"anybody?");
}

#[tokio::test]
async fn refused_and_accepted_again_on_the_same_port() {
    let proxy = Proxy::to(echo().await).await;
    let mut before = connected(&proxy).await;
    for _ in 0..3 {
        proxy.refuse().await;
        always(Duration::from_millis(50), "refused", async || {
            let error = TcpStream::connect(proxy.address()).await.err().ok_or("connected")?;
            if error.kind() == ErrorKind::ConnectionRefused { Ok(()) } else { Err("another error") }
        })
        .await;
        proxy.accept().await;
        connected(&proxy).await;
    }
    assert_eq!(ask(&mut before, b"untouched").await, b"untouched");
}

#[tokio::test]
async fn a_delay_adds_latency_and_keeps_throughput() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    proxy.delay(Duration::from_millis(30));
    let start = Stopwatch::start();
    ask(&mut stream, b"slow").await;
    assert!(start.elapsed() >= Duration::from_millis(60), "{:?}", start.elapsed());

    let start = Stopwatch::start();
    let load = vec![1; 4 << 20];
    let (mut from, mut to) = stream.split();
    let mut heard = vec![0; load.len()];
    let (sent, read) = tokio::join!(to.write_all(&load), from.read_exact(&mut heard));
    sent.unwrap();
    read.unwrap();
    assert!(start.fair() < Duration::from_secs(2), "4 MiB took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_cut_after_some_bytes_lets_exactly_those_pass() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    let trip = proxy.cut_after(Direction::ToClient, 3);
    stream.write_all(b"abcdef").await.unwrap();
    trip.sprung(SOON).await;
    assert_eq!(hear(&mut stream, 3).await, b"abc");
    assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_was_sent_before_a_cut_of_the_client_reaches_the_server_after_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = within(SOON, "a connection", listener.accept()).await.unwrap();
    proxy.freeze(Direction::ToServer);
    client.write_all(b"late").await.unwrap();
    silent(&mut server).await;
    proxy.cut_client(A_WHILE).await;
    assert_eq!(within(SOON, "the end", client.read(&mut [0])).await.unwrap(), 0);
    assert_eq!(proxy.open(), 0);
    silent(&mut server).await;
    proxy.thaw();
    assert_eq!(hear(&mut server, 4).await, b"late");
    assert_eq!(within(SOON, "the end", server.read(&mut [0])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_of_a_client_that_had_said_all_is_an_end_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).await;
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    let (mut server, _) = within(SOON, "a connection", listener.accept()).await.unwrap();
    client.write_all(b"all").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(hear(&mut server, 3).await, b"all");
    assert_eq!(within(SOON, "the end", server.read(&mut [0])).await.unwrap(), 0);
    proxy.cut_client(Duration::ZERO).await;
    assert_eq!(within(SOON, "the end", client.read(&mut [0])).await.unwrap(), 0);
    // A task of the proxy that panics would close the server's side, and reset nothing.
    eventually(SOON, "a reset", async || server.take_error().unwrap().is_some()).await;
}

#[tokio::test]
async fn half_a_reconnect_is_the_answer_to_the_handshake_and_nothing_after_it() {
    let proxy = Proxy::zookeeper(echo().await).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.impose(Rules::answer_handshakes_only);
    assert_eq!(ask(&mut stream, b"\0\0\0\x01A").await, b"\0\0\0\x01A");
    stream.write_all(b"\0\0\0\x01B").await.unwrap();
    silent(&mut stream).await;
    assert_eq!(proxy.carried(Direction::ToServer), 10);
    proxy.thaw();
    assert_eq!(hear(&mut stream, 5).await, b"\0\0\0\x01B");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_reset() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = Proxy::to(nobody).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_proxy_ends_what_it_carried() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = connected(&proxy).await;
    let address = proxy.address();
    drop(proxy);
    assert!(matches!(within(SOON, "an answer", stream.read(&mut [0])).await, Ok(0) | Err(_)));
    eventually(SOON, "the port is shut", async || TcpStream::connect(address).await.is_err()).await;
}
