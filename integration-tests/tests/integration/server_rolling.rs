//! A rolling restart loses no attempt: not only no query, of our client and of one that lists, dials once
//! and gives up.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::process::{RunningProgram, Signal};
use integration_tests::raw::Raw;
use integration_tests::registries::{open, time};
use integration_tests::time_servers::{SERVICE, SOON, ask, registered, time_server};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use rand::seq::IndexedRandom;
use time_client::client::{Options, TimeClient};
use time_server::protocol::Request;
use tokio::task::JoinSet;
use zk_registry::Registry;
use zk_registry::balance::Balancer;
use zk_registry::balance::strategy::Random;

const SERVERS: usize = 3;

async fn start(chroot: &Chroot, address: SocketAddr) -> RunningProgram {
    let server = time_server(&chroot.connect_string()).args(["--listen", &address.to_string()]).start();
    assert_eq!(registered(&server, 1).await, address);
    server
}

/// Our client, over new connections and over kept ones; an attempt that another one made good is a failure here.
async fn follower(registry: Registry, asked: Arc<AtomicU64>) {
    let client = TimeClient::new(&registry, &time(), Balancer::new(Random), Options::default());
    for request in [Request::Now, Request::Timestamp].into_iter().cycle() {
        let answer = client.ask(request, None).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(answer.failed.is_empty(), "{:?}", answer.failed);
        done(&asked).await;
    }
}

/// Lists, dials once; knows nothing of draining.
async fn lister(raw: Raw, asked: Arc<AtomicU64>) {
    loop {
        let names = raw.list(SERVICE).await.unwrap().unwrap();
        let chosen = names.choose(&mut rand::rng()).expect("somebody is always listed");
        let reply = ask(chosen.parse().unwrap()).await.unwrap_or_else(|error| panic!("{chosen}: {error}"));
        assert!(reply.starts_with(chosen), "{reply:?} of {chosen}");
        done(&asked).await;
    }
}

async fn done(asked: &AtomicU64) {
    asked.fetch_add(1, Ordering::Relaxed);
    // A steady load, not as much as the machine can do.
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_attempt() {
    let chroot = ZooKeeper::shared().chroot("rolling").await;
    let ports: Vec<_> = (0..SERVERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap()).collect();
    drop(ports);
    let mut servers = Vec::new();
    for address in &addresses {
        servers.push(start(&chroot, *address).await);
    }
    let asked: [Arc<AtomicU64>; 2] = Default::default();
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(follower(open(&chroot.connect_string()), asked[0].clone()));
        clients.spawn(lister(chroot.raw().await, asked[1].clone()));
    }
    for (server, address) in servers.iter_mut().zip(addresses) {
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit(SOON).await.code(), Some(0));
        *server = start(&chroot, address).await;
        if let Some(ended) = clients.try_join_next() {
            ended.expect("no attempt fails");
        }
    }
    for (asked, who) in asked.iter().zip(["followers", "listers"]) {
        eventually(SOON, "more than 200 attempts", async || asked.load(Ordering::Relaxed) > 200).await;
        println!("{who}: {} attempts, none failed", asked.load(Ordering::Relaxed));
    }
    assert_eq!(clients.len(), 8, "nobody gave up");
    assert!(clients.try_join_next().is_none(), "no attempt fails");
}
