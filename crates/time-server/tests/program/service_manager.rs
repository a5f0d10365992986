//! systemd's protocol, spoken with a socket of the test: notification, watchdog, and sockets that are handed over.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zk_registry::testing::Server;
use zk_registry::{Options, Registry, Resolve as _, ServiceName};

use crate::running::{Running, file, program, until};

/// The messages of a program to its service manager.
struct Manager {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, dir }
    }

    fn start(&self, arguments: &[&str], more: &[(&str, &str)]) -> Running {
        let mut command = program(arguments);
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify")).envs(more.iter().copied());
        Running(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("a message comes");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The messages up to the first one that contains `word`.
    fn until(&self, word: &str) -> Vec<String> {
        let mut messages = Vec::new();
        loop {
            messages.push(self.next());
            if messages.last().unwrap().contains(word) {
                return messages;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_every_step_from_the_start_to_the_end() {
    let zookeeper = Server::start().await.unwrap();
    let (at, file) = (zookeeper.address().to_string(), file("weight = 2"));
    let manager = Manager::new();
    let path = file.path().to_str().unwrap();
    let running = manager.start(
        &[
            "--zookeeper",
            &at,
            "--config",
            path,
            "--ready",
            "registered",
            "--linger",
            "0",
            "--drain-timeout",
            "7s",
        ],
        &[],
    );
    let before = manager.until("READY=1");
    assert!(before.iter().any(|message| message.contains("STATUS=0/1 registered")), "{before:?}");
    manager.until("STATUS=1/1 registered");
    running.kill("-HUP");
    let reload = manager.until("READY=1");
    let reloading = reload.iter().find(|message| message.contains("RELOADING=1")).unwrap();
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    running.kill("-TERM");
    let end = manager.until("STOPPING=1");
    let extension =
        end.last().unwrap().lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC=")).unwrap();
    assert!(extension.parse::<u64>().unwrap() > 7_000_000, "{extension}");
    manager.until("STATUS=leaving");
    assert_eq!(running.exit(), Some(0));
}

#[test]
fn a_start_does_not_wait_for_zookeeper_unless_told_to() {
    let manager = Manager::new();
    let _running = manager.start(&[], &[]);
    assert!(manager.until("READY=1").len() <= 2);
}

#[test]
fn the_watchdog_is_fed_twice_in_its_period_and_not_by_a_process_that_hangs() {
    let manager = Manager::new();
    let running = manager.start(&[], &[("WATCHDOG_USEC", "400000")]);
    manager.until("WATCHDOG=1");
    let began = Instant::now();
    (0..5).for_each(|_| drop(manager.until("WATCHDOG=1")));
    assert!(began.elapsed() < Duration::from_secs(20), "five in {:?}", began.elapsed());
    running.kill("-STOP");
    manager.socket.set_read_timeout(Some(Duration::from_millis(900))).unwrap();
    let mut bytes = [0; 64];
    while manager.socket.recv(&mut bytes).is_ok() {}
    running.kill("-CONT");
    manager.socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    manager.until("WATCHDOG=1");
}

#[test]
fn the_unit_in_the_docs_exposes_at_most_what_its_page_says() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/systemd/time-server.service");
    // The threshold is ten times the score; the page says 1.1.
    let judged = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager", "--threshold=11", unit])
        .output();
    let Ok(judged) = judged else { return println!("systemd-analyze is missing: skipped") };
    let said = String::from_utf8_lossy(&judged.stdout);
    if !said.contains("Overall exposure level") {
        return println!("systemd-analyze is too old: skipped: {}", String::from_utf8_lossy(&judged.stderr));
    }
    assert!(judged.status.success(), "{}", said.lines().last().unwrap_or_default());
}

/// Asks once over a connection of its own.
fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"timestamp")?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    match reply.starts_with(&address.to_string()) {
        true => Ok(reply),
        false => Err(std::io::Error::other(reply)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_sockets_handed_over_fails_no_attempt_and_is_a_leave_and_a_return() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return println!("systemd-socket-activate is missing: skipped");
    }
    let zookeeper = Server::start().await.unwrap();
    let at = zookeeper.address().to_string();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // systemd-socket-activate becomes the first program that a connection asks for: here a shell, which holds the socket as
    // systemd would, and starts the server again whenever it has ended.
    let server = env!("CARGO_BIN_EXE_time-server");
    let script = format!(
        "for run in 1 2 3; do sh -c 'export LISTEN_PID=$$; exec {server} --zookeeper {at} --linger 100ms'; done"
    );
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address.to_string(), "--", "sh", "-c", &script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap());
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let shell = Running(child);
    until(&mut log, "Listening on");
    let log = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    ask(address).unwrap();
    until(&mut told, "registered");

    let registry = Registry::open(at.parse().unwrap(), Options::default());
    let mut view = registry.watch(&"time".parse::<ServiceName>().unwrap());
    assert_eq!(view.live().await.unwrap().len(), 1);
    let sizes = tokio::spawn(async move {
        let mut sizes = vec![1];
        while let Ok(snapshot) = view.changed().await {
            if sizes.last() != Some(&snapshot.len()) {
                sizes.push(snapshot.len());
            }
            if sizes.len() == 5 {
                break;
            }
        }
        sizes
    });

    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked) = (stop.clone(), asked.clone());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    failed.extend(ask(address).err());
                    asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(1));
                }
                failed
            })
        })
        .collect();
    for _ in 0..2 {
        let children = Command::new("pgrep").args(["-P", &shell.0.id().to_string()]).output().unwrap();
        let pid = String::from_utf8(children.stdout).unwrap();
        assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
        until(&mut told, "registered");
    }
    let sizes = tokio::time::timeout(Duration::from_secs(60), sizes).await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    let failed: Vec<_> = askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect();
    println!(
        "{} attempts over two restarts, {} failed; readers saw {sizes:?}",
        asked.load(Ordering::Relaxed),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(sizes, [1, 0, 1, 0, 1], "each restart is a leave and a return");
    assert!(asked.load(Ordering::Relaxed) > 100);
    let children = Command::new("pgrep").args(["-P", &shell.0.id().to_string()]).output().unwrap();
    shell.kill("-TERM"); // the shell, before it starts another one
    let pid = String::from_utf8(children.stdout).unwrap();
    assert!(Command::new("kill").args(["-TERM", pid.trim()]).status().unwrap().success());
    drop(told);
    log.join().unwrap().unwrap();
}
