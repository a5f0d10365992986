//! Registrations stay true: every way in which other registries lose, duplicate or resurrect an instance.

use std::time::Duration;

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::proxy::{Proxy, Request};
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::raw_events::NodeChange;
use integration_tests::registries::{T, open, time};

use integration_tests::servers::Launch;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::{
    ConnectionState, ErrorKind, Instance, OnConflict, Registering, Registration, RegistrationState, Registry,
    Status, Withdrawn,
};

const SOON: Duration = Duration::from_secs(20);
const NODE: &str = "/services/time/10.0.0.1:80";

fn instance() -> Instance {
    Instance::new("10.0.0.1", 80)
}

fn exclusive() -> Registering {
    let mut how = Registering::default();
    how.exclusive = true;
    how
}

async fn registered(registration: &mut Registration) {
    within(SOON, "registered in time", registration.registered()).await.unwrap();
}

async fn reaches(registration: &Registration, what: &str, state: impl Fn(&RegistrationState) -> bool) {
    let states = registration.states();
    eventually(SOON, what, async || {
        let now = states.borrow();
        if state(&now) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}

async fn listed(raw: &Raw) -> usize {
    raw.list("/services/time").await.unwrap().map_or(0, |names| names.len())
}

/// A registry behind a proxy, one instance registered, and a witness past the proxy.
async fn behind_a_proxy(chroot: &Chroot, zk: &ZooKeeper) -> (Proxy, Registry, Registration, Raw) {
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let registry = open(&chroot.through(proxy.address()));
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    let witness = chroot.raw().await;
    (proxy, registry, registration, witness)
}

#[tokio::test]
async fn parents_are_made_and_a_reaped_one_is_made_again() {
    let chroot = ZooKeeper::shared().chroot("parents").await;
    let registry = open(&chroot.connect_string());
    let raw = chroot.raw().await;
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    assert_eq!(listed(&raw).await, 1);
    raw.delete(NODE).await.unwrap();
    raw.delete("/services/time").await.unwrap();
    raw.delete("/services").await.unwrap();
    eventually(SOON, "the instance is listed again", async || listed(&raw).await == 1).await;
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn a_cut_inside_the_session_timeout_writes_nothing() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("blip").await;
    let (proxy, registry, registration, witness) = behind_a_proxy(&chroot, &zk).await;
    let before = witness.get(NODE).await.unwrap().unwrap().1;
    let events = witness.events("/services").await.unwrap();
    for cut in 0..3 {
        if cut % 2 == 0 {
            proxy.cut_fin().await;
        } else {
            proxy.cut_rst().await;
        }
        proxy.refuse().await;
        reaches(&registration, "suspended", |s| matches!(s, RegistrationState::Suspended { .. })).await;
        proxy.accept().await;
        reaches(&registration, "registered again", |s| matches!(s, RegistrationState::Registered { .. }))
            .await;
    }
    events.settled().await.unwrap();
    assert_eq!(events.all().len(), 0, "{:?}", events.all());
    assert_eq!(witness.get(NODE).await.unwrap().unwrap().1, before);
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn an_ambiguous_create_is_resolved_by_reading() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("ambiguous").await;
    let raw = chroot.raw().await;
    raw.mkdir("/services/time").await.unwrap();
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let registry = open(&chroot.through(proxy.address()));
    registry.connected().await.unwrap();
    let events = raw.events("/services/time").await.unwrap();
    let trip = proxy.lose_reply(Request::Create);
    let mut registration = registry.register(&time(), instance());
    trip.sprung(SOON).await;
    registered(&mut registration).await;
    events.settled().await.unwrap();
    assert_eq!(events.count(NodeChange::Created), 1, "it was executed, and not a second time");
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn a_node_that_somebody_deletes_is_back_within_one_audit() {
    let chroot = ZooKeeper::shared().chroot("deleted").await;
    let registry = open(&chroot.connect_string());
    let raw = chroot.raw().await;
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    raw.delete(NODE).await.unwrap();
    eventually(SOON, "it is listed again", async || listed(&raw).await == 1).await;
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
    assert_eq!(listed(&raw).await, 0);
}

#[tokio::test]
async fn an_update_changes_the_record_in_place() {
    let chroot = ZooKeeper::shared().chroot("update").await;
    let registry = open(&chroot.connect_string());
    let raw = chroot.raw().await;
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    let events = raw.events("/services/time").await.unwrap();
    let zxid = registration.update(|attributes| attributes.zone = Some("b".to_owned())).await.unwrap();
    let (data, stat) = raw.get(NODE).await.unwrap().unwrap();
    assert_eq!(stat.mzxid, zxid.0);
    assert!(String::from_utf8(data).unwrap().contains("\"b\""));
    let too_large = registration.update(|attributes| attributes.zone = Some("z".repeat(1_100_000))).await;
    assert_eq!(too_large.unwrap_err().kind(), ErrorKind::TooLarge);
    events.settled().await.unwrap();
    assert_eq!((events.count(NodeChange::Changed), events.all().len()), (1, 1));
}

#[tokio::test]
async fn the_newest_update_wins_over_a_reconnect() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("newest").await;
    let (proxy, _registry, registration, witness) = behind_a_proxy(&chroot, &zk).await;
    proxy.refuse().await;
    proxy.cut_rst().await;
    let updates = async {
        let first = registration.update(|attributes| attributes.zone = Some("first".to_owned()));
        let second = registration.update(|attributes| attributes.zone = Some("second".to_owned()));
        tokio::join!(first, second)
    };
    let (outcome, ()) = tokio::join!(updates, proxy.accept());
    outcome.0.unwrap();
    outcome.1.unwrap();
    let record = String::from_utf8(witness.get(NODE).await.unwrap().unwrap().0).unwrap();
    assert!(record.contains("second"), "{record}");
}

#[tokio::test]
async fn a_foreign_write_of_the_status_is_adopted_and_survives_an_expiry() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("adopted").await;
    let (proxy, _registry, registration, witness) = behind_a_proxy(&chroot, &zk).await;
    let record = String::from_utf8(witness.get(NODE).await.unwrap().unwrap().0).unwrap();
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["enabled"] = false.into();
    record["port"] = 81.into();
    witness.set(NODE, record.to_string().as_bytes()).await.unwrap();
    eventually(SOON, "adopted", async || registration.attributes().status == Status::Draining).await;
    let restored = async || {
        let record = String::from_utf8(witness.get(NODE).await.unwrap()?.0).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        (record["port"] == 80 && record["enabled"] == false).then_some(())
    };
    eventually(SOON, "the port is restored, the status stays", restored).await;
    proxy.refuse().await;
    proxy.cut_rst().await;
    eventually(SOON, "expired", async || witness.get(NODE).await.unwrap().is_none()).await;
    proxy.accept().await;
    eventually(SOON, "registered again, draining", restored).await;
}

#[tokio::test]
async fn an_expired_session_registers_a_thousand_instances_again() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("thousand").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let registry = open(&chroot.through(proxy.address()));
    let mut registrations: Vec<_> =
        (1..=1_000).map(|port| registry.register(&time(), Instance::new("10.0.0.1", port))).collect();
    for registration in &mut registrations {
        registered(registration).await;
    }
    let raw = chroot.raw().await;
    assert_eq!(listed(&raw).await, 1_000);
    proxy.black_hole();
    eventually(SOON, "expired", async || listed(&raw).await == 0).await;
    proxy.thaw();
    eventually(SOON, "all are back", async || listed(&raw).await == 1_000).await;
    for registration in &mut registrations {
        registered(registration).await;
    }
    let started = Stopwatch::start();
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
    assert!(started.fair() < SOON, "{started:?}");
    assert_eq!(listed(&raw).await, 0);
}

