//! The server for tests over its real wire: this library and its client crate see no difference from Apache ZooKeeper.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use zk_registry::testing::{self, Server};

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
