//! time-server starts: what it registers, where, and when it refuses to.

use std::net::{SocketAddr, TcpListener};

use integration_tests::eventually::eventually;
use integration_tests::process::Program;
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::registries::{open, time};
use integration_tests::time_servers::{
    SERVICE, SOON, ask, assert_is_reply, one_listener, registered, time_server,
};
use integration_tests::zookeeper::ZooKeeper;

async fn listed(raw: &Raw) -> Vec<String> {
    raw.list(SERVICE).await.unwrap().unwrap_or_default()
}

/// Exit code 2, one line on stderr that has all these words, and nothing in ZooKeeper.
async fn refuses(program: Program, raw: &Raw, words: &[&str]) {
    let server = program.start();
    assert_eq!(server.exit(SOON).await.code(), Some(2));
    server.logs("time-server: ", SOON).await;
    let complaints = server.stderr().containing("time-server: ");
    assert_eq!(complaints.len(), 1, "{}", server.stderr().text());
    for word in words {
        assert!(complaints[0].text.contains(word), "{word:?} in {:?}", complaints[0].text);
    }
    assert_eq!(server.stdout().text(), "");
    assert!(listed(raw).await.is_empty());
}

#[tokio::test]
async fn every_listener_is_registered_with_its_real_port() {
    let chroot = ZooKeeper::shared().chroot("ports").await;
    let (raw, program) = (chroot.raw().await, one_listener(&chroot));
    let server = program.args(["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]).start();
    let mut addresses = Vec::new();
    for n in 1..=3 {
        addresses.push(registered(&server, n).await);
    }
    let mut names: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
    names.sort();
    assert_eq!(listed(&raw).await, names);
    for address in addresses {
        assert_is_reply(&ask(address).await.unwrap(), address);
    }
}

#[tokio::test]
async fn an_occupied_port_among_three_registers_nothing() {
    let chroot = ZooKeeper::shared().chroot("occupied").await;
    let occupied = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let program = one_listener(&chroot).args(["--listen", &address, "--listen", "127.0.0.1:0"]);
    refuses(program, &chroot.raw().await, &["--listen", &address]).await;
}

#[tokio::test]
async fn what_cannot_be_advertised_registers_nothing() {
    let chroot = ZooKeeper::shared().chroot("advertise").await;
    let raw = chroot.raw().await;
    let two = || one_listener(&chroot).args(["--listen", "127.0.0.1:0"]);
    let same = two().args(["--advertise", "10.0.0.7:1", "--advertise", "10.0.0.7:1"]);
    refuses(same, &raw, &["--advertise", "10.0.0.7:1"]).await;
    refuses(two().env("ADVERTISE", "10.0.0.7:1"), &raw, &["--advertise"]).await;
    refuses(two().args(["--advertise", "0.0.0.0:1"]), &raw, &["--advertise", "10.0.0.7:8897"]).await;
    refuses(two().args(["--weight", "2", "--format", "plain"]), &raw, &["--weight", "plain"]).await;
    refuses(two().args(["--weight", "0"]), &raw, &["--weight", "1 to 65535"]).await;
    refuses(two().args(["--idle", "ten"]), &raw, &["--idle", "10s"]).await;
}

#[tokio::test]
async fn a_session_timeout_that_the_server_shortens_is_said() {
    let chroot = ZooKeeper::shared().chroot("clamped").await;
    let server = Program::time_server()
        .args(["--zookeeper", &chroot.connect_string(), "--listen", "127.0.0.1:0", "--session-timeout", "1h"])
        .start();
    let warning = server.logs("clamped the session timeout", SOON).await.text;
    assert!(warning.contains("WARN") && warning.contains("asked=3600s"), "{warning}");
    registered(&server, 1).await;
}

#[tokio::test]
async fn a_stated_address_is_registered_with_all_that_was_said_of_it() {
    let chroot = ZooKeeper::shared().chroot("stated").await;
    let server = one_listener(&chroot)
        .env("ADVERTISE", "time.example.org:80")
        .args(["--weight", "7", "--zone", "a", "--metadata", "k=v=w"])
        .start();
    server.says("registered time.example.org:80 at /services/time/time.example.org:80", SOON).await;

    let registry = open(&chroot.connect_string());
    let snapshot = registry.lookup(&time()).await.unwrap();
    let instance = snapshot.instances().next().unwrap().clone();
    assert_eq!((instance.weight().get(), instance.zone()), (7, Some("a")));
    assert_eq!(instance.metadata()["k"], "v=w");
}

#[tokio::test]
async fn the_pods_address_goes_with_the_listeners_port() {
    let chroot = ZooKeeper::shared().chroot("pod").await;
    let server = one_listener(&chroot).env("POD_IP", "10.9.8.7").start();
    assert_eq!(registered(&server, 1).await.ip().to_string(), "10.9.8.7");
}

#[tokio::test]
async fn a_server_that_starts_before_zookeeper_serves_and_registers_later() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("later").await;
    let proxy = Proxy::to(zk.address(1)).await;
    proxy.refuse().await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap();
    let server = time_server(&chroot.through(proxy.address()))
        .args(["--listen", &address.to_string(), "--listen", &everywhere.to_string()])
        .start();
    let reply = eventually(SOON, "an answer without ZooKeeper", async || ask(address).await).await;
    assert_is_reply(&reply, address);
    assert_eq!(server.stdout().text(), "");

    proxy.accept().await;
    let mut found = [registered(&server, 1).await, registered(&server, 2).await];
    let mut wanted = [address, ([127, 0, 0, 1], everywhere.port()).into()];
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "on all addresses: the one from which ZooKeeper is reached is advertised");
}

#[tokio::test]
async fn the_client_of_2016_finds_its_server_and_hears_its_reply() {
    let chroot = ZooKeeper::shared().chroot("2016").await;
    let server =
        one_listener(&chroot).args(["--base", "/", "--service", "go_servers", "--format", "plain"]).start();
    let address = registered(&server, 1).await;

    let raw = chroot.raw().await;
    let names = raw.list("/go_servers").await.unwrap().unwrap();
    assert_eq!(names, [address.to_string()]);
    let (data, stat) = raw.get(&format!("/go_servers/{address}")).await.unwrap().unwrap();
    assert!(data.is_empty() && stat.ephemeral_owner != 0);
    // It dials the node's name, sends nine bytes and reads to the end; a reset would end it.
    for _ in 0..100 {
        assert_is_reply(&ask(names[0].parse().unwrap()).await.unwrap(), address);
    }
}