#[tokio::test]
async fn the_same_id_twice_in_one_registry_is_a_conflict_at_once() {
    let chroot = ZooKeeper::shared().chroot("twice").await;
    let registry = open(&chroot.connect_string());
    let mut first = registry.register(&time(), instance());
    registered(&mut first).await;
    let second = registry.register(&time(), instance());
    reaches(&second, "conflict", |s| matches!(s, RegistrationState::Conflict { .. })).await;
    let mut how = Registering::default();
    how.on_conflict = OnConflict::Fail;
    let mut third = registry.register_with(&time(), instance(), how);
    assert_eq!(third.registered().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Confirmed);
    let mut second = second;
    registered(&mut second).await;
}

#[tokio::test]
async fn a_strangers_node_is_waited_for_and_never_touched() {
    let chroot = ZooKeeper::shared().chroot("stranger").await;
    let (stranger, witness) = (chroot.raw().await, chroot.raw().await);
    stranger.mkdir("/services/time").await.unwrap();
    stranger.create(NODE, b"{}", CreateMode::Ephemeral).await.unwrap();
    let before = witness.get(NODE).await.unwrap().unwrap();
    let registry = open(&chroot.connect_string());
    let mut registration = registry.register_with(&time(), instance(), exclusive());
    reaches(&registration, "conflict", |s| matches!(s, RegistrationState::Conflict { .. })).await;
    always(T * 2, "it is left alone", async || witness.get(NODE).await.unwrap().as_ref() == Some(&before))
        .await;
    stranger.close().await;
    registered(&mut registration).await;
}

