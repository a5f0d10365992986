//! `zkr`, as an operator uses it: each subcommand, with each of its exit codes, on a real ZooKeeper.

mod mapped;
mod top;
mod web;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::registries::{open, time};
use integration_tests::time_clients::{ends_with, json};
use integration_tests::time_servers::SOON;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{Instance, Registry, Resolve, Status};

/// A fleet of listeners that answer dials, one registry that registers them, and a client past both.
struct World {
    chroot: Chroot,
    raw: Raw,
    registry: Registry,
    listeners: Vec<TcpListener>,
    registrations: Vec<zk_registry::Registration>,
}

impl World {
    async fn new(instances: usize) -> Self {
        let chroot = ZooKeeper::shared().chroot("zkr").await;
        let (raw, registry) = (chroot.raw().await, open(&chroot.connect_string()));
        let mut world = Self { chroot, raw, registry, listeners: Vec::new(), registrations: Vec::new() };
        for _ in 0..instances {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let instance = Instance::new("127.0.0.1", listener.local_addr().unwrap().port());
            let mut registration = world.registry.register(&time(), instance);
            registration.registered().await.unwrap();
            world.listeners.push(listener);
            world.registrations.push(registration);
        }
        world
    }

    fn address(&self, n: usize) -> SocketAddr {
        self.listeners[n].local_addr().unwrap()
    }

    fn start(&self, words: &str) -> RunningProgram {
        let to = self.chroot.connect_string();
        Program::zkr().args(words.split_whitespace()).args(["--zookeeper", &to]).start()
    }

    /// Runs a command line to its end, which must be this; the lines of its output.
    async fn run(&self, words: &str, code: i32) -> Vec<Value> {
        let run = self.start(words);
        ends_with(&run, code).await;
        json(&run)
    }

    /// Runs one that must fail, and say so in one line.
    async fn refused(&self, words: &str, code: i32) -> String {
        let run = self.start(words);
        ends_with(&run, code).await;
        let said = run.stderr().text();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    }

    async fn record(&self, address: SocketAddr) -> String {
        let (data, _) = self.raw.get(&format!("/services/time/{address}")).await.unwrap().unwrap();
        String::from_utf8(data).unwrap()
    }

    /// A record that this library's registry would have written, on a node that no session owns.
    async fn ghost(&self, id: &str, address: SocketAddr) {
        let data = self.record(self.address(0)).await;
        let data = data.replace(
            &format!("\"port\":{}", self.address(0).port()),
            &format!("\"port\":{}", address.port()),
        );
        self.raw
            .create(&format!("/services/time/{id}"), data.as_bytes(), CreateMode::Persistent)
            .await
            .unwrap();
    }
}

/// An address of this machine at which nothing listens.
fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn services_and_their_instances_are_shown() {
    let world = World::new(2).await;
    world.raw.create("/services/time/broken", b"{", CreateMode::Persistent).await.unwrap();
    let services = world.run("services", 0).await;
    assert_eq!(services.len(), 1);
    assert_eq!(
        (&services[0]["service"], &services[0]["instances"], &services[0]["rejected"]),
        (&"time".into(), &2.into(), &1.into())
    );
    let listed = world.run("list time", 0).await;
    assert_eq!(listed.len(), 3);
    assert!(listed[2]["rejected"].as_str().unwrap().contains("JSON"), "{listed:?}");
    let table = world.start("list time --output text");
    ends_with(&table, 0).await;
    assert!(table.stdout().text().contains("ID") && table.stdout().text().contains("broken"));
    assert!(world.refused("list nobody", 1).await.contains("no instance of nobody below /services"));
    assert!(world.refused("services --base /none", 1).await.contains("/none"));
    assert!(world.refused("list", 2).await.contains("<SERVICE>"));
    let away =
        Program::zkr().args(["services", "--zookeeper", "127.0.0.1:1", "--connect-timeout", "1s"]).start();
    ends_with(&away, 3).await;
    assert!(away.stderr().text().contains("127.0.0.1:1"));
}

#[tokio::test]
async fn a_missing_chroot_is_named_and_not_taken_for_an_empty_fleet() {
    let world = World::new(0).await;
    let to = format!("{}/none", world.chroot.connect_string());
    for words in [
        "services",
        "list time",
        "drain time a:1",
        "doctor",
        "watch time",
        "wait time --for gone=a:1",
        "web --listen 127.0.0.1:0",
        "web time --listen 127.0.0.1:0",
    ] {
        let run = Program::zkr().args(words.split(' ')).args(["--zookeeper", &to]).start();
        ends_with(&run, 3).await;
        assert!(
            run.stderr().text().contains("the chroot does not exist"),
            "{words}: {}",
            run.stderr().text()
        );
    }
}

