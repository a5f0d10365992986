//! A fleet moves from one format to another: readers read both; writers write the old one, both, the new one.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::registries::{options, time};
use integration_tests::time_servers::{SOON, time_server};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use time_client::client::{Options, TimeClient};
use time_server::protocol::Request;
use tokio::task::JoinSet;
use zk_registry::balance::Balancer;
use zk_registry::balance::strategy::Random;
use zk_registry::format::named;
use zk_registry::{Registry, Source};

const SERVERS: usize = 3;
const OLD: [&str; 4] = ["--base", "/services", "--format", "spring"];
const NEW: [&str; 4] = ["--base", "/dubbo", "--format", "dubbo"];

/// What a process of one step of the migration is given.
fn step(words: &[[&str; 4]]) -> Vec<String> {
    words.iter().flatten().map(|word| (*word).to_owned()).collect()
}

fn registry(chroot: &Chroot, words: &[[&str; 4]]) -> Registry {
    let source = |words: &[&str; 4]| Source::new(words[1].parse().unwrap(), named(words[3]).unwrap());
    let mut sources = words.iter().map(source);
    let first = sources.next().unwrap();
    let first = options().with_base(first.base).with_format(first.format);
    Registry::open(
        chroot.connect_string().parse().unwrap(),
        sources.fold(first, zk_registry::Options::with_source),
    )
}

async fn start(chroot: &Chroot, address: SocketAddr, words: &[[&str; 4]]) -> RunningProgram {
    let listen = ["--listen".to_owned(), address.to_string()];
    let server = time_server(&chroot.connect_string()).args(listen).args(step(words)).start();
    server.says("registered ", SOON).await;
    server
}

/// Asks over and over; an attempt that another one made good is a failure here.
async fn follower(registry: Registry, asked: Arc<AtomicU64>) {
    let client = TimeClient::new(&registry, &time(), Balancer::new(Random), Options::default());
    loop {
        let answer = client.ask(Request::Now, None).await.unwrap_or_else(|error| panic!("{error}"));
        assert!(answer.failed.is_empty(), "{:?}", answer.failed);
        asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn roll(chroot: &Chroot, servers: &mut [RunningProgram], at: &[SocketAddr], words: &[[&str; 4]]) {
    for (server, address) in servers.iter_mut().zip(at) {
        server.signal(Signal::SIGTERM);
        assert_eq!(server.exit(SOON).await.code(), Some(0));
        *server = start(chroot, *address, words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_moves_from_spring_to_dubbo_and_no_attempt_fails() {
    let chroot = ZooKeeper::shared().chroot("migration").await;
    let ports: Vec<_> = (0..SERVERS).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let at: Vec<_> = ports.iter().map(|port| port.local_addr().unwrap()).collect();
    drop(ports);
    let mut servers = Vec::new();
    for address in &at {
        servers.push(start(&chroot, *address, &[OLD]).await);
    }
    let asked: [Arc<AtomicU64>; 3] = Default::default();
    let enough = async |asked: &AtomicU64, who: &str| {
        let before = asked.load(Ordering::Relaxed);
        eventually(SOON, "100 attempts more", async || asked.load(Ordering::Relaxed) > before + 100).await;
        println!("{who}: {} attempts, none failed", asked.load(Ordering::Relaxed));
    };
    let mut of_both = JoinSet::new();
    for _ in 0..2 {
        of_both.spawn(follower(registry(&chroot, &[OLD, NEW]), asked[0].clone()));
    }
    of_both.spawn(follower(registry(&chroot, &[NEW, OLD]), asked[0].clone()));
    let mut of_old = JoinSet::new();
    of_old.spawn(follower(registry(&chroot, &[OLD]), asked[1].clone()));
    enough(&asked[1], "the old, before").await;

    roll(&chroot, &mut servers, &at, &[OLD, NEW]).await;
    enough(&asked[1], "the old, while both are written").await;
    assert!(of_old.try_join_next().is_none(), "the old reader never fails while the old format is written");
    drop(of_old);
    let mut of_new = JoinSet::new();
    of_new.spawn(follower(registry(&chroot, &[NEW]), asked[2].clone()));
    enough(&asked[2], "the new, while both are written").await;
    let list =
        Program::time_client().args(["list", "--zookeeper", &chroot.connect_string(), "--output", "json"]);
    let list = list.args(step(&[NEW, OLD])).start();
    let line = list.says("\"instances\"", SOON).await.text;
    assert_eq!(line.matches("\"status\":\"up\"").count(), SERVERS, "one for each server: {line}");
    assert_eq!(line.matches("\"format\":\"dubbo\"").count(), SERVERS, "the first counts: {line}");

    roll(&chroot, &mut servers, &at, &[NEW]).await;
    enough(&asked[2], "the new, after").await;
    enough(&asked[0], "readers of both, all the time").await;
    assert!(of_new.try_join_next().is_none() && of_both.try_join_next().is_none(), "no attempt fails");
    let raw = chroot.raw().await;
    assert!(raw.list("/services/time").await.unwrap().is_none_or(|names| names.is_empty()));
    assert_eq!(raw.list("/dubbo/time/providers").await.unwrap().unwrap().len(), SERVERS);
}
