//! Whose instances stand beside a registration, over ZooKeeper in memory.

use std::time::Duration;

use super::time;
use crate::format::named;
use crate::instance::{Instance, Status};
use crate::options::{Mixing, Options};
use crate::registration::Registration;
use crate::testing::Registry;

/// A record with a payload of this class.
fn record(class: &str) -> String {
    format!(
        r#"{{"name":"time","id":"x","address":"10.0.0.9","port":80,"payload":{{"@class":"{class}.ZookeeperInstance","metadata":{{}}}}}}"#
    )
}

const DUBBO: &str = "org.apache.dubbo.registry.zookeeper";
const SPRING: &str = "org.springframework.cloud.zookeeper.discovery";

fn world(format: &str, mixing: Mixing, class: &str) -> Registry {
    let options = Options::default().with_format(named(format).unwrap()).with_mixing(mixing);
    let world = Registry::with(options, 1);
    world.put("/services/time/x", record(class).as_bytes());
    world
}

fn register(world: &Registry) -> Registration {
    world.register(&time(), Instance::new("10.0.0.1", 80))
}

const OURS: &str = "/services/time/10.0.0.1:80";

#[tokio::test(start_paused = true)]
async fn a_registration_that_would_break_dubbos_readers_is_refused_unless_it_is_allowed() {
    for format in ["curator", "curator-strict", "spring"] {
        let world = world(format, Mixing::Refuse, DUBBO);
        let error = register(&world).registered().await.unwrap_err();
        assert!(error.to_string().contains("Dubbo's readers lose all"), "{format}: {error}");
        assert_eq!(world.data(OURS), None, "{format}");
        let mut registration = register(&world);
        assert!(registration.registered().await.is_err(), "{format}: what is known is not asked again");
    }
    for (format, mixing) in [("curator", Mixing::Allow), ("kitex", Mixing::Refuse), ("plain", Mixing::Refuse)]
    {
        let world = world(format, mixing, DUBBO);
        register(&world).registered().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn beside_springs_and_curators_it_stands() {
    for class in [SPRING, "com.example"] {
        let world = world("curator", Mixing::Refuse, class);
        register(&world).registered().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_and_a_withdrawal_meanwhile_leaves_nothing() {
    let world = world("curator", Mixing::Refuse, DUBBO);
    world.connected().await.unwrap();
    world.lose_next_reply();
    assert!(register(&world).registered().await.is_err());
    let world = self::world("curator", Mixing::Refuse, SPRING);
    world.connected().await.unwrap();
    world.delay(Duration::from_millis(50));
    let registration = register(&world);
    tokio::time::sleep(Duration::from_millis(20)).await;
    registration.withdraw(Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.data(OURS), None);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_drains_before_a_look_is_answered_makes_no_directory() {
    let options = Options::default().with_format(named("curator-strict").unwrap());
    let world = Registry::with(options, 1);
    world.connected().await.unwrap();
    world.delay(Duration::from_millis(50));
    let registration = register(&world);
    tokio::time::sleep(Duration::from_millis(20)).await;
    registration.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.data("/services/time"), None);
}

#[tokio::test(start_paused = true)]
async fn a_large_directory_is_not_listed() {
    let world = world("curator", Mixing::Refuse, DUBBO);
    for n in 0..1_000 {
        world.put(&format!("/services/time/y{n}"), record(DUBBO).as_bytes());
    }
    register(&world).registered().await.unwrap();
}

/// How many round trips a first registration takes, over a connection that there is.
async fn round_trips(format: &str, prepare: impl Fn(&Registry)) -> u32 {
    const ROUND_TRIP: Duration = Duration::from_secs(1);
    let options = Options::default().with_format(named(format).unwrap());
    let world = Registry::with(options.with_session_timeout(Duration::from_secs(60)), 1);
    prepare(&world);
    world.connected().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.delay(ROUND_TRIP);
    let began = tokio::time::Instant::now();
    register(&world).registered().await.unwrap();
    (began.elapsed().as_secs_f64() / ROUND_TRIP.as_secs_f64()).round() as u32
}

#[tokio::test(start_paused = true)]
async fn a_first_registration_takes_few_round_trips() {
    let nothing = |_: &Registry| {};
    let parents = |world: &Registry| world.put("/services/time", b"");
    let neighbour = |world: &Registry| world.put("/services/time/x", record("com.example").as_bytes());
    // Whose readers a record of ours could disturb is asked once in a directory: whether there are children, which, and what they say.
    for (format, expected) in [("curator", [2, 2, 4]), ("spring", [2, 2, 4]), ("kitex", [2, 1, 1])] {
        let measured = [
            round_trips(format, nothing).await,
            round_trips(format, parents).await,
            round_trips(format, neighbour).await,
        ];
        assert_eq!(
            measured, expected,
            "{format}: into nothing, into an empty directory, beside another instance"
        );
    }
}
