//! Whose instances stand beside ours on a real ZooKeeper: a registration that their readers would not survive is refused.

use integration_tests::peers;
use integration_tests::raw::CreateMode;
use integration_tests::registries::{options, time};
use integration_tests::time_servers::{SERVICE, SOON, one_listener, registered};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::format::named;
use zk_registry::{ErrorKind, Instance, Mixing, Registry};

/// What Dubbo 3 and Spring Cloud wrote, by their payload's class.
const DUBBO: &str =
    include_str!("../../../crates/zk-registry/src/format/fixtures/dubbo-app/dubbo-app-local.json");
const SPRING: &str = include_str!("../../../crates/zk-registry/src/format/fixtures/spring/spring-up.json");

/// A chroot in which an instance of another fleet stands under the service's node.
async fn beside(name: &str, record: &str) -> Chroot {
    let chroot = ZooKeeper::shared().chroot(name).await;
    let raw = chroot.raw().await;
    raw.mkdir(SERVICE).await.unwrap();
    raw.create(&format!("{SERVICE}/theirs"), record.as_bytes(), CreateMode::Persistent).await.unwrap();
    chroot
}

fn registry(chroot: &Chroot, format: &str, mixing: Mixing) -> Registry {
    let options = options().with_format(named(format).unwrap()).with_mixing(mixing);
    Registry::open(chroot.connect_string().parse().unwrap(), options)
}

async fn names(chroot: &Chroot) -> Vec<String> {
    let mut names = chroot.raw().await.list(SERVICE).await.unwrap().unwrap();
    names.sort();
    names
}

#[tokio::test]
async fn beside_dubbos_instances_a_registration_is_refused_unless_it_is_allowed() {
    let chroot = beside("beside-dubbo", DUBBO).await;
    for format in ["curator", "curator-strict", "spring"] {
        let refusing = registry(&chroot, format, Mixing::Refuse);
        let mut refused = refusing.register(&time(), Instance::new("10.0.0.1", 80));
        let error = refused.registered().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{format}: {error}");
        assert!(error.to_string().contains("Dubbo's readers lose all"), "{format}: {error}");
        assert_eq!(names(&chroot).await, ["theirs"], "{format}: nothing was written");
        let allowing = registry(&chroot, format, Mixing::Allow);
        let mut allowed = allowing.register(&time(), Instance::new("10.0.0.1", 80));
        allowed.registered().await.unwrap();
        assert_eq!(names(&chroot).await, ["10.0.0.1:80", "theirs"], "{format}");
        allowing.close(SOON).await;
    }
}

#[tokio::test]
async fn time_server_ends_with_the_reason_beside_dubbo_and_stands_with_allow_mixed() {
    let chroot = beside("server-beside-dubbo", DUBBO).await;
    let server = one_listener(&chroot).start();
    let line = server.logs("time-server: cannot register", SOON).await.text;
    assert!(line.contains("Dubbo's readers lose all") && line.contains("--allow-mixed"), "{line}");
    assert_eq!(server.exit(SOON).await.code(), Some(2));
    assert_eq!(names(&chroot).await, ["theirs"]);
    let server = one_listener(&chroot).arg("--allow-mixed").start();
    registered(&server, 1).await;
}

#[tokio::test]
async fn beside_springs_instances_curator_warns_and_stands() {
    let chroot = beside("beside-spring", SPRING).await;
    let server = one_listener(&chroot).start();
    registered(&server, 1).await;
    let line = server.logs("the directory has instances of another format", SOON).await.text;
    assert!(line.contains("WARN") && line.contains(SERVICE) && line.contains("curator"), "{line}");
    let spring = one_listener(&chroot).args(["--format", "spring"]).start();
    registered(&spring, 1).await;
    assert!(spring.stderr().containing("instances of another format").is_empty(), "its own kind");
}

/// Curator's reader with Dubbo's payload, as Dubbo's is, loses every instance on one record with another: that is what is refused.
#[tokio::test]
async fn a_record_of_springs_costs_dubbos_reader_every_instance() {
    let Some(dubbo) = peers::dubbo_app() else { return };
    let chroot = beside("dubbo-loses", DUBBO).await;
    let reader = dubbo.args(["watch", &chroot.connect_string(), "/services", "time"]).start();
    reader.says("query [10.0.0.1:20880]", SOON).await;
    let allowing = registry(&chroot, "spring", Mixing::Allow);
    let mut allowed = allowing.register(&time(), Instance::new("10.0.0.9", 80));
    allowed.registered().await.unwrap();
    reader.says("query lost: InvalidTypeIdException", SOON).await;
    drop(allowed);
    allowing.close(SOON).await;
    reader.stdout().nth("Curator", 2, "query [10.0.0.1:20880]", SOON).await;
}
