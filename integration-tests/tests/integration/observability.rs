//! What monitoring sees: a real Prometheus that scrapes a time-server, and the dashboard and alerts that are shipped.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use integration_tests::checkout::checkout;
use integration_tests::eventually::eventually;
use integration_tests::http_get::http_get;
use integration_tests::peers;
use integration_tests::proxy::Proxy;
use integration_tests::time_servers::time_server;
use integration_tests::zookeeper::ZooKeeper;
use zk_registry::balance::BalancerStats;
use zk_registry::{Resolve as _, ServiceName};

use integration_tests::registries::open;

const SOON: Duration = Duration::from_secs(30);

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("zk_registry_")).map(str::to_owned).collect()
}

fn shipped(file: &str) -> String {
    std::fs::read_to_string(checkout().join("docs").join(file)).unwrap()
}

#[tokio::test]
async fn the_dashboard_the_alerts_and_the_page_know_the_metrics_that_there_are() {
    let chroot = ZooKeeper::shared().chroot("metrics").await;
    let registry = open(&chroot.connect_string());
    let service: ServiceName = "time".parse().unwrap();
    registry.watch(&service).live().await.unwrap();
    let watch = registry.watch(&service);
    let samples = [registry.stats().samples(), BalancerStats::default().samples(&service)].concat();
    drop(watch);
    let all: BTreeSet<_> = samples.iter().map(|sample| sample.metric.name.to_owned()).collect();
    assert_eq!(names(&shipped("OBSERVABILITY.md")), all);
    for file in ["observability/dashboard.json", "observability/alerts.yml"] {
        let used = names(&shipped(file));
        assert!(!used.is_empty() && used.is_subset(&all), "{file}: {:?}", used.difference(&all));
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&shipped("observability/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 10);
}

#[tokio::test]
async fn prometheus_scrapes_a_server_and_its_alert_follows_the_connection() {
    let Some(prometheus) = peers::prometheus() else { return };
    let rules = checkout().join("docs/observability");
    let tool = prometheus.path().with_file_name("promtool");
    let tested = Command::new(tool).args(["test", "rules", "alerts.test.yml"]).current_dir(&rules).output();
    let tested = tested.expect("promtool comes with Prometheus");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));

    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("prometheus-metrics").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (admin, port) = (free(), free());
    let _server = time_server(&chroot.through(link.address()))
        .args(["--listen", "127.0.0.1:0", "--admin", &admin.to_string()])
        .start();
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\n\
         rule_files: [{}]\n\
         scrape_configs:\n  - job_name: time\n    static_configs: [{{targets: [\"127.0.0.1:{admin}\"]}}]\n",
        rules.join("alerts.yml").display()
    );
    std::fs::write(directory.path().join("prometheus.yml"), config).unwrap();
    let in_directory = |name: &str| directory.path().join(name).display().to_string();
    let _running = prometheus
        .arg(format!("--config.file={}", in_directory("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", in_directory("data")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .start();
    let at = format!("127.0.0.1:{port}");
    let value = async |query: &str| {
        let query: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = http_get(&at, &format!("/api/v1/query?query={query}")).await?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let answer: serde_json::Value = serde_json::from_str(body).map_err(std::io::Error::other)?;
        let value = answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
        value.ok_or_else(|| std::io::Error::other(answer.to_string()))
    };
    let reaches = async |query: &str, wanted: &str| {
        eventually(SOON, query, async || match value(query).await {
            Ok(found) if found == wanted => Ok(()),
            found => Err(format!("{found:?}")),
        })
        .await;
    };
    reaches("zk_registry_connected", "1").await;
    reaches("zk_registry_registrations{state=\"registered\"}", "1").await;
    reaches("zk_registry_registration_writes_total{op=\"create\"}", "1").await;
    reaches("up", "1").await;

    link.refuse().await;
    link.cut_rst().await;
    reaches("ALERTS{alertname=\"ZkRegistryDisconnected\"}", "1").await;
    reaches("ALERTS{alertname=\"ZkRegistryNotRegistered\"}", "1").await;
    link.accept().await;
    reaches("zk_registry_connected", "1").await;
    reaches("absent(ALERTS{alertname=\"ZkRegistryDisconnected\"})", "1").await;
}
