//! The server for tests over its real wire: this library and its client crate see no difference from Apache ZooKeeper.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use zk_registry::testing::{self, Frozen, Server};

#[tokio::test(flavor = "multi_thread")]
async fn it_behaves_as_zookeeper_does_over_the_wire() {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::listen(any, Duration::from_millis(200)).await.unwrap();
    testing::internal::conformance(&server.address().to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_four_letter_words() {
    let server = Server::start().await.unwrap();
    let address = server.address();
    let ask = move |word: &'static str| {
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(word.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    assert_eq!(ask("ruok").await.unwrap(), "imok");
    let text = ask("srvr").await.unwrap();
    assert!(text.contains("Mode: standalone") && text.contains("Node count: 5"), "{text}");
}

/// Opens a session, byte by byte; without the flag of a read-only client, as old clients do.
fn session(server: &Server, last_zxid: i64) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_millis(300))).expect("it is no zero");
    let mut hello = vec![0, 0, 0, 44, 0, 0, 0, 0];
    hello.extend(last_zxid.to_be_bytes());
    hello.extend(10_000_i32.to_be_bytes());
    hello.extend(0_i64.to_be_bytes());
    hello.extend(16_i32.to_be_bytes());
    hello.extend([0; 16]);
    stream.write_all(&hello).expect("it listens");
    let mut greeting = vec![0; 4 + 4 + 4 + 8 + 4 + 16];
    let read = stream.read(&mut greeting).expect("it answers or closes");
    greeting.truncate(read);
    (stream, greeting)
}

const PING: [u8; 12] = [0, 0, 0, 8, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11];

#[tokio::test(flavor = "multi_thread")]
async fn what_a_freeze_holds_back_arrives_afterwards() {
    let server = Server::start().await.unwrap();
    let (mut stream, greeting) = session(&server, 0);
    assert_eq!(greeting[8..12], 10_000_i32.to_be_bytes());
    let mut reply = [0; 20];
    for frozen in
        [Frozen { to_server: true, ..Frozen::default() }, Frozen { to_clients: true, ..Frozen::default() }]
    {
        server.freeze(frozen);
        stream.write_all(&PING).unwrap();
        assert!(stream.read(&mut reply).is_err());
        server.freeze(Frozen::default());
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(reply[..8], [0, 0, 0, 16, 0xff, 0xff, 0xff, 0xfe]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_seen_the_future_is_not_answered() {
    let server = Server::start().await.unwrap();
    assert!(session(&server, i64::MAX).1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_not_known_ends_the_connection() {
    let server = Server::start().await.unwrap();
    let (mut stream, _) = session(&server, 0);
    stream.write_all(&[0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 99]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[16..], (-6_i32).to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_past_the_limit_ends_the_connection() {
    let server = Server::start().await.unwrap();
    for length in [-1, 0x10_0000] {
        let (mut stream, _) = session(&server, 0);
        stream.write_all(&i32::to_be_bytes(length)).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "{length}");
    }
}
