//! time-server under faults: no descriptors, a frozen process, a killed one.

use std::time::{Duration, Instant};

use integration_tests::eventually::eventually;
use integration_tests::process::{Program, Signal};
use integration_tests::raw_events::Happened;
use integration_tests::zookeeper::ZooKeeper;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{SERVICE, SOON, ask, assert_is_reply, one_listener, registered};

#[tokio::test]
async fn without_descriptors_it_goes_on_quietly_and_recovers() {
    let chroot = ZooKeeper::shared().chroot("descriptors").await;
    let server = one_listener(&chroot).args(["--max-per-peer", "1000"]).descriptors(26).start();
    let address = registered(&server, 1).await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..60 {
        // Those that it has no descriptor for wait in the system's queue.
        others.push(TcpStream::connect(address).await.unwrap());
    }
    server.logs("cannot accept connections", SOON).await;
    kept.write_all(b"timestamp").await.unwrap();
    let mut reply = String::new();
    kept.read_to_string(&mut reply).await.unwrap();
    assert_is_reply(&reply, address);

    drop((kept, others));
    let reply = eventually(SOON, "an answer", async || ask(address).await).await;
    assert_is_reply(&reply, address);
    let logged = server.stderr().all().len();
    assert!(logged < 20, "{logged} lines:\n{}", server.stderr().text());
    assert_eq!(server.stdout().all().len(), 1, "it was registered once");
}

#[tokio::test]
async fn a_frozen_server_is_unlisted_and_comes_back() {
    let chroot = ZooKeeper::shared().chroot("frozen").await;
    let server = one_listener(&chroot).start();
    let address = registered(&server, 1).await;
    let node = format!("{SERVICE}/{address}");
    let raw = chroot.raw().await;
    let events = raw.events(SERVICE).await.unwrap();
    server.signal(Signal::SIGSTOP);
    events.first(Happened::Deleted, &node, SOON).await;
    server.signal(Signal::SIGCONT);
    events.first(Happened::Created, &node, SOON).await;
    assert_is_reply(&ask(address).await.unwrap(), address);
}

#[tokio::test]
async fn a_killed_server_that_starts_again_is_registered_at_once() {
    let chroot = ZooKeeper::shared().chroot("killed").await;
    let listening = |listen: &str| {
        let zookeeper = chroot.connect_string();
        Program::time_server()
            .args(["--zookeeper", &zookeeper, "--session-timeout", "10s", "--listen", listen])
            .start()
    };
    let first = listening("127.0.0.1:0");
    let address = registered(&first, 1).await;
    first.signal(Signal::SIGKILL);
    first.exit(SOON).await;
    let killed = Instant::now();
    let second = listening(&address.to_string());
    assert_eq!(registered(&second, 1).await, address);
    // The dead one's session has 10 seconds, of which its last ping may have been up to 4 ago.
    assert!(killed.elapsed() < Duration::from_secs(5), "registered after {:?}", killed.elapsed());
    assert_is_reply(&ask(address).await.unwrap(), address);
}
