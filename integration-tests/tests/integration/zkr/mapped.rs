//! An interface of Dubbo 3 that stands under the applications which a mapping lists: every subcommand finds it where `zkr list` does.

use integration_tests::process::{Program, Signal};
use integration_tests::raw::CreateMode;
use integration_tests::time_clients::ends_with;
use integration_tests::time_servers::SOON;

use super::{World, dead};

const INTERFACE: &str = "com.foo.Bar";
const FLAGS: &str = "--format dubbo-app:mapping=/dubbo/mapping";

/// An interface with two applications, one of which has an instance that answers and the other one that is dead.
async fn world() -> (World, std::net::TcpListener, [String; 2]) {
    let world = World::new(0).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (live, dead) = (listener.local_addr().unwrap().to_string(), dead().to_string());
    for path in ["/dubbo", "/dubbo/mapping", "/services", "/services/shop", "/services/till"] {
        world.raw.create(path, b"", CreateMode::Persistent).await.unwrap();
    }
    let put = async |path: String, data: String| {
        world.raw.create(&path, data.as_bytes(), CreateMode::Persistent).await.unwrap();
    };
    put(format!("/dubbo/mapping/{INTERFACE}"), "shop,till".to_owned()).await;
    for (application, address) in [("shop", &live), ("till", &dead)] {
        let port = address.rsplit_once(':').unwrap().1;
        let record = format!(
            r#"{{"name":"{application}","id":"{address}","address":"127.0.0.1","port":{port},"payload":{{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"{address}","name":"{application}","metadata":{{"dubbo.metadata.revision":"9b60"}}}}}}"#
        );
        put(format!("/services/{application}/{address}"), record).await;
    }
    (world, listener, [live, dead])
}

#[tokio::test]
async fn an_interface_is_found_under_its_applications_by_every_subcommand() {
    let (world, _listener, [live, dead]) = world().await;
    let listed = world.run(&format!("list {INTERFACE} {FLAGS}"), 0).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    let explained = &world.run(&format!("explain {INTERFACE} {dead} {FLAGS}"), 0).await[0];
    assert_eq!(explained["path"], format!("/services/till/{dead}"), "{explained}");
    let none = world.refused(&format!("explain {INTERFACE} nobody {FLAGS}"), 1).await;
    assert!(none.contains(&live) && none.contains(&dead), "{none}");
    let findings = world.run(&format!("doctor {INTERFACE} {FLAGS}"), 2).await;
    let has = |text: &str| findings.iter().any(|one| one["what"].as_str().unwrap().contains(text));
    assert!(!has("no such node") && has(&format!("{dead} does not answer")), "{findings:?}");
    assert!(has("may write /services/shop") && has("may write /services/till"), "{findings:?}");
    world.run(&format!("wait {INTERFACE} --for up={live} --for count=2 {FLAGS}"), 0).await;
    let against = world.chroot.connect_string();
    world.run(&format!("diff {INTERFACE} --against {against} {FLAGS}"), 0).await;
    let watch = world.start(&format!("watch {INTERFACE} {FLAGS}"));
    watch.says("2 instances", SOON).await;
    world.run(&format!("evict {INTERFACE} {dead} {FLAGS}"), 0).await;
    watch.says("\"down\"", SOON).await;
    watch.signal(Signal::SIGTERM);
    ends_with(&watch, 0).await;
    assert_eq!(world.raw.list("/services/till").await.unwrap().unwrap(), [""; 0]);
    assert!(world.refused(&format!("evict {INTERFACE} {live} {FLAGS}"), 1).await.contains("answers"));
}

#[tokio::test]
async fn a_change_of_an_interface_that_is_only_read_is_wrong_usage_which_names_what_is_accepted() {
    let (world, _listener, [live, _]) = world().await;
    for change in ["drain", "undrain"] {
        let said = world.refused(&format!("{change} {INTERFACE} {live} {FLAGS}"), 2).await;
        assert!(said.contains("--format: dubbo-app:mapping=/dubbo/mapping: it is only read"), "{said}");
        assert!(said.contains("it can be done in curator, dubbo, spring"), "{said}");
    }
    let said = world.refused(&format!("weight {INTERFACE} {live} 3 {FLAGS}"), 2).await;
    assert!(said.contains("it can be done in curator, dubbo, kitex"), "{said}");
    // That is known without ZooKeeper.
    let away = ["drain", INTERFACE, "a:1", "--format", "dubbo-app", "--zookeeper", "127.0.0.1:1"];
    ends_with(&Program::zkr().args(away).start(), 2).await;
    let shown = world.refused("list a/b --format dubbo", 2).await;
    assert!(shown.contains("--format: dubbo: a service is an interface"), "{shown}");
}
