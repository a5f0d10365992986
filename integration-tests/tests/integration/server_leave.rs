//! time-server leaves, in the order that loses no query, and at once if it must.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::http_get::http_get;
use integration_tests::process::Signal;
use integration_tests::proxy::Proxy;
use integration_tests::raw_events::NodeChange;
use integration_tests::time_servers::{
    SERVICE, SOON, ask, assert_is_reply, one_listener, registered, time_server,
};
use integration_tests::zookeeper::ZooKeeper;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The rest of a second whose beginning was seen late.
const MOST_OF_A_SECOND: Duration = Duration::from_millis(700);

async fn http(address: &str, path: &str) -> String {
    http_get(address, path).await.unwrap()
}

#[tokio::test]
async fn both_signals_say_draining_then_unlist_then_close() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let chroot = ZooKeeper::shared().chroot("leave").await;
        let server = one_listener(&chroot).args(["--notice", "1s", "--linger", "1s"]).start();
        let address = registered(&server, 1).await;
        let node = format!("{SERVICE}/{address}");
        let raw = chroot.raw().await;
        let events = raw.events(SERVICE).await.unwrap();

        server.signal(signal);
        let drained = events.first(NodeChange::Changed, &node, SOON).await;
        let (data, _) = raw.get(&node).await.unwrap().unwrap();
        assert!(String::from_utf8(data).unwrap().contains(r#""enabled":false"#), "old readers see it too");
        let unlisted = events.first(NodeChange::Deleted, &node, SOON).await;
        let notice = unlisted.at - drained.at;
        assert!(notice >= MOST_OF_A_SECOND, "{notice:?} of notice");
        assert_is_reply(&ask(address).await.unwrap(), address);
        assert_eq!(events.count(NodeChange::Changed), 1, "draining is one write");

        assert_eq!(server.exit(SOON).await.code(), Some(0));
        let linger = unlisted.at.elapsed();
        assert!(linger >= MOST_OF_A_SECOND, "{linger:?} of linger");
        assert!(ask(address).await.is_err());
    }
}

#[tokio::test]
async fn who_does_not_wait_for_connections_still_says_draining_and_unlists() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("no-drain").await;
    let proxy = Proxy::to(zk.address(1)).await;
    proxy.delay(Duration::from_millis(50));
    let server = time_server(&chroot.through(proxy.address()))
        .args(["--listen", "127.0.0.1:0", "--drain-timeout", "0", "--linger", "0"])
        .start();
    let address = registered(&server, 1).await;
    let node = format!("{SERVICE}/{address}");
    let raw = chroot.raw().await;
    let events = raw.events(SERVICE).await.unwrap();
    server.signal(Signal::SIGTERM);
    events.first(NodeChange::Changed, &node, SOON).await;
    assert_eq!(server.exit(SOON).await.code(), Some(0));
    assert!(raw.get(&node).await.unwrap().is_none(), "it was gone before the process was");
    let doubts = server.stderr().containing("ZooKeeper");
    assert!(doubts.is_empty(), "{}", server.stderr().text());
}

#[tokio::test]
async fn a_format_that_cannot_say_draining_gives_no_notice() {
    let chroot = ZooKeeper::shared().chroot("strict").await;
    for format in ["plain", "curator-strict"] {
        let server = one_listener(&chroot).args(["--format", format, "--notice", "1h"]).start();
        let address = registered(&server, 1).await;
        let events = chroot.raw().await.events(SERVICE).await.unwrap();
        server.signal(Signal::SIGTERM);
        events.first(NodeChange::Deleted, &format!("{SERVICE}/{address}"), SOON).await;
        assert_eq!(events.count(NodeChange::Changed), 0);
        assert_eq!(server.exit(SOON).await.code(), Some(0));
    }
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_a_second_signal_does_not_wait_for_it() {
    let chroot = ZooKeeper::shared().chroot("under-way").await;
    for finish in [true, false] {
        let server = one_listener(&chroot).args(["--linger", "100ms", "--request-timeout", "1m"]).start();
        let address = registered(&server, 1).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"time").await.unwrap();
        assert_is_reply(&ask(address).await.unwrap(), address);
        server.signal(Signal::SIGTERM);
        let closed = async || TcpStream::connect(address).await.is_err();
        eventually(SOON, "the listener is closed", closed).await;
        if finish {
            stream.write_all(b"stamp").await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            assert_is_reply(&reply, address);
            drop(stream);
            assert_eq!(server.exit(SOON).await.code(), Some(0));
        } else {
            let second = Stopwatch::start();
            server.signal(Signal::SIGTERM);
            assert_eq!(server.exit(SOON).await.code(), Some(1));
            assert!(second.fair() < Duration::from_secs(5), "exited after {:?}", second.elapsed());
        }
    }
}

#[tokio::test]
async fn a_server_leaves_in_bounded_time_while_zookeeper_is_away() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("away").await;
    let proxy = Proxy::to(zk.address(1)).await;
    let server = time_server(&chroot.through(proxy.address())).args(["--listen", "127.0.0.1:0"]).start();
    registered(&server, 1).await;
    proxy.black_hole();
    server.signal(Signal::SIGTERM);
    let told = Stopwatch::start();
    assert_eq!(server.exit(Duration::from_secs(15)).await.code(), Some(0));
    println!("measured: left within {:?}", told.elapsed());
    server.logs("did not confirm", SOON).await;
}

#[tokio::test]
async fn probes_tell_alive_from_ready() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("probes").await;
    let proxy = Proxy::to(zk.address(1)).await;
    proxy.refuse().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = free.to_string();
    let server = time_server(&chroot.through(proxy.address()))
        .args(["--listen", "127.0.0.1:0", "--admin", &free.port().to_string(), "--notice", "1m"])
        .start();
    server.logs("listening", SOON).await;
    eventually(SOON, "the admin endpoint", async || TcpStream::connect(free).await).await;
    assert!(http(&admin, "/healthz").await.starts_with("HTTP/1.0 200 "));
    assert!(http(&admin, "/readyz").await.starts_with("HTTP/1.0 503 "));

    proxy.accept().await;
    let address = registered(&server, 1).await;
    assert!(http(&admin, "/readyz").await.starts_with("HTTP/1.0 200 "));
    ask(address).await.unwrap();
    let metrics = http(&admin, "/metrics").await;
    assert!(metrics.contains(r#"time_server_requests_total{kind="timestamp"} 1"#), "{metrics}");
    let registrations = http(&admin, "/registrations").await;
    assert!(
        registrations
            .contains(&format!(r#""path":"{SERVICE}/{address}","status":"up","state":"registered""#)),
        "{registrations}"
    );

    server.signal(Signal::SIGTERM);
    let unready = async || http(&admin, "/readyz").await.starts_with("HTTP/1.0 503 ");
    eventually(SOON, "not ready any more", unready).await;
    assert!(http(&admin, "/healthz").await.starts_with("HTTP/1.0 200 "));
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit(SOON).await.code(), Some(1));
}
