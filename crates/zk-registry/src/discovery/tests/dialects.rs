//! Every dialect, from a registration to a snapshot and back, over ZooKeeper in memory.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::format::{Format, named};
use crate::instance::{Instance, ServiceName, Status};
use crate::options::Options;
use crate::registration::RegistrationState;
use crate::resolve::{Resolve as _, ServiceWatch};
use crate::snapshot::{Freshness, Snapshot};
use crate::testing::Registry;
use crate::testing::dialects::WRITTEN_DIALECTS;

fn service() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

fn options(format: &str) -> Options {
    let format: Arc<dyn Format> = named(format).unwrap();
    Options::default().with_format(format)
}

fn world(format: &str) -> (Registry, Registry) {
    let server = Registry::with(options(format), 1);
    let client = server.sibling_with(options(format));
    (server, client)
}

pub(super) async fn until(watch: &mut ServiceWatch, enough: impl Fn(&Snapshot) -> bool) -> Snapshot {
    let wait = async {
        loop {
            if enough(watch.current()) {
                return watch.current().clone();
            }
            watch.changed().await.unwrap();
        }
    };
    let last = timeout(Duration::from_secs(30), wait).await;
    last.unwrap_or_else(|_| panic!("{:?}", watch.current()))
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_registered_read_drained_and_withdrawn() {
    for (format, drains) in WRITTEN_DIALECTS {
        let (server, client) = world(format);
        let mut watch = client.watch(&service());
        assert!(watch.live().await.unwrap().is_empty(), "{format}");
        let mut registration = server.register(&service(), Instance::new("10.0.0.1", 80));
        let zxid = registration.registered().await.unwrap_or_else(|error| panic!("{format}: {error}"));
        let seen = watch.wait_for(zxid).await.unwrap();
        assert_eq!(seen.instances().next().unwrap().address(), "10.0.0.1:80", "{format}");
        assert!(seen.rejected().is_empty() && seen.watermark() >= zxid, "{format}: {seen:?}");
        assert_eq!(client.services().await.unwrap(), [service()], "{format}");
        assert_eq!(client.lookup(&service()).await.unwrap().len(), 1, "{format}");
        let drained = registration.update(|attributes| attributes.status = Status::Draining).await;
        assert!(drained.is_ok(), "{format}: {drained:?}");
        if !drains {
            until(&mut watch, Snapshot::is_empty).await;
            let drained = |state: &RegistrationState| matches!(state, RegistrationState::Drained { .. });
            assert!(drained(&registration.states().borrow()), "{format}");
            server.expire_session();
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(drained(&registration.states().borrow()) && watch.current().is_empty(), "{format}");
            let up = registration.update(|attributes| attributes.status = Status::Up).await.unwrap();
            assert_eq!(watch.wait_for(up).await.unwrap().len(), 1, "{format}: it is back");
        } else {
            until(&mut watch, |snapshot| {
                assert_eq!(snapshot.len(), 1, "{format}: there was a gap");
                snapshot.instances().all(|member| member.status() == Status::Draining)
            })
            .await;
            registration.update(|attributes| attributes.status = Status::Up).await.unwrap();
            until(&mut watch, |snapshot| snapshot.instances().any(|member| member.status() == Status::Up))
                .await;
        }
        registration.withdraw(Duration::from_secs(5)).await;
        let last = until(&mut watch, Snapshot::is_empty).await;
        assert_eq!((last.suspects().len(), last.shadows()), (0, 0), "{format}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_answer_is_lost_leaves_one_node() {
    for format in ["dubbo", "motan", "nerve"] {
        for lost in [true, false] {
            let (server, client) = world(format);
            let mut registration = server.register(&service(), Instance::new("10.0.0.1", 80));
            registration.registered().await.unwrap();
            let mut watch = client.watch(&service());
            watch.live().await.unwrap();
            if lost {
                server.lose_next_reply();
            }
            let zxid = registration.update(|attributes| attributes.status = Status::Draining).await.unwrap();
            let seen = watch.wait_for(zxid).await.unwrap().clone();
            assert_eq!((seen.len(), seen.shadows()), (1, 0), "{format} {lost}");
            assert_eq!(seen.instances().next().unwrap().status(), Status::Draining, "{format} {lost}");
            server.expire_session();
            until(&mut watch, Snapshot::is_empty).await;
            let back = until(&mut watch, |snapshot| !snapshot.is_empty()).await;
            assert_eq!(back.instances().next().unwrap().status(), Status::Draining, "{format} {lost}");
            registration.withdraw(Duration::from_secs(5)).await;
            until(&mut watch, Snapshot::is_empty).await;
            assert!(client.services().await.unwrap().is_empty(), "{format} {lost}");
        }
    }
}

/// A format, the node of a rule that lets the instance drain, and its data.
const RULES: [(&str, &str, &str); 2] = [
    (
        "dubbo",
        "/services/com.foo.Bar/configurators/override%3A%2F%2F0.0.0.0%2Fcom.foo.Bar%3Fcategory%3Dconfigurators%26disabled%3Dtrue%26weight%3D50",
        "",
    ),
    (
        "serverset",
        "/services/com.foo.Bar/vector_1",
        r#"{"vector":[{"select":"inet=10.0.0.1:80","weight":-1.0}]}"#,
    ),
];

#[tokio::test(start_paused = true)]
async fn operators_rules_apply_to_what_a_snapshot_file_remembers() {
    for (format, rule, data) in RULES {
        let directory = tempfile::tempdir().unwrap();
        let (server, _) = world(format);
        let mut registration = server.register(&service(), Instance::new("10.0.0.1", 80));
        registration.registered().await.unwrap();
        server.put(rule, data.as_bytes());
        let with_file = || server.sibling_with(options(format).with_snapshot_dir(directory.path()));
        let client = with_file();
        let mut watch = client.watch(&service());
        let live = watch.live().await.unwrap().clone();
        assert_eq!(live.instances().next().unwrap().status(), Status::Draining, "{format}");
        drop(watch);
        (*client).clone().close(Duration::from_secs(5)).await;

        let client = with_file();
        client.disconnect();
        let mut watch = client.watch(&service());
        let cold = watch.ready().await.unwrap().clone();
        assert!(matches!(cold.freshness(), Freshness::Disk { .. }), "{format}: {cold:?}");
        let stated = |snapshot: &Snapshot| {
            let stated = snapshot.instances().map(|one| (one.address(), one.attributes().clone()));
            stated.collect::<Vec<_>>()
        };
        assert_eq!(stated(&cold), stated(&live), "{format}");
        assert!(server.delete(rule));
        client.reconnect();
        let seen = until(&mut watch, |snapshot| snapshot.freshness() == Freshness::Live).await;
        assert_eq!(
            seen.instances().next().unwrap().status(),
            Status::Up,
            "{format}: the rule went meanwhile"
        );
        drop(watch);
        (*client).clone().close(Duration::from_secs(5)).await;
        let client = with_file();
        client.disconnect();
        let mut watch = client.watch(&service());
        let cold = watch.ready().await.unwrap().clone();
        assert_eq!(
            cold.instances().next().unwrap().status(),
            Status::Up,
            "{format}: and it is remembered no more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn operators_rules_beside_the_instances_apply_and_end() {
    for (format, rule, data) in RULES {
        let (server, client) = world(format);
        let mut registration = server.register(&service(), Instance::new("10.0.0.1", 80));
        registration.registered().await.unwrap();
        let mut watch = client.watch(&service());
        assert_eq!(watch.live().await.unwrap().instances().next().unwrap().status(), Status::Up);
        server.put(rule, data.as_bytes());
        until(&mut watch, |snapshot| snapshot.instances().any(|member| member.status() == Status::Draining))
            .await;
        let seen = client.lookup(&service()).await.unwrap();
        assert_eq!(seen.instances().next().unwrap().status(), Status::Draining, "{format}");
        assert!(server.delete(rule));
        until(&mut watch, |snapshot| snapshot.instances().any(|member| member.status() == Status::Up)).await;
        client.disconnect();
        until(&mut watch, |snapshot| matches!(snapshot.freshness(), Freshness::Stale { .. })).await;
        assert_eq!(watch.current().len(), 1, "losing ZooKeeper loses no instance");
        client.reconnect();
        watch.live().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_of_one_address_the_younger_counts_and_the_older_comes_back() {
    let (server, client) = world("dubbo");
    let at = |weight: u16| {
        format!("/services/com.foo.Bar/providers/dubbo%3A%2F%2Fh%3A1%2Fcom.foo.Bar%3Fweight%3D{weight}")
    };
    server.put(&at(1), b"");
    let mut watch = client.watch(&service());
    watch.live().await.unwrap();
    server.put(&at(2), b"");
    let weight = |snapshot: &Snapshot| snapshot.instances().next().map_or(0, |member| member.weight().get());
    let seen = until(&mut watch, |snapshot| weight(snapshot) == 2).await;
    assert_eq!((seen.len(), seen.shadows(), seen.rejected().len()), (1, 1, 0));
    assert_eq!(client.lookup(&service()).await.unwrap().shadows(), 1);
    assert!(server.delete(&at(2)));
    let seen = until(&mut watch, |snapshot| weight(snapshot) == 1).await;
    assert_eq!((seen.len(), seen.shadows()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_dialect_cannot_have_ends_its_watch_with_the_reason() {
    let (server, client) = world("dubbo");
    let nested: ServiceName = "a/b".parse().unwrap();
    let mut watch = client.watch(&nested);
    let error = watch.live().await.unwrap_err();
    assert!(error.to_string().contains("one segment"), "{error}");
    assert!(client.lookup(&nested).await.is_err());
    let mut registration = server.register(&nested, Instance::new("h", 1));
    assert!(registration.registered().await.unwrap_err().to_string().contains("one segment"));
}

#[tokio::test(start_paused = true)]
async fn weights_are_ours_times_the_unit_and_come_back_as_they_stand() {
    for (format, unit) in [
        ("curator", 1),
        ("spring", 1),
        ("dubbo", 100),
        ("motan", 10),
        ("kitex", 10),
        ("kratos", 100),
        ("armeria", 1000),
    ] {
        let (server, client) = world(format);
        let weight = NonZeroU16::new(3).unwrap();
        let mut registration = server.register(&service(), Instance::new("10.0.0.1", 80).with_weight(weight));
        registration.registered().await.unwrap();
        let seen = client.lookup(&service()).await.unwrap();
        assert_eq!(seen.instances().next().unwrap().weight().get(), 3 * unit, "{format}");
    }
}
