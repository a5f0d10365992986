//! time-server without descriptors; what a reader sees of a killed or frozen one is in `scenarios/programs.rs`.

use integration_tests::eventually::eventually;
use integration_tests::time_servers::{SOON, ask, assert_is_reply, one_listener, registered};
use integration_tests::zookeeper::ZooKeeper;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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
