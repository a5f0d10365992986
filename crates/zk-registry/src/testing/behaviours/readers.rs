//! What a process that watches a service relies on.

use tokio::time::Instant;

use super::*;
use crate::instance::Instance;
use crate::resolve::Resolve;
use crate::withdrawn::Withdrawn;

pub(super) async fn waiting_for_a_write_shows_it(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut watch = reader.registry.watch(&service);
    for port in 1..=20 {
        let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", port));
        let zxid = soon(registration.registered()).await.unwrap();
        let snapshot = soon(watch.wait_for(zxid)).await.unwrap();
        assert!(snapshot.get(registration.id()).is_some(), "port {port}");
        let zxid =
            soon(registration.update(|attributes| attributes.zone = Some("b".to_owned()))).await.unwrap();
        let snapshot = soon(watch.wait_for(zxid)).await.unwrap();
        assert_eq!(snapshot.get(registration.id()).unwrap().zone(), Some("b"), "port {port}");
        assert!(snapshot.watermark() >= zxid);
    }
}

pub(super) async fn a_service_that_nobody_created_is_live_and_empty_and_fills(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut watch = reader.registry.watch(&service);
    assert_eq!(watch.current().freshness(), Freshness::Pending, "nothing is known before it was asked for");
    assert!(soon(watch.live()).await.unwrap().is_empty());
    let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
    soon(registration.registered()).await.unwrap();
    let snapshot = shows(&mut watch, |snapshot| snapshot.len() == 1).await;
    assert_eq!(snapshot.freshness(), Freshness::Live);
}

pub(super) async fn an_outage_keeps_the_instances_and_says_since_when(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
    let zxid = soon(registration.registered()).await.unwrap();
    let mut watch = reader.registry.watch(&service);
    soon(watch.wait_for(zxid)).await.unwrap();
    let before = shows(&mut watch, |snapshot| snapshot.freshness() == Freshness::Live).await;
    reader.network.cut().await;
    let cut = Instant::now();
    let stale = shows(&mut watch, is_stale).await;
    assert!(matches!(stale.freshness(), Freshness::Stale { since } if since <= cut));
    // Also when the session is given up.
    reader.connection(|state| matches!(state, ConnectionState::Connecting { .. })).await;
    assert!(is_stale(watch.current()));
    assert_eq!(before.diff(watch.current()).count(), 0, "not one is lost");
    reader.network.heal().await;
    assert_eq!(soon(watch.live()).await.unwrap().len(), 1);
}

pub(super) async fn what_changed_during_an_outage_is_seen_after_it(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut first = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
    let zxid = soon(first.registered()).await.unwrap();
    let mut watch = reader.registry.watch(&service);
    assert_eq!(soon(watch.wait_for(zxid)).await.unwrap().len(), 1);
    reader.network.cut().await;
    shows(&mut watch, is_stale).await;
    // As many as before, and the same id in another life.
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Confirmed);
    let mut second = registrant.registry.register(&service, Instance::new("10.0.0.1", 80).with_zone("b"));
    let zxid = soon(second.registered()).await.unwrap();
    reader.network.heal().await;
    let snapshot = soon(watch.wait_for(zxid)).await.unwrap();
    assert_eq!(snapshot.get(second.id()).unwrap().zone(), Some("b"));
    // What comes later is told by events again.
    assert_eq!(second.withdraw(SOON).await, Withdrawn::Confirmed);
    shows(&mut watch, Snapshot::is_empty).await;
}

pub(super) async fn a_malformed_child_is_rejected_and_its_neighbours_are_served(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
    soon(registration.registered()).await.unwrap();
    let path = format!("/services/{service}/broken");
    world.put(&path, b"{\"name\":").await;
    let mut watch = reader.registry.watch(&service);
    let snapshot = shows(&mut watch, |snapshot| !snapshot.rejected().is_empty()).await;
    assert_eq!(snapshot.len(), 1);
    let [rejected] = snapshot.rejected() else { panic!("{:?}", snapshot.rejected()) };
    assert_eq!(rejected.id, "broken");
    assert!(!rejected.reason.is_empty());
    world.put(&path, b"{\"address\":\"10.0.0.2\",\"port\":80}").await;
    let repaired = shows(&mut watch, |snapshot| snapshot.len() == 2).await;
    assert!(repaired.rejected().is_empty());
}

pub(super) async fn which_services_exist_is_seen_beside_a_watch_of_one_of_them(world: &dyn World) {
    let (registrant, reader, service) = (world.process().await, world.process().await, world.service());
    let mut watch = reader.registry.watch(&service);
    let mut services = reader.registry.watch_services();
    soon(services.live()).await.unwrap();
    for _ in 0..2 {
        let mut registration = registrant.registry.register(&service, Instance::new("10.0.0.1", 80));
        soon(registration.registered()).await.unwrap();
        while !services.current().contains(&service) {
            soon(services.changed()).await.unwrap();
        }
        shows(&mut watch, |snapshot| snapshot.len() == 1).await;
        assert_eq!(soon(registration.withdraw(SOON)).await, Withdrawn::Confirmed);
        while services.current().contains(&service) {
            soon(services.changed()).await.unwrap();
        }
        shows(&mut watch, |snapshot| snapshot.is_empty()).await;
        // The next round is one after a reconnect.
        reader.network.cut().await;
        reader.connection(|state| !matches!(state, ConnectionState::Connected { .. })).await;
        reader.network.heal().await;
        soon(services.live()).await.unwrap();
        soon(watch.live()).await.unwrap();
    }
}
