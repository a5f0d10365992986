//! Instances that drain in a format which cannot say so, over ZooKeeper in memory.

use std::time::Duration;

use super::time;
use crate::format::named;
use crate::instance::{Attributes, Instance, Status};
use crate::options::{Options, Source};
use crate::registration::{Registration, RegistrationState};
use crate::testing::Registry;
use crate::withdrawn::Withdrawn;

const NODE: &str = "/services/time/10.0.0.1:80";
const SOON: Duration = Duration::from_secs(5);

fn world() -> Registry {
    Registry::with(Options::default().with_format(named("plain").unwrap()), 1)
}

async fn set(registration: &Registration, status: Status) {
    registration.update(|attributes| attributes.status = status).await.unwrap();
}

fn is_drained(registration: &Registration) -> bool {
    matches!(*registration.states().borrow(), RegistrationState::Drained { .. })
}

#[tokio::test(start_paused = true)]
async fn the_node_goes_while_it_drains_and_comes_back() {
    let world = world();
    let mut registration = world.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    let token = registration.token().unwrap();
    for _ in 0..3 {
        set(&registration, Status::Draining).await;
        assert_eq!((world.data(NODE), registration.token()), (None, None));
        assert!(is_drained(&registration));
        assert_eq!((world.stats().registrations.drained, world.stats().registrations.registered), (1, 0));
        registration.registered().await.unwrap();
        set(&registration, Status::Up).await;
        assert!(world.data(NODE).is_some() && registration.token().unwrap() > token);
    }
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
}

#[tokio::test(start_paused = true)]
async fn one_that_begins_draining_writes_nothing_until_it_is_up() {
    let world = world();
    let draining = Attributes { status: Status::Draining, ..Attributes::default() };
    let instance = Instance::new("10.0.0.1", 80).with_attributes(draining);
    let mut registration = world.register(&time(), instance);
    registration.registered().await.unwrap();
    world.expire_session();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.data("/services"), None);
    assert!(is_drained(&registration));
    set(&registration, Status::Up).await;
    assert!(world.data(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn it_is_withdrawn_while_it_drains_and_another_one_can_have_the_place() {
    let world = world();
    let mut registration = world.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    set(&registration, Status::Draining).await;
    assert_eq!(registration.withdraw(SOON).await, Withdrawn::Confirmed);
    let mut next = world.register(&time(), Instance::new("10.0.0.1", 80));
    next.registered().await.unwrap();
    set(&next, Status::Draining).await;
    drop(next);
    let mut last = world.register(&time(), Instance::new("10.0.0.1", 80));
    last.registered().await.unwrap();
    assert!(world.data(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_lost_sessions_change_nothing_in_the_end() {
    for expires in [false, true] {
        let world = world();
        let mut registration = world.register(&time(), Instance::new("10.0.0.1", 80));
        registration.registered().await.unwrap();
        for status in [Status::Draining, Status::Up, Status::Draining, Status::Up] {
            world.lose_next_reply();
            let update = registration.update(|attributes| attributes.status = status);
            if expires {
                world.expire_session();
            }
            update.await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
            let (is_there, is_up) = (world.data(NODE).is_some(), status == Status::Up);
            assert_eq!(is_there, is_up, "{expires}");
            assert_eq!(is_drained(&registration), !is_up, "{expires}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn beside_a_format_that_can_say_it_only_the_other_node_goes() {
    let further = Source::new("/spring".parse().unwrap(), named("spring").unwrap());
    let options = Options::default().with_format(named("plain").unwrap()).with_source(further);
    let world = Registry::with(options, 1);
    let mut registration = world.register(&time(), Instance::new("10.0.0.1", 80));
    registration.registered().await.unwrap();
    set(&registration, Status::Draining).await;
    let spring = String::from_utf8(world.data("/spring/time/10.0.0.1:80").unwrap()).unwrap();
    assert!(spring.contains("OUT_OF_SERVICE"), "{spring}");
    assert_eq!(world.data(NODE), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(*registration.states().borrow(), RegistrationState::Registered { .. }));
    set(&registration, Status::Up).await;
    assert!(world.data(NODE).is_some());
}
