//! Places, seen from outside the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ChildStderr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::running::{Running, program};

#[tokio::test]
async fn one_address_cannot_take_every_place() {
    let (_running, _log, server) = start_with(&["--max-connections", "40", "--max-per-peer", "10"]);
    let mut flood = Vec::new();
    let mut served = 0;
    for _ in 0..60 {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        // What is turned away may be closed already.
        let _ = stream.write_all(b"now\n");
        let mut answer = [0; 5];
        let told = stream.read_exact(&mut answer).is_ok();
        if told && answer != *b"error" {
            served += 1;
        }
        flood.push(stream);
    }
    assert_eq!(served, 10);

    // On Linux all of 127.0.0.0/8 is this machine.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = tokio::io::BufReader::new(other.connect(server).await.unwrap());
    other.write_all(b"now\n").await.unwrap();
    let mut answer = String::new();
    timeout(WITHIN, other.read_line(&mut answer)).await.unwrap().unwrap();
    assert!(!answer.is_empty() && !answer.starts_with("error"), "{answer:?}");
}

/// Starts the program, and finds where it listens.
fn start_with(arguments: &[&str]) -> (Running, BufReader<ChildStderr>, SocketAddr) {
    let mut child = program(arguments).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let running = Running(child);
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
    }
    let (_, address) = line.rsplit_once("listener=").unwrap();
    (running, log, address.trim().parse().unwrap())
}

/// How long an answer may take on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
