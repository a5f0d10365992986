//! A process that slept past its session, and wakes without network or descriptors, neither spins nor stays away.

use std::time::Duration;

use integration_tests::bench::usage::processor_time_of;
use integration_tests::eventually::eventually;
use integration_tests::process::{Program, Resource, Signal};
use integration_tests::proxy::Proxy;
use integration_tests::raw::Raw;
use integration_tests::zookeeper::ZooKeeper;
use tokio::time::{Instant, sleep_until};

const T: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_process_that_wakes_after_its_session_without_network_and_descriptors_stays_calm_and_comes_back() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("asleep").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let server = Program::time_server()
        .args(["--listen", "127.0.0.1:0", "--session-timeout", "2s"])
        .args(["--zookeeper", &chroot.through(link.address())])
        .start();
    let raw = chroot.raw().await;
    eventually(SOON, "it is listed", async || listed(&raw).await == 1).await;

    server.signal(Signal::SIGSTOP);
    link.refuse().await;
    link.cut_rst().await;
    // No further socket: every attempt to connect fails at once, inside one poll.
    server.limit(Resource::Descriptors, Some(3));
    let asleep = Instant::now();
    eventually(SOON, "the session expires", async || listed(&raw).await == 0).await;
    // The client crate's own deadline is 1.4 session timeouts.
    sleep_until(asleep + T.mul_f64(1.6)).await;

    server.signal(Signal::SIGCONT);
    let (woken, before) = (Instant::now(), processor_time_of(server.id()));
    sleep_until(woken + T * 2).await;
    let busy = processor_time_of(server.id()) - before;
    println!("{busy:?} of CPU in {:?} after waking", woken.elapsed());
    assert!(busy < woken.elapsed() / 5, "{busy:?} of CPU in {:?}", woken.elapsed());

    server.limit(Resource::Descriptors, Some(1024));
    link.accept().await;
    let back = Instant::now();
    eventually(SOON, "it is listed again", async || listed(&raw).await == 1).await;
    println!("listed again {:?} after the network was back", back.elapsed());
    server.signal(Signal::SIGTERM);
    assert!(server.exit(SOON).await.success());
    assert_eq!(listed(&raw).await, 0);
}

async fn listed(raw: &Raw) -> usize {
    raw.list("/services/time").await.unwrap().map_or(0, |names| names.len())
}
