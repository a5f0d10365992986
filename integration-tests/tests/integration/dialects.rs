//! Every dialect on a real ZooKeeper, and beside real peers where there are any.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::http_get::http_get;
use integration_tests::peers;
use integration_tests::proxy::{Direction, Proxy};
use integration_tests::raw::CreateMode;
use integration_tests::registries::options;
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::format::named;
use zk_registry::testing::internal::WRITTEN_DIALECTS;
use zk_registry::{Instance, RegistrationState, Registry, Resolve, ServiceName, Status, Withdrawn, Zxid};

const SOON: Duration = Duration::from_secs(60);

fn registry(to: &str, format: &str) -> Registry {
    Registry::open(to.parse().unwrap(), options().with_format(named(format).unwrap()))
}

fn interface() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

#[tokio::test]
async fn an_instance_of_every_dialect_is_registered_read_drained_and_withdrawn() {
    for (format, drains) in WRITTEN_DIALECTS {
        let chroot = ZooKeeper::shared().chroot(format.split(':').next().unwrap()).await;
        let to = chroot.connect_string();
        let (server, client) = (registry(&to, format), registry(&to, format));
        let mut watch = client.watch(&interface());
        watch.live().await.unwrap();
        let mut registration = server.register(&interface(), Instance::new("10.0.0.1", 80));
        let zxid = registration.registered().await.unwrap();
        let seen = watch.wait_for(zxid).await.unwrap();
        assert_eq!((seen.len(), seen.rejected().len()), (1, 0), "{format}");
        assert_eq!(client.services().await.unwrap(), [interface()], "{format}");
        let drained = registration.update(|attributes| attributes.status = Status::Draining).await;
        assert!(drained.is_ok(), "{format}: {drained:?}");
        if !drains {
            eventually(SOON, "its node is gone", async || watch.current().is_empty()).await;
            let drained = |state: &RegistrationState| matches!(state, RegistrationState::Drained { .. });
            assert!(drained(&registration.states().borrow()), "{format}");
            registration.update(|attributes| attributes.status = Status::Up).await.unwrap();
            eventually(SOON, "it is back", async || watch.current().len() == 1).await;
        } else {
            eventually(SOON, "it drains", async || {
                let now = watch.current();
                assert_eq!(now.len(), 1, "{format}: there was a gap");
                now.instances().all(|member| member.status() == Status::Draining)
            })
            .await;
        }
        assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed, "{format}");
        eventually(SOON, "it is gone", async || watch.current().is_empty()).await;
        server.close(Duration::from_secs(5)).await;
        client.close(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn spring_and_we_find_each_other() {
    let Some(spring) = peers::spring() else { return };
    let chroot = ZooKeeper::shared().chroot("spring-peer").await;
    let to = chroot.connect_string();
    let (ours, curator) = (registry(&to, "spring"), registry(&to, "curator"));
    let instance = Instance::new("2001:db8::1", 1).with_zone("a").with_metadata("k", "v");
    let mut registration = ours.register(&interface(), instance);
    registration.registered().await.unwrap();
    let reader = spring.clone().args(["watch", &to, "/services", "com.foo.Bar"]).start();
    reader.says("query [http://[2001:db8::1]:1 {instance_status=UP, k=v, zone=a}]", SOON).await;
    registration.update(|attributes| attributes.status = Status::Draining).await.unwrap();
    reader.says("query [http://[2001:db8::1]:1 {instance_status=OUT_OF_SERVICE, k=v, zone=a}]", SOON).await;
    assert_eq!(registration.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);

    let out = ["register", &to, "/services", "com.foo.Bar", "theirs", "10.0.0.2", "2", "OUT_OF_SERVICE"];
    let writer = spring.args(out).start();
    writer.says("registered", SOON).await;
    for registry in [ours, curator] {
        let mut watch = registry.watch(&interface());
        eventually(SOON, "we see it", async || watch.current().len() == 1).await;
        let theirs = watch.current().instances().next().unwrap().clone();
        assert_eq!((theirs.address().as_str(), theirs.status()), ("10.0.0.2:2", Status::Draining));
    }
}

#[tokio::test]
async fn what_dubbo_writes_for_applications_we_read() {
    let Some(dubbo) = peers::dubbo_app() else { return };
    let chroot = ZooKeeper::shared().chroot("dubbo-app-peer").await;
    let to = chroot.connect_string();
    let register = |port: &str, metadata: Vec<&str>| {
        let arguments = ["register", &to, "/services", "demo", "10.0.0.1", port];
        dubbo.clone().args(arguments).args(metadata).start()
    };
    let endpoints = r#"dubbo.endpoints=[{"port":20880,"protocol":"dubbo"},{"port":50051,"protocol":"tri"}]"#;
    let exports = register("20880", vec!["dubbo.metadata.revision=9b60", endpoints]);
    exports.says("registered", SOON).await;
    let exports_nothing = register("20881", vec!["dubbo.metadata.revision=0"]);
    exports_nothing.says("registered", SOON).await;
    for (format, address) in [("dubbo-app", "10.0.0.1:20880"), ("dubbo-app:protocol=tri", "10.0.0.1:50051")] {
        let registry = registry(&to, format);
        let mut watch = registry.watch(&"demo".parse().unwrap());
        let snapshot = watch.live().await.unwrap();
        let found: Vec<_> = snapshot.instances().map(|member| member.address()).collect();
        assert_eq!((found, snapshot.rejected().len()), (vec![address.to_owned()], 0), "{format}");
        assert_eq!(snapshot.instances().next().unwrap().metadata()["dubbo.metadata.revision"], "9b60");
    }
}

#[tokio::test]
async fn an_interface_follows_the_mapping_to_dubbos_applications() {
    let chroot = ZooKeeper::shared().chroot("dubbo-mapping").await;
    let raw = chroot.raw().await;
    let record = |application: &str, port: u16| {
        format!(
            r#"{{"name":"{application}","id":"10.0.0.1:{port}","address":"10.0.0.1","port":{port},"payload":{{"@class":"org.apache.dubbo.registry.zookeeper.ZookeeperInstance","id":"10.0.0.1:{port}","name":"{application}","metadata":{{"dubbo.metadata.revision":"9b60"}}}}}}"#
        )
    };
    for (application, port) in [("shop", 80), ("bar", 81)] {
        raw.mkdir(&format!("/services/{application}")).await.unwrap();
        let path = format!("/services/{application}/10.0.0.1:{port}");
        raw.create(&path, record(application, port).as_bytes(), CreateMode::Persistent).await.unwrap();
    }
    raw.mkdir("/dubbo/mapping").await.unwrap();
    let mapping = "/dubbo/mapping/com.foo.Bar";
    raw.create(mapping, b"shop", CreateMode::Persistent).await.unwrap();
    let reader = registry(&chroot.connect_string(), "dubbo-app:mapping=/dubbo/mapping");
    let mut watch = reader.watch(&interface());
    for (data, ports) in [("shop", vec![80]), ("shop,bar", vec![80, 81]), ("bar", vec![81])] {
        raw.set(mapping, data.as_bytes()).await.unwrap();
        eventually(SOON, "the view follows the mapping", async || {
            watch.current().instances().map(|member| member.port()).collect::<Vec<_>>() == ports
        })
        .await;
        assert_eq!(reader.lookup(&interface()).await.unwrap().len(), ports.len(), "{data}");
    }
    raw.delete(mapping).await.unwrap();
    eventually(SOON, "it has no application any more", async || watch.current().is_empty()).await;
}

#[tokio::test]
async fn a_reader_that_asks_is_listed_among_dubbos_consumers_while_it_watches() {
    let chroot = ZooKeeper::shared().chroot("listed-consumer").await;
    let (to, raw) = (chroot.connect_string(), chroot.raw().await);
    let directory = "/services/com.foo.Bar/consumers";
    let listed = async || raw.list(directory).await.unwrap().unwrap_or_default();
    let reader = registry(&to, "dubbo:version=1.0.0,consumer=shop");
    let server = registry(&to, "dubbo:version=1.0.0");
    server.register(&interface(), Instance::new("10.0.0.1", 80)).registered().await.unwrap();
    let mut watch = reader.watch(&interface());
    watch.live().await.unwrap();
    eventually(SOON, "the reader is listed", async || listed().await.len() == 1).await;
    let names = listed().await;
    let begin = "consumer%3A%2F%2F127.0.0.1%2Fcom.foo.Bar%3Fapplication%3Dshop%26category%3Dconsumers%26";
    assert!(names[0].starts_with(begin) && names[0].ends_with("%26version%3D1.0.0"), "{names:?}");
    let [of_reader, of_server] = [reader.services().await.unwrap(), server.services().await.unwrap()];
    assert_eq!(of_reader, of_server);
    assert!(watch.current().rejected().is_empty());
    drop(watch);
    eventually(SOON, "it is gone with its watch", async || listed().await.is_empty()).await;
    let again = reader.watch(&interface());
    eventually(SOON, "it is listed again", async || listed().await.len() == 1).await;
    reader.close(SOON).await;
    assert!(listed().await.is_empty());
    drop(again);
}

/// What consumers of an interface write beside its providers is neither watched nor read.
#[tokio::test]
async fn consumers_that_come_and_go_cost_a_reader_nothing() {
    let zookeeper = ZooKeeper::shared();
    let chroot = zookeeper.chroot("consumers").await;
    let raw = chroot.raw().await;
    for kind in ["providers", "consumers", "configurators", "routers"] {
        raw.mkdir(&format!("/services/com.foo.Bar/{kind}")).await.unwrap();
    }
    let proxy = Proxy::to(zookeeper.address(1)).await;
    let mut options = options().with_format(named("dubbo").unwrap());
    options.audit_interval = Duration::from_secs(3600);
    let reader = Registry::open(chroot.through(proxy.address()).parse().unwrap(), options);
    let mut watch = reader.watch(&interface());
    watch.live().await.unwrap();
    let changes = || reader.stats().services[0].changes;

    // The bytes that reach the reader until it holds all that came and went, and how many changes it counted.
    let mut churn = async |kind: &str, protocol: &str| {
        let before = (proxy.carried(Direction::ToClient), changes());
        for n in 1..=CHURN {
            let url =
                format!("{protocol}%3A%2F%2F10.0.0.1%3A{n}%2Fcom.foo.Bar%3Fcategory%3D{kind}%26pid%3D{n}");
            let path = format!("/services/com.foo.Bar/{kind}/{url}");
            raw.create(&path, b"", CreateMode::Ephemeral).await.unwrap();
            raw.delete(&path).await.unwrap();
        }
        let last = raw.set("/services", b"").await.unwrap();
        watch.wait_for(Zxid(last.mzxid)).await.unwrap();
        (proxy.carried(Direction::ToClient) - before.0, changes() - before.1)
    };
    let (bytes, changes) = churn("consumers", "consumer").await;
    // A reply of each of the two directories that are watched, and pings.
    assert!(bytes < 1_000 && changes == 0, "{bytes} bytes, {changes} changes for {CHURN} consumers");
    let (bytes, _) = churn("providers", "dubbo").await;
    assert!(
        bytes > 200 * CHURN,
        "{bytes} bytes for {CHURN} providers: those of consumers are not counted either"
    );
}

/// How many come and go.
const CHURN: u64 = 100;

#[tokio::test]
async fn java_reads_what_we_write_for_motan_and_we_read_what_it_writes() {
    let Some(java) = peers::java_string() else { return };
    let chroot = ZooKeeper::shared().chroot("motan-peer").await;
    let to = chroot.connect_string();
    let ours = registry(&to, "motan:group=g,application=time");
    let mut registration =
        ours.register(&interface(), Instance::new("10.0.0.1", 8002).with_metadata("k", "a\0é\u{4e16}"));
    registration.registered().await.unwrap();
    assert_eq!(registration.path(), "/services/com.foo.Bar/server/10.0.0.1:8002");
    let raw = chroot.raw().await;
    let (data, _) = raw.get(registration.path()).await.unwrap().unwrap();
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    let reader = java.clone().args(["read", &hex]).start();
    let url = "motan2://10.0.0.1:8002/com.foo.Bar?protocol=motan2&module=motan&nodeType=service&version=1.0&group=g\
               &export=motan2%3A8002&application=time&k=a%00%C3%A9%E4%B8%96&";
    reader.says(&format!("string {url}"), SOON).await;
    let writer = java.args(["write", url]).start();
    writer.says(&format!("bytes {hex}"), SOON).await;
}

#[tokio::test]
async fn prometheus_finds_what_we_write_for_serversets_and_nerve() {
    let Some(prometheus) = peers::prometheus() else { return };
    let chroot = ZooKeeper::shared().chroot("prometheus").await;
    let to = chroot.connect_string();
    let (server, path) = to.split_at(to.find('/').unwrap());
    let (members, nodes) = (registry(&to, "serverset"), registry(&to, "nerve"));
    let tls = Instance::new("10.0.0.1", 8080).with_ssl_port(8443);
    let mut member = members.register(&"members".parse().unwrap(), tls);
    member.registered().await.unwrap();
    let mut node = nodes.register(&"nodes".parse().unwrap(), Instance::new("10.0.0.2", 8081));
    node.registered().await.unwrap();

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let job = |kind: &str, service: &str| {
        let sd = format!(
            "{kind}_sd_configs: [{{servers: [\"{server}\"], paths: [\"{path}/services/{service}\"], timeout: 5s}}]"
        );
        format!("  - job_name: {kind}\n    {sd}\n")
    };
    let config = format!("scrape_configs:\n{}{}", job("serverset", "members"), job("nerve", "nodes"));
    std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
    let flag = |name: &str, value: &str| format!("--{name}={value}");
    let in_directory = |name: &str| directory.path().join(name).display().to_string();
    let _running = prometheus
        .args([
            flag("config.file", &in_directory("prometheus.yml")),
            flag("storage.tsdb.path", &in_directory("data")),
            flag("web.listen-address", &format!("127.0.0.1:{port}")),
        ])
        .start();
    let shows = async |wanted: &[&str], unwanted: &[&str]| {
        let all =
            http_get(&format!("127.0.0.1:{port}"), "/api/v1/targets?state=active").await.unwrap_or_default();
        wanted.iter().all(|text| all.contains(text)) && !unwanted.iter().any(|text| all.contains(text))
    };
    let both = ["\"__address__\":\"10.0.0.1:8080\"", "\"__address__\":\"10.0.0.2:8081\""];
    eventually(SOON, "Prometheus finds both", async || shows(&both, &[]).await).await;
    let https = "\"__meta_serverset_endpoint_port_https\":\"8443\"";
    eventually(SOON, "and the TLS port", async || shows(&[https], &[]).await).await;

    node.update(|attributes| attributes.zone = Some("b".to_owned())).await.unwrap();
    assert_eq!(member.withdraw(Duration::from_secs(5)).await, Withdrawn::Confirmed);
    eventually(SOON, "one went, the other moved", async || shows(&both[1..], &both[..1]).await).await;
}
