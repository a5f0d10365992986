//! One registration in several sources, over ZooKeeper in memory.

use std::time::Duration;

use super::time;
use crate::format::named;
use crate::instance::{Instance, Status};
use crate::options::{Options, Source, SourceUse};
use crate::registration::{ForeignWrites, RegistrationState};
use crate::resolve::Resolve as _;
use crate::testing::Registry;
use crate::withdrawn::Withdrawn;

const CURATOR: &str = "/services/time/10.0.0.1:80";
const SPRING: &str = "/spring/time/10.0.0.1:80";

fn source(base: &str, format: &str) -> Source {
    Source::new(base.parse().unwrap(), named(format).unwrap())
}

fn both() -> Options {
    Options::default().with_source(source("/spring", "spring"))
}

fn instance() -> Instance {
    Instance::new("10.0.0.1", 80)
}

fn record(world: &Registry, path: &str) -> Option<String> {
    world.data(path).map(|data| String::from_utf8(data).unwrap())
}

#[tokio::test(start_paused = true)]
async fn it_stands_in_each_source_and_is_updated_and_withdrawn_in_all() {
    let world = Registry::with(both(), 1);
    let mut watch = world.watch(&time());
    watch.live().await.unwrap();
    let mut registration = world.register(&time(), instance());
    let zxid = registration.registered().await.unwrap();
    assert_eq!(watch.wait_for(zxid).await.unwrap().len(), 1);
    assert!(registration.paths().eq([CURATOR, SPRING]) && registration.path() == CURATOR);
    assert!(registration.token().is_some());
    registration.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    assert!(record(&world, CURATOR).unwrap().contains("\"enabled\":false"));
    assert!(record(&world, SPRING).unwrap().contains("OUT_OF_SERVICE"));
    world.expire_session();
    let mut states = registration.states();
    states.wait_for(|state| !matches!(state, RegistrationState::Registered { .. })).await.unwrap();
    registration.registered().await.unwrap();
    assert!(record(&world, CURATOR).is_some() && record(&world, SPRING).is_some());
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    assert_eq!((record(&world, CURATOR), record(&world, SPRING)), (None, None));
    let over =
        states.wait_for(|state| matches!(state, RegistrationState::Withdrawn(_))).await.unwrap().clone();
    assert_eq!(over, RegistrationState::Withdrawn(Withdrawn::Confirmed));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_guard_withdraws_from_all() {
    let world = Registry::with(both(), 1);
    let mut registration = world.register(&time(), instance());
    registration.registered().await.unwrap();
    drop(registration);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((record(&world, CURATOR), record(&world, SPRING)), (None, None));
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_changes_in_one_source_is_carried_to_the_others() {
    let world = Registry::with(both(), 1);
    let mut registration = world.register(&time(), instance());
    registration.registered().await.unwrap();
    let mut watch = world.watch(&time());
    watch.live().await.unwrap();
    let drained = record(&world, SPRING).unwrap().replace("\"UP\"", "\"OUT_OF_SERVICE\"");
    world.put(SPRING, drained.as_bytes());
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if record(&world, CURATOR).unwrap().contains("draining") {
            assert_eq!(registration.attributes().status, Status::Draining);
            assert_eq!(registration.foreign_writes(), ForeignWrites { adopted: 1, written_over: 0 });
            return;
        }
    }
    panic!("{:?}", record(&world, CURATOR));
}

#[tokio::test(start_paused = true)]
async fn what_one_source_cannot_carry_is_refused_before_anything_is_written() {
    let options = Options::default().with_source(source("/plain", "plain"));
    let world = Registry::with(options, 1);
    let mut registration = world.register(&time(), instance().with_zone("a"));
    let error = registration.registered().await.unwrap_err();
    assert!(error.to_string().contains("plain cannot carry a zone"), "{error}");
    assert_eq!(registration.paths().len(), 0);
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    assert_eq!(record(&world, CURATOR), None);
    let mut registration = world.register(&time(), instance());
    registration.registered().await.unwrap();
    let error = registration.update(|attributes| attributes.zone = Some("a".to_owned())).await.unwrap_err();
    assert!(error.to_string().contains("plain cannot carry a zone"), "{error}");
    assert_eq!(registration.attributes().zone, None);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_only_read_is_not_written_and_two_need_two_nodes() {
    let only_read = source("/spring", "spring").with_usage(SourceUse::Read);
    let world = Registry::with(Options::default().with_source(only_read), 1);
    let mut registration = world.register(&time(), instance());
    registration.registered().await.unwrap();
    assert_eq!(record(&world, SPRING), None);
    let world = Registry::with(Options::default().with_source(source("/services", "spring")), 1);
    let error = world.register(&time(), instance()).registered().await.unwrap_err();
    assert!(error.to_string().contains("curator and spring have one node"), "{error}");
    let world = Registry::with(Options::default().with_source(source("/services", "dubbo")), 1);
    world.register(&time(), instance()).registered().await.unwrap();
}