#[tokio::test]
async fn a_static_node_is_a_conflict_and_withdrawing_leaves_it() {
    let chroot = ZooKeeper::shared().chroot("static").await;
    let raw = chroot.raw().await;
    raw.mkdir("/services/time").await.unwrap();
    raw.create(NODE, b"{}", CreateMode::Persistent).await.unwrap();
    let registry = open(&chroot.connect_string());
    let registration = registry.register_with(&time(), instance(), exclusive());
    reaches(&registration, "conflict", |s| matches!(s, RegistrationState::Conflict { .. })).await;
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Superseded);
    assert!(raw.get(NODE).await.unwrap().is_some());
}

#[tokio::test]
async fn two_processes_with_one_address_do_not_fight() {
    let chroot = ZooKeeper::shared().chroot("fight").await;
    let (one, two) = (open(&chroot.connect_string()), open(&chroot.connect_string()));
    let witness = chroot.raw().await;
    let mut first = one.register(&time(), instance());
    registered(&mut first).await;
    let events = witness.events("/services/time").await.unwrap();
    let mut second = two.register(&time(), instance());
    reaches(&second, "conflict", |s| matches!(s, RegistrationState::Conflict { .. })).await;
    always(T, "nobody writes", async || events.all().is_empty()).await;
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Confirmed);
    registered(&mut second).await;
    assert_eq!(one.close(SOON).await, Withdrawn::Confirmed);
    assert_eq!(listed(&witness).await, 1, "the successor stays");
}

#[tokio::test]
async fn a_thawed_predecessor_finds_its_successor_and_leaves_it_alone() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("thawed").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let frozen = open(&chroot.through(proxy.address()));
    let mut predecessor = frozen.register_with(&time(), instance(), exclusive());
    registered(&mut predecessor).await;
    proxy.black_hole();
    let restarted = open(&chroot.connect_string());
    let mut successor = restarted.register_with(&time(), instance(), exclusive());
    registered(&mut successor).await;
    let witness = chroot.raw().await;
    let events = witness.events("/services/time").await.unwrap();
    proxy.thaw();
    reaches(&predecessor, "conflict", |s| matches!(s, RegistrationState::Conflict { .. })).await;
    assert_eq!(predecessor.withdraw(SOON).await, Withdrawn::Superseded);
    frozen.close(SOON).await;
    events.settled().await.unwrap();
    assert!(events.all().is_empty(), "{:?}", events.all());
}

#[tokio::test]
async fn a_restart_on_the_same_host_is_taken_over_without_a_gap() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("restart").await;
    let proxy = Proxy::zookeeper(zk.address(1)).await;
    let crashed = open(&chroot.through(proxy.address()));
    let mut predecessor = crashed.register_with(&time(), instance(), exclusive());
    registered(&mut predecessor).await;
    proxy.black_hole(); // what the server sees of a crash
    let witness = chroot.raw().await;
    let path = NODE.to_owned();
    let reader = chroot.raw().await;
    let done = tokio_util::sync::CancellationToken::new();
    let stop = done.clone();
    let reads = tokio::spawn(async move {
        let (mut reads, mut gaps) = (0_u32, 0_u32);
        while !stop.is_cancelled() || reads < 2_000 {
            reads += 1;
            gaps += u32::from(reader.get(&path).await.unwrap().is_none());
        }
        (reads, gaps)
    });
    let restarted = open(&chroot.connect_string());
    restarted.connected().await.unwrap();
    let mut successor = restarted.register_with(&time(), instance(), exclusive());
    registered(&mut successor).await;
    done.cancel();
    let (reads, gaps) = reads.await.unwrap();
    assert_eq!(gaps, 0, "of {reads} reads");
    let owner = witness.get(NODE).await.unwrap().unwrap().1.ephemeral_owner;
    always(T * 2, "the predecessor's expiry does not touch it", async || {
        witness.get(NODE).await.unwrap().is_some_and(|(_, stat)| stat.ephemeral_owner == owner)
    })
    .await;
}

#[tokio::test]
async fn a_predecessors_late_delete_answers_bad_version() {
    let chroot = ZooKeeper::shared().chroot("late").await;
    let raw = chroot.raw().await;
    let predecessor = open(&chroot.connect_string());
    let mut first = predecessor.register_with(&time(), instance(), exclusive());
    registered(&mut first).await;
    for round in 0..10 {
        let read = raw.get(NODE).await.unwrap().unwrap().1.version;
        let restarted = open(&chroot.connect_string());
        let mut successor = restarted.register_with(&time(), instance(), exclusive());
        registered(&mut successor).await;
        let late = raw.client().delete(NODE, Some(read)).await;
        assert_eq!(late, Err(zookeeper_client::Error::BadVersion), "round {round}");
        // The session is left to linger: the next round's predecessor.
        std::mem::forget(successor);
        std::mem::forget(restarted);
    }
}

