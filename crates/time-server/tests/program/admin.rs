//! The admin endpoint on a Unix socket.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::running::{Running, program, start};

fn probe(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A peer on a Unix socket is no web page: any name will do as Host.
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: probe\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

#[test]
fn a_unix_socket_answers_probes_and_replaces_the_one_of_a_dead_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let admin = format!("unix:{}", path.display());
    for round in 0..2 {
        let (running, _log) = start(program(&["--admin", &admin]));
        assert!(probe(&path).starts_with("HTTP/1.1 200"), "round {round}");
        running.kill("-KILL");
        assert_eq!(running.exit(), None);
        assert!(path.exists(), "a killed process leaves its socket");
    }
}

#[test]
fn neither_a_file_nor_the_socket_of_a_live_process_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| {
        let mut child = program(&["--admin", &format!("unix:{}", path.display())]).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(Running(child).exit(), Some(2), "{said}");
        assert!(said.contains("--admin: cannot listen on unix:"), "{said}");
    };
    let file = directory.path().join("file");
    std::fs::write(&file, "kept").unwrap();
    refused(&file);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");

    let socket = directory.path().join("socket");
    let alive = UnixListener::bind(&socket).unwrap();
    refused(&socket);
    UnixStream::connect(&socket).unwrap();
    drop(alive);
}

#[test]
fn a_thousand_silent_connections_keep_no_probe_out_of_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (_running, _log) = start(program(&["--admin", &format!("unix:{}", path.display())]));
    let silent: Vec<_> = (0..1_000).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for _ in 0..10 {
        let began = std::time::Instant::now();
        assert!(probe(&path).starts_with("HTTP/1.1 200"));
        assert!(began.elapsed().as_millis() < 100, "{:?}", began.elapsed());
    }
    drop(silent);
}
