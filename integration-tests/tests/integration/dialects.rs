//! Every dialect on a real ZooKeeper, and beside real peers where there are any.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::http_get::http_get;
use integration_tests::peers;
use integration_tests::registries::options;
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::format::named;
use zk_registry::{Instance, Registry, Resolve, ServiceName, Status, Withdrawn};

const SOON: Duration = Duration::from_secs(60);

/// Each dialect that is written, and whether it can say that an instance is draining.
const WRITTEN: [(&str, bool); 11] = [
    ("armeria", false),
    ("curator", true),
    ("curator-strict", false),
    ("dubbo:group=g,version=1.0.0,protocol=tri", true),
    ("kitex", false),
    ("kratos", false),
    ("motan", true),
    ("nerve", true),
    ("plain", false),
    ("serverset", false),
    ("spring", true),
];

fn registry(to: &str, format: &str) -> Registry {
    Registry::open(to.parse().unwrap(), options().with_format(named(format).unwrap()))
}

fn interface() -> ServiceName {
    "com.foo.Bar".parse().unwrap()
}

#[tokio::test]
async fn an_instance_of_every_dialect_is_registered_read_drained_and_withdrawn() {
    for (format, drains) in WRITTEN {
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
        assert_eq!(drained.is_ok(), drains, "{format}: {drained:?}");
        if drains {
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
