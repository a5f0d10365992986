//! The links between a client and ZooKeeper break. On several servers all of a client's links break alike.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::proxy::{Direction, Proxy, hosts};
use integration_tests::registries::{T, time};
use integration_tests::replay::init_tracing;
use integration_tests::time_servers::SERVICE;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::{Instance, Withdrawn};

use super::{C, SLACK, ScenarioFleet, report};

#[tokio::test]
async fn a_link_cut_for_less_than_the_session_costs_nobody() {
    short_cut(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_link_cut_for_longer_than_the_session_unlists_and_lists_again() {
    long_cut(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_link_that_is_dead_in_one_direction_is_noticed_and_healed() {
    one_dead_direction(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_slow_link_is_slow_and_nothing_else() {
    slow_link(&ZooKeeper::shared()).await;
}

#[tokio::test]
async fn a_dead_and_a_silent_server_in_the_connect_string_are_passed_over() {
    dead_and_silent_servers(&ZooKeeper::shared()).await;
}

/// A subtree, and a link to each server.
async fn linked(zk: &ZooKeeper, name: &str) -> (Chroot, Vec<Proxy>) {
    init_tracing();
    (zk.chroot(name).await, zk.proxies().await)
}

pub(super) async fn short_cut(zk: &ZooKeeper) {
    let (chroot, links) = linked(zk, "short-cut").await;
    let mut fleet = ScenarioFleet::at(&chroot.through(hosts(&links))).await;
    let events = chroot.raw().await.events(SERVICE).await.unwrap();
    for link in &links {
        link.refuse().await;
        link.cut_rst().await;
    }
    report("stale after a cut", fleet.is_stale().await);
    tokio::time::sleep(T / 4).await;
    for link in &links {
        link.accept().await;
    }
    report("live after a short cut", fleet.serves(T + SLACK).await);
    events.settled().await.unwrap();
    assert_eq!(events.gaps(), 0, "nobody cut the witness off");
    assert!(events.all().is_empty(), "nothing is written: {:?}", events.all());
    fleet.never_missed_one();
    fleet.goes().await;
}

pub(super) async fn long_cut(zk: &ZooKeeper) {
    let (chroot, links) = linked(zk, "long-cut").await;
    let mut fleet = ScenarioFleet::over(&chroot.through(hosts(&links)), &chroot.connect_string()).await;
    links.iter().for_each(Proxy::black_hole);
    let start = Stopwatch::start();
    let watch = &mut fleet.watch;
    // A server looks for expired sessions once a tick.
    eventually(T + C + SLACK, "the silent ones are gone", async || watch.current().is_empty()).await;
    report("gone after silence", start.elapsed());
    links.iter().for_each(Proxy::thaw);
    report("listed again after a long cut", fleet.serves(T + SLACK).await);
    fleet.goes().await;
}

pub(super) async fn one_dead_direction(zk: &ZooKeeper) {
    for direction in Direction::BOTH {
        let (chroot, links) = linked(zk, "one-way").await;
        let mut fleet = ScenarioFleet::over(&chroot.connect_string(), &chroot.through(hosts(&links))).await;
        links.iter().for_each(|link| link.freeze(direction));
        report("stale after a direction froze", fleet.is_stale().await);
        links.iter().for_each(Proxy::thaw);
        report("live after a direction thawed", fleet.serves(T + SLACK).await);
        fleet.never_missed_one();
        fleet.goes().await;
    }
}

pub(super) async fn slow_link(zk: &ZooKeeper) {
    let (chroot, links) = linked(zk, "slow").await;
    let one_way = Duration::from_millis(100);
    links.iter().for_each(|link| link.delay(one_way));
    let mut fleet = ScenarioFleet::at(&chroot.through(hosts(&links))).await;
    let start = Stopwatch::start();
    let mut late = fleet.registry.register(&time(), Instance::new("10.0.0.1", 99));
    let zxid = late.registered().await.unwrap();
    // Two round trips at most to register, one and a half more to be seen by event and read.
    fleet.watch.wait_for(zxid).await.unwrap();
    report("registered and seen over a link of 200 ms", start.elapsed());
    assert!(start.fair() < one_way * 2 * 5 + SLACK, "{:?}", start.elapsed());
    assert_eq!(late.withdraw(T).await, Withdrawn::Confirmed);
    fleet.serves(T).await;
    fleet.never_missed_one();
    fleet.goes().await;
}

pub(super) async fn dead_and_silent_servers(zk: &ZooKeeper) {
    init_tracing();
    let chroot = zk.chroot("passed-over").await;
    let (first, last) = (zk.address(1), zk.address(zk.addresses().len()));
    let (dead, silent) = (Proxy::zookeeper(first).await, Proxy::zookeeper(first).await);
    dead.refuse().await;
    silent.black_hole();
    let start = Stopwatch::start();
    let fleet =
        ScenarioFleet::at(&chroot.through(format!("{},{},{last}", dead.address(), silent.address()))).await;
    report("connected past a dead and a silent server", start.elapsed());
    assert!(start.fair() < T + SLACK, "{:?}", start.elapsed());
    fleet.never_missed_one();
    fleet.goes().await;
}