#[tokio::test]
async fn an_instance_is_drained_brought_back_and_weighed_and_its_owner_keeps_that() {
    let world = World::new(2).await;
    let id = world.address(0);
    let drained = world.run(&format!("drain time {id} --reason deploy"), 0).await;
    assert_eq!(drained[0]["done"], "seen by a second reader");
    let record = world.record(id).await;
    assert!(record.contains(r#""enabled":false"#) && record.contains(r#""status":"draining""#), "{record}");
    assert!(record.contains(r#""drain-reason":"deploy""#), "{record}");
    assert_eq!(world.run(&format!("drain time {id}"), 0).await[0]["done"], "it is so already");
    world.run(&format!("wait time --for drained={id} --for count=1"), 0).await;
    // The owner adopted it: what it writes next has it too.
    eventually(SOON, "the owner has adopted it", async || {
        world.registrations[0].foreign_writes().adopted > 0
    })
    .await;
    assert!(world.record(id).await.contains(r#""drain-reason":"deploy""#), "{}", world.record(id).await);
    world.run(&format!("undrain time {id}"), 0).await;
    world.run(&format!("weight time {id} 7"), 0).await;
    let mut watch = world.registry.watch(&time());
    let member = watch.live().await.unwrap().get(&id.to_string().parse().unwrap()).unwrap().clone();
    assert_eq!((member.status(), member.weight().get(), member.metadata().len()), (Status::Up, 7, 0));
    assert!(world.refused("drain time nobody:1", 1).await.contains(&id.to_string()));
    assert!(world.refused(&format!("weight time {id} 0"), 2).await.contains("1 to 65535"));
    world.raw.create("/services/time/broken", b"{", CreateMode::Persistent).await.unwrap();
    assert!(world.refused("drain time broken", 1).await.contains("no instance"));
    let plain = world.refused(&format!("drain time {id} --format plain"), 2).await;
    assert!(plain.contains("--format: plain: its records cannot say"), "{plain}");
}

#[tokio::test]
async fn a_drain_that_another_writer_undoes_is_said_to_be_refused() {
    let world = World::new(1).await;
    let (id, path) = (world.address(0), format!("/services/time/{}", world.address(0)));
    let stubborn = world.record(id).await;
    // A writer that wants it as it was, and looks 50 times a second.
    let raw = world.chroot.raw().await;
    let _writer = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let (now, _) = raw.get(&path).await.unwrap().unwrap();
            if String::from_utf8_lossy(&now).contains("draining") {
                raw.set(&path, stubborn.as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }));
    let said = world.refused(&format!("drain time {id}"), 1).await;
    assert!(said.contains("written back"), "{said}");
}

#[tokio::test]
async fn a_ghost_is_evicted_on_evidence_and_nothing_else_is() {
    let world = World::new(1).await;
    let live = world.address(0);
    let said = world.refused(&format!("evict time {live}"), 1).await;
    assert!(said.contains("answers") && said.contains("may be alive"), "{said}");
    assert!(world.raw.get(&format!("/services/time/{live}")).await.unwrap().is_some());
    world.ghost("ghost", dead()).await;
    let evicted = world.run("evict time ghost", 0).await;
    assert_eq!(evicted[0]["evicted"], true);
    assert_eq!(world.raw.list("/services/time").await.unwrap().unwrap(), [live.to_string()]);
    // Persistent, but it answers: its program does not register as it should, and is alive.
    world.ghost("odd", live).await;
    assert!(world.refused("evict time odd", 1).await.contains("answers"));
    world.raw.create("/services/time/junk", b"{", CreateMode::Persistent).await.unwrap();
    assert!(world.refused("evict time junk", 1).await.contains("--force"));
    assert_eq!(world.run("evict time junk --force", 0).await[0]["overridden"].as_array().unwrap().len(), 1);
    assert!(world.refused("evict time junk", 1).await.contains("no node junk"));
    // With no other instance that answers from here, silence proves nothing.
    let alone = World::new(1).await;
    alone.ghost("ghost", dead()).await;
    let last = alone.address(0);
    drop(alone.listeners);
    let to = alone.chroot.connect_string();
    let refused = Program::zkr().args(["evict", "time", "ghost", "--zookeeper", &to]).start();
    ends_with(&refused, 1).await;
    let said = refused.stderr().text();
    assert!(said.contains("cannot be reached from here"), "{last} is silent, too: {said}");
}

#[tokio::test]
async fn a_node_is_explained_with_what_each_reader_makes_of_it() {
    let world = World::new(1).await;
    let id = world.address(0);
    let explained = &world.run(&format!("explain time {id}"), 0).await[0];
    assert!(explained["owner"].as_str().unwrap().contains("session 0x"), "{explained}");
    let client = explained["client"].as_str().unwrap();
    assert!(client.starts_with("127.0.0.1:") && client.contains("connected to"), "{explained}");
    assert!(explained["writer"].as_str().unwrap().contains("of this library"), "{explained}");
    assert!(explained["dialects"].as_array().unwrap().len() >= 4, "{explained}");
    let hostile = b"{\x1b]0;title\x07";
    world.raw.create("/services/time/broken", hostile, CreateMode::Persistent).await.unwrap();
    let broken = world.start("explain time broken --output text");
    ends_with(&broken, 1).await;
    let text = broken.stdout().text();
    assert!(text.contains("rejected") && text.contains(r"\u{1b}") && !text.contains('\x1b'), "{text}");
    assert!(world.refused("explain time none", 1).await.contains("no node none"));
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_ends_accordingly() {
    let world = World::new(2).await;
    let findings = world.run("doctor", 1).await;
    let has = |findings: &[Value], level: &str, text: &str| {
        findings.iter().any(|one| one["level"] == level && one["what"].as_str().unwrap().contains(text))
    };
    assert!(has(&findings, "doubtful", "everybody may write"), "{findings:?}");
    assert!(has(&findings, "ok", "version 3."), "{findings:?}");
    assert!(has(&findings, "ok", "apart"), "the clocks are compared: {findings:?}");
    world.ghost("ghost", dead()).await;
    world.ghost("twin", world.address(1)).await;
    world.raw.create("/services/time/broken", b"{", CreateMode::Persistent).await.unwrap();
    let findings = world.run("doctor time", 2).await;
    assert!(has(&findings, "broken", "ghost does not answer"), "{findings:?}");
    assert!(has(&findings, "doubtful", "node broken is rejected"), "{findings:?}");
    assert!(has(&findings, "doubtful", "is there 2 times"), "{findings:?}");
    assert!(has(&findings, "doubtful", "ghost is a persistent node"), "{findings:?}");
    let quiet = world.run("doctor time --no-dial", 1).await;
    assert!(!has(&quiet, "broken", ""), "{quiet:?}");
}

#[tokio::test]
async fn a_wait_ends_when_it_is_so_and_a_watch_shows_what_changes() {
    let mut world = World::new(1).await;
    let id = world.address(0);
    let late = world.refused("wait time --for count=2 --timeout 500ms", 4).await;
    assert!(late.contains("count=2") && late.contains("1 instance"), "{late}");
    world.run("wait time --for fresh", 0).await;
    assert!(world.refused("wait time --for up", 2).await.contains("--for"));
    let watch = world.start("watch time");
    watch.says("\"ready\"", SOON).await;
    let waiting = world.start(&format!("wait time --for gone={id}"));
    world.run(&format!("weight time {id} 3"), 0).await;
    watch.says("weight 1 -> 3", SOON).await;
    world.registrations.remove(0).withdraw(SOON).await;
    ends_with(&waiting, 0).await;
    watch.says("\"down\"", SOON).await;
    watch.signal(Signal::SIGTERM);
    ends_with(&watch, 0).await;
}

#[tokio::test]
async fn two_fleets_are_compared_by_what_they_say() {
    let (here, there) = (World::new(1).await, World::new(0).await);
    let against = format!("diff --against {}", there.chroot.connect_string());
    let only_here = here.run(&against, 1).await;
    assert_eq!((only_here.len(), &only_here[0]["difference"]), (1, &"only here".into()));
    let twin = Instance::new("127.0.0.1", here.address(0).port());
    let mut registration = there.registry.register(&time(), twin);
    registration.registered().await.unwrap();
    assert_eq!(here.run(&against, 0).await, [Value::Null; 0]);
    there.run(&format!("weight time {} 3", here.address(0)), 0).await;
    assert_eq!(here.run(&against, 1).await[0]["detail"], "weight 1 -> 3");
    assert!(here.refused("diff --against 127.0.0.1:1 --connect-timeout 1s", 3).await.contains("127.0.0.1:1"));
}

#[tokio::test]
async fn a_fleet_is_compared_with_what_was_listed_before() {
    let mut world = World::new(2).await;
    let id = world.address(0);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("before");
    let listed = world.start("list time");
    ends_with(&listed, 0).await;
    std::fs::write(&file, listed.stdout().text()).unwrap();
    let diff = format!("diff --against-file {}", file.display());
    assert_eq!(world.run(&diff, 0).await, [Value::Null; 0]);
    world.run(&format!("weight time {id} 3 --wait 0"), 0).await;
    world.registrations.remove(1).withdraw(SOON).await;
    let found = world.run(&diff, 1).await;
    let details: Vec<_> = found.iter().map(|one| (one["id"].as_str().unwrap(), &one["difference"])).collect();
    assert_eq!(details.len(), 2, "{found:?}");
    assert!(details.contains(&(id.to_string().as_str(), &"differs".into())), "{found:?}");
    std::fs::write(&file, "nonsense").unwrap();
    assert!(world.refused(&diff, 2).await.contains("line 1"));
    assert!(world.refused("diff", 2).await.contains("--against"));
}

#[tokio::test]
async fn a_service_is_compared_with_what_a_registry_remembered_of_it() {
    let mut world = World::new(2).await;
    let directory = tempfile::tempdir().unwrap();
    let options = zk_registry::Options::default().with_snapshot_dir(directory.path());
    let reader = Registry::open(world.chroot.connect_string().parse().unwrap(), options);
    reader.watch(&time()).live().await.unwrap();
    reader.close(SOON).await;
    let mut files = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|end| end == "snapshot")).unwrap();
    let diff = format!("diff --against-file {}", file.display());
    // It knows one service; what else there is, is no difference.
    let mut other = world.registry.register(&"other".parse().unwrap(), Instance::new("127.0.0.1", 1));
    other.registered().await.unwrap();
    assert_eq!(world.run(&diff, 0).await, [Value::Null; 0]);
    let gone = world.address(1).to_string();
    world.registrations.remove(1).withdraw(SOON).await;
    let found = world.run(&diff, 1).await;
    assert_eq!(
        (found.len(), &found[0]["id"], &found[0]["difference"]),
        (1, &gone.into(), &"only there".into())
    );
    assert!(world.refused(&format!("{diff} --base /elsewhere"), 2).await.contains("--base"));
    let torn = std::fs::read_to_string(&file).unwrap().replace("127.0.0.1", "127.0.0.2");
    std::fs::write(&file, torn).unwrap();
    assert!(world.refused(&diff, 2).await.contains("damaged"));
}

#[tokio::test]
async fn shells_and_the_manual_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = Program::zkr().args(["completions", shell]).start();
        ends_with(&script, 0).await;
        assert!(script.stdout().text().contains("undrain"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = Program::zkr().args(["man", "--directory"]).arg(directory.path()).start();
    ends_with(&pages, 0).await;
    let drain = std::fs::read_to_string(directory.path().join("zkr-drain.1")).unwrap();
    assert!(drain.contains("reason") && directory.path().join("zkr.1").exists(), "{drain}");
    let nowhere = Program::zkr().args(["man", "--directory", "/none/of/these"]).start();
    ends_with(&nowhere, 2).await;
    assert!(nowhere.stderr().text().contains("/none/of/these"));
}

#[tokio::test]
async fn what_is_promised_is_measured_below_a_path_of_its_own_which_is_gone_after_that() {
    let world = World::new(1).await;
    let rows = world.run("verify --yes --rounds 5 --session-timeout 4s", 0).await;
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| row["kept"] == true), "{rows:?}");
    let below = async |path: String| world.raw.list(&path).await.unwrap().unwrap_or_default();
    let scratches = async || {
        let mut nodes = Vec::new();
        for name in below("/".to_owned()).await.into_iter().filter(|name| name.starts_with("zkr-verify-")) {
            nodes.extend(below(format!("/{name}")).await);
        }
        nodes
    };
    assert_eq!(scratches().await, [""; 0]);
    // Nor does one that is interrupted leave anything.
    let run = world.start("verify --yes --rounds 100");
    eventually(SOON, "it writes", async || !scratches().await.is_empty()).await;
    run.signal(Signal::SIGINT);
    ends_with(&run, 3).await;
    assert_eq!(scratches().await, [""; 0]);
    // What is not its own is as it was, and it does not begin without a yes.
    assert!(world.record(world.address(0)).await.contains("127.0.0.1"));
    assert!(world.refused("verify", 2).await.contains("--yes"));
    assert!(world.refused("verify --yes --base /", 2).await.contains("--base"));
    let clamped = world.start("verify --yes --rounds 1 --session-timeout 10m");
    ends_with(&clamped, 1).await;
    let away = ["verify", "--yes", "--zookeeper", "127.0.0.1:1", "--connect-timeout", "1s"];
    ends_with(&Program::zkr().args(away).start(), 3).await;
}