#[tokio::test]
async fn withdrawing_during_an_outage_never_comes_back() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("outage").await;
    let (proxy, registry, registration, witness) = behind_a_proxy(&chroot, &zk).await;
    proxy.refuse().await;
    proxy.cut_rst().await;
    let outcome = registration.withdraw(Duration::from_millis(200)).await;
    assert_eq!(outcome, Withdrawn::Unconfirmed { gone_within: T });
    proxy.accept().await;
    eventually(SOON, "it goes", async || listed(&witness).await == 0).await;
    always(T * 2, "and stays away", async || listed(&witness).await == 0).await;
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn dropping_the_guard_withdraws() {
    let chroot = ZooKeeper::shared().chroot("dropped").await;
    let registry = open(&chroot.connect_string());
    let raw = chroot.raw().await;
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    drop(registration);
    eventually(SOON, "it goes", async || listed(&raw).await == 0).await;
}

#[tokio::test]
async fn dropping_everything_closes_the_session() {
    let chroot = ZooKeeper::shared().chroot("orphan").await;
    let registry = open(&chroot.connect_string());
    let raw = chroot.raw().await;
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    drop((registration, registry));
    eventually(T / 2, "it goes before the session would expire", async || listed(&raw).await == 0).await;
}

#[tokio::test]
async fn a_registry_that_starts_while_zookeeper_is_down_registers_when_it_comes() {
    let zk = Launch::single().start().await;
    zk.stop(1).await;
    let registry = open(&zk.connect_string());
    let mut registration = registry.register(&time(), instance());
    let connection = registry.connection();
    eventually(SOON, "the cause is told", async || match &*connection.borrow() {
        ConnectionState::Connecting { last: Some(error) } => {
            assert!(error.to_string().contains("refused"), "{error}");
            Ok(())
        }
        other => Err(format!("{other:?}")),
    })
    .await;
    zk.start(1).await;
    registered(&mut registration).await;
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test]
async fn a_zombie_session_is_taken_over() {
    // ZooKeeper is away for longer than the session: we give the session up, but the server still has it when it returns.
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("zombie").await;
    let registry = open(&chroot.connect_string());
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    zk.stop(1).await;
    reaches(&registration, "given up", |s| matches!(s, RegistrationState::Pending)).await;
    zk.start(1).await;
    let raw = chroot.raw().await;
    registered(&mut registration).await;
    assert_eq!(listed(&raw).await, 1);
    always(T * 2, "the zombie's end does not take it along", async || listed(&raw).await == 1).await;
}

#[tokio::test]
async fn a_frozen_zookeeper_that_expires_us_lists_us_again() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("frozen").await;
    let registry = open(&chroot.connect_string());
    let mut registration = registry.register(&time(), instance());
    registered(&mut registration).await;
    zk.pause(1).await;
    reaches(&registration, "given up", |s| matches!(s, RegistrationState::Pending)).await;
    zk.resume(1).await;
    registered(&mut registration).await;
    let raw = chroot.raw().await;
    eventually(SOON, "listed", async || listed(&raw).await == 1).await;
}

#[tokio::test]
async fn the_death_of_the_leader_costs_nothing() {
    let zk = Launch::ensemble().start().await;
    let chroot = zk.chroot("leader").await;
    let registry = open(&chroot.connect_string());
    let mut registrations: Vec<_> =
        (1..=100).map(|port| registry.register(&time(), Instance::new("10.0.0.1", port))).collect();
    for registration in &mut registrations {
        registered(registration).await;
    }
    let leader = zk.leader().await;
    zk.kill(leader).await;
    zk.another_leader(leader).await;
    for registration in &mut registrations {
        registered(registration).await;
        registration.update(|attributes| attributes.zone = Some("a".to_owned())).await.unwrap();
    }
    let raw = chroot.raw().await;
    assert_eq!(listed(&raw).await, 100);
}

#[tokio::test]
async fn a_session_never_owns_more_paths_than_the_server_can_close() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("cap").await;
    let registry = open(&chroot.connect_string());
    let host = "h".repeat(180);
    let mut registrations: Vec<_> =
        (1..=6_000).map(|port| registry.register(&time(), Instance::new(host.as_str(), port))).collect();
    for registration in &mut registrations {
        registered(registration).await;
    }
    assert!(registry.sessions() >= 3, "{} sessions", registry.sessions());
    assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
    zk.restart(1).await;
    zk.wait().await;
    let raw = chroot.raw().await;
    assert_eq!(listed(&raw).await, 0);
}
