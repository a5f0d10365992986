//! What a process that registers an instance relies on.

use super::*;
use crate::instance::{Instance, Status};
use crate::registration::{Registration, RegistrationState};
use crate::resolve::Resolve;
use crate::snapshot::{Change, Member};
use crate::withdrawn::Withdrawn;

/// Two processes: one has registered an instance, the other sees it.
struct Pair {
    registrant: Process,
    registration: Registration,
    service: ServiceName,
    reader: Process,
    watch: ServiceWatch,
}

impl Pair {
    async fn new(world: &dyn World) -> Self {
        let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
        let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
        let zxid = soon(registration.registered()).await.unwrap();
        let mut watch = reader.registry.watch(&service);
        assert_eq!(soon(watch.wait_for(zxid)).await.unwrap().len(), 1);
        Self { registrant, registration, service, reader, watch }
    }

    /// The instance as it is shown now.
    fn shown(&mut self) -> Member {
        let id = self.registration.id().clone();
        Member::clone(self.watch.current().get(&id).expect("it is listed"))
    }
}

pub(super) async fn a_registered_instance_is_seen_by_others(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut watch = reader.registry.watch(&service);
    let instance = Instance::new("10.0.0.1", 80).with_zone("a").with_metadata("rack", "7");
    let mut registration = registrant.registry.register(&service, instance.clone());
    soon(registration.registered()).await.unwrap();
    let snapshot = shows(&mut watch, |snapshot| snapshot.len() == 1).await;
    let member = snapshot.get(registration.id()).unwrap();
    assert_eq!(member.attributes(), instance.attributes());
    assert_eq!((member.host(), member.port()), ("10.0.0.1", 80));
    let once = soon(reader.registry.lookup(&service)).await.unwrap();
    assert_eq!(snapshot.diff(&once).count(), 0, "a look-up and a watch say the same");
    assert!(soon(reader.registry.services()).await.unwrap().contains(&service));
}

pub(super) async fn a_withdrawn_instance_is_gone(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    assert_eq!(pair.registration.withdraw(SOON).await, Withdrawn::Confirmed);
    let snapshot = shows(&mut pair.watch, Snapshot::is_empty).await;
    assert_eq!(snapshot.freshness(), Freshness::Live, "nobody doubts it");
    assert_eq!(snapshot.suspects().len(), 0);
    assert!(soon(pair.reader.registry.lookup(&pair.service)).await.unwrap().is_empty());
}

pub(super) async fn a_dropped_registration_is_gone(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    drop(pair.registration);
    shows(&mut pair.watch, Snapshot::is_empty).await;
}

pub(super) async fn an_update_is_no_membership_event(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    let (before, old) = (pair.watch.current().clone(), pair.shown());
    let update = pair.registration.update(|attributes| attributes.status = Status::Draining);
    let zxid = soon(update).await.unwrap();
    let after = soon(pair.watch.wait_for(zxid)).await.unwrap().clone();
    assert!(matches!(&*before.diff(&after).collect::<Vec<_>>(), [Change::Updated { .. }]));
    let new = pair.shown();
    assert_eq!(new.status(), Status::Draining);
    assert_eq!((new.created(), new.incarnation()), (old.created(), old.incarnation()), "the same life");
    assert!(new.modified() > old.modified());
}

pub(super) async fn a_short_cut_writes_nothing(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    let old = pair.shown();
    for _ in 0..3 {
        pair.registrant.network.cut().await;
        pair.registrant.connection(|state| matches!(state, ConnectionState::Suspended)).await;
        pair.registrant.network.heal().await;
        pair.registrant.connection(|state| matches!(state, ConnectionState::Connected { .. })).await;
        let zxid = soon(pair.registration.registered()).await.unwrap();
        assert_eq!(zxid, old.modified(), "it is the same registration");
    }
    let now = soon(pair.reader.registry.lookup(&pair.service)).await.unwrap();
    assert_eq!(now.get(&old.id).map(|member| &**member), Some(&old));
}

pub(super) async fn a_lost_session_registers_again(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    let old = pair.shown();
    pair.registrant.network.expire().await;
    shows(&mut pair.watch, |snapshot| {
        snapshot.get(&old.id).is_some_and(|new| new.session() != old.session())
    })
    .await;
    let new = pair.shown();
    assert!(new.created() > old.created());
    assert_eq!(new.incarnation(), old.incarnation(), "the process goes on");
    soon(pair.registration.registered()).await.unwrap();
}

pub(super) async fn who_stays_away_past_his_session_is_unlisted_and_comes_back(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    pair.registrant.network.cut().await;
    let gone = shows(&mut pair.watch, Snapshot::is_empty).await;
    assert_eq!(gone.freshness(), Freshness::Live, "the reader hears ZooKeeper all the while");
    pair.registrant.network.heal().await;
    shows(&mut pair.watch, |snapshot| snapshot.len() == 1).await;
}

pub(super) async fn a_second_registry_with_the_same_id_waits_for_the_first(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    let first = pair.shown();
    let other = world.process().await;
    let mut second = other.registry.register(&pair.service, Instance::new("10.0.0.1", 80));
    let conflict = |state: &RegistrationState| matches!(state, RegistrationState::Conflict { .. });
    soon(second.states().wait_for(conflict)).await.unwrap();
    assert_eq!(pair.shown(), first, "nothing of the first is touched");
    assert_eq!(pair.registration.withdraw(SOON).await, Withdrawn::Confirmed);
    soon(second.registered()).await.unwrap();
    let snapshot = shows(&mut pair.watch, |snapshot| {
        snapshot.get(&first.id).is_some_and(|new| new.created() > first.created())
    })
    .await;
    assert_ne!(snapshot.get(&first.id).unwrap().incarnation(), first.incarnation(), "another process");
}

pub(super) async fn an_instance_that_an_operator_deleted_is_back(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    // Who watches what it registers learns of it at once.
    let mut own = pair.registrant.registry.watch(&pair.service);
    soon(own.live()).await.unwrap();
    let old = pair.shown();
    world.delete(&format!("/services/{}/{}", pair.service, old.id)).await;
    shows(&mut pair.watch, |snapshot| snapshot.get(&old.id).is_some_and(|new| new.created() > old.created()))
        .await;
}

pub(super) async fn a_closed_registry_leaves_nothing_behind(world: &dyn World) {
    let mut pair = Pair::new(world).await;
    let mut second = pair.registrant.registry.register(&pair.service, Instance::new("10.0.0.2", 80));
    soon(second.registered()).await.unwrap();
    shows(&mut pair.watch, |snapshot| snapshot.len() == 2).await;
    assert_eq!(pair.registrant.registry.close(SOON).await, Withdrawn::Confirmed);
    assert!(soon(pair.reader.registry.lookup(&pair.service)).await.unwrap().is_empty());
    shows(&mut pair.watch, Snapshot::is_empty).await;
}
