//! ZooKeeper's own servers break: restarted, frozen, away, cut from their peers, one of them or all.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::registries::T;
use integration_tests::servers::{Launch, Servers};

use super::{SLACK, STARTUP, ScenarioFleet, report, started};

/// The longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_server_restarted_inside_the_timeout_costs_nobody() {
    let (zk, chroot) = started(Launch::single(), "restarted").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;
    zk.restart(1).await;
    report("one server restarted", fleet.serves(T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_server_away_for_longer_than_the_session_is_survived() {
    let (zk, chroot) = started(Launch::single(), "away").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;
    zk.kill(1).await;
    report("stale after the only server died", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    zk.start(1).await;
    zk.wait().await;
    report("one server away for two sessions", fleet.serves(PAUSE + T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn a_server_frozen_for_longer_than_the_session_is_survived() {
    let (zk, chroot) = started(Launch::single(), "frozen-server").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;
    zk.pause(1).await;
    report("stale after the only server froze", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    zk.resume(1).await;
    report("one server frozen for two sessions", fleet.serves(PAUSE + T + SLACK).await);
    fleet.goes().await;
}

#[tokio::test]
async fn an_ensemble_that_loses_its_leader_or_a_follower_costs_nobody() {
    let (zk, chroot) = started(Launch::ensemble(), "minority").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;

    let leader = zk.leader().await;
    zk.kill(leader).await;
    elected(&zk, leader).await;
    report("leader killed", fleet.serves(T + SLACK).await);
    zk.start(leader).await;
    zk.wait().await;

    let leader = zk.leader().await;
    let follower = leader % 3 + 1;
    zk.kill(follower).await;
    report("follower killed", fleet.serves(T + SLACK).await);
    zk.start(follower).await;
    zk.wait().await;

    let leader = zk.leader().await;
    zk.pause(leader).await;
    elected(&zk, leader).await;
    report("leader paused", fleet.serves(T + SLACK).await);
    zk.resume(leader).await;
    zk.wait().await;
    report("leader resumed", fleet.serves(T + SLACK).await);

    fleet.never_missed_one();
    fleet.goes().await;
}

pub(super) async fn elected(zk: &Servers, old: usize) {
    eventually(STARTUP, "a new leader", async || {
        for node in (1..=3).filter(|node| *node != old) {
            if zk.mode(node).await.as_deref() == Some("leader") {
                return true;
            }
        }
        false
    })
    .await;
}

#[tokio::test]
async fn an_ensemble_without_its_majority_is_stale_and_comes_back() {
    let (zk, chroot) = started(Launch::ensemble(), "majority").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;
    zk.kill(1).await;
    zk.kill(2).await;
    // The survivor hangs up on its clients once it misses its peers.
    report("stale after the majority was lost", fleet.is_stale().await);
    tokio::time::sleep(T).await;
    fleet.never_missed_one();
    zk.start(1).await;
    zk.start(2).await;
    zk.wait().await;
    report("majority lost", fleet.serves(PAUSE + T + SLACK).await);
    fleet.never_missed_one();
    fleet.goes().await;
}

#[tokio::test]
async fn an_ensemble_that_restarts_goes_away_or_freezes_as_a_whole_is_survived() {
    let (zk, chroot) = started(Launch::ensemble(), "whole").await;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;

    all(&zk, Servers::kill).await;
    all(&zk, Servers::start).await;
    zk.wait().await;
    report("three servers restarted", fleet.serves(PAUSE + T + SLACK).await);

    all(&zk, Servers::kill).await;
    report("stale after all servers died", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    all(&zk, Servers::start).await;
    zk.wait().await;
    report("three servers away for two sessions", fleet.serves(PAUSE + T + SLACK).await);
    fleet.never_missed_one();

    all(&zk, Servers::pause).await;
    report("stale after all servers froze", fleet.is_stale().await);
    tokio::time::sleep(T * 2).await;
    fleet.never_missed_one();
    all(&zk, Servers::resume).await;
    zk.wait().await;
    report("three servers frozen for two sessions", fleet.serves(PAUSE + T + SLACK).await);
    fleet.goes().await;
}

/// Does it to all three servers at once.
async fn all(zk: &Servers, what: impl AsyncFn(&Servers, usize)) {
    tokio::join!(what(zk, 1), what(zk, 2), what(zk, 3));
}

#[tokio::test]
async fn a_node_cut_from_its_peers_costs_nobody() {
    let (zk, chroot) = started(Launch::ensemble(), "cut-off").await;
    let leader = zk.leader().await;
    let follower = leader % 3 + 1;
    let mut fleet = ScenarioFleet::at(&chroot.connect_string()).await;
    if !zk.isolate(follower).await {
        println!("not run: cutting a node from its peers needs a container engine, BACKEND=docker");
        return;
    }
    hangs_up(&zk, follower).await;
    report("follower cut from its peers", fleet.serves(T + SLACK).await);
    assert_eq!(zk.leader().await, leader, "the other two are a majority");
    zk.rejoin(follower).await;
    zk.wait().await;
    assert_eq!(zk.mode(follower).await.as_deref(), Some("follower"));

    assert!(zk.isolate(leader).await);
    hangs_up(&zk, leader).await;
    elected(&zk, leader).await;
    report("leader cut from its peers", fleet.serves(T + SLACK).await);
    zk.rejoin(leader).await;
    zk.wait().await;
    report("leader back among its peers", fleet.serves(T + SLACK).await);

    fleet.never_missed_one();
    fleet.goes().await;
}

async fn hangs_up(zk: &Servers, node: usize) {
    eventually(STARTUP, "the server serves nobody", async || zk.mode(node).await.is_none()).await;
}
