//! A service with shards on a real ZooKeeper, with the packet limit that everybody has.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::peers;
use integration_tests::process::Program;
use integration_tests::registries::{open, options, time};
use integration_tests::time_servers::{SERVICE, one_listener, registered};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::operate::{Operator, Unused};
use zk_registry::{Instance, Registry, Resolve};

const SOON: Duration = Duration::from_secs(60);
/// `jute.maxbuffer` by default.
const LARGEST_ANSWER: usize = 1_048_575;
/// So long is a name that a few thousand are more than an answer may have.
const NAME: usize = 230;
const INSTANCES: usize = 5_000;

fn sharded(chroot: &Chroot, shards: u16) -> Registry {
    let options = options().with_shards(shards).with_audit_interval(Duration::from_secs(1));
    Registry::open(chroot.connect_string().parse().unwrap(), options)
}

/// Has all of them stand in these directories, one after the other, as somebody else would who knows the format.
async fn fill(chroot: &Chroot, directories: &[String]) {
    let raw = chroot.raw().await;
    for directory in directories {
        raw.mkdir(directory).await.unwrap();
    }
    let node = |number: usize| {
        let mut id = format!("{number:05}-");
        id.push_str(&"x".repeat(NAME - id.len()));
        let directory = &directories[number % directories.len()];
        (
            format!("{directory}/{id}"),
            format!(r#"{{"name":"time","id":"{id}","address":"h","port":80}}"#).into(),
        )
    };
    raw.create_many((0..INSTANCES).map(node)).await.unwrap();
}

/// The bytes of the list of the names below a service's node.
async fn list_bytes(registry: &Registry, service: &str) -> usize {
    let directories = Operator::new(registry).directories(&service.parse().unwrap()).await.unwrap();
    directories.iter().map(|directory| directory.list_bytes()).sum()
}

#[tokio::test]
async fn shards_list_what_is_too_much_for_a_java_reader_of_one_node() {
    let chroot = ZooKeeper::shared().chroot("shards").await;
    fill(&chroot, &[SERVICE.to_owned()]).await;
    assert!(list_bytes(&open(&chroot.connect_string()), "time").await > LARGEST_ANSWER);
    if let Some(curator) = peers::curator() {
        let peer = curator.args(["watch", &chroot.connect_string(), "/services", "time"]).start();
        let status = peer.exit(SOON).await;
        assert!(!status.success(), "the list of one node is more than it takes");
    }
    let other = ZooKeeper::shared().chroot("shards-8").await;
    let mut first = sharded(&other, 8).register(&time(), Instance::new("10.0.0.1", 80));
    first.registered().await.unwrap();
    let directories: Vec<_> = (0..8).map(|shard| format!("{SERVICE}~shard-{shard}")).collect();
    fill(&other, &directories).await;
    let reader = open(&other.connect_string());
    assert_eq!(reader.watch(&time()).live().await.unwrap().len(), INSTANCES + 1);
    // On a busy machine so much may cost a connection, and a request that is made once.
    eventually(SOON, "a lookup of all", async || {
        reader.lookup(&time()).await.is_ok_and(|found| found.len() == INSTANCES + 1)
    })
    .await;
    eventually(SOON, "one service", async || reader.services().await.is_ok_and(|found| found == [time()]))
        .await;
    for shard in 0..8 {
        let bytes = list_bytes(&reader, &format!("time~shard-{shard}")).await;
        assert!((1..LARGEST_ANSWER / 4).contains(&bytes), "{bytes}");
    }
    if let Some(curator) = peers::curator() {
        // Of the service it sees nothing; a shard by its own name it can read, as far as its limit is concerned.
        let peer = curator.args(["watch", &other.connect_string(), "/services", "time~shard-0"]).start();
        peer.says("picks true", SOON).await;
    }
}

#[tokio::test]
async fn the_number_of_shards_changes_under_a_reader_that_misses_nobody() {
    let chroot = ZooKeeper::shared().chroot("reshard").await;
    let reader = open(&chroot.connect_string());
    let mut watch = reader.watch(&time());
    let (two, plain) = (sharded(&chroot, 2), open(&chroot.connect_string()));
    let registered = async |registry: &Registry, ports: std::ops::Range<u16>| {
        let instances = ports.map(|port| registry.register(&time(), Instance::new("10.0.0.1", port)));
        let mut all: Vec<_> = instances.collect();
        for registration in &mut all {
            registration.registered().await.unwrap();
        }
        all
    };
    let mut all = registered(&plain, 1..40).await;
    all.extend(registered(&two, 40..80).await);
    eventually(SOON, "all are seen", async || watch.current().len() == 79).await;
    let seven = sharded(&chroot, 7);
    let changing = async {
        all.extend(registered(&seven, 80..120).await);
        tokio::time::sleep(Duration::from_secs(3)).await;
        Operator::new(&reader).set_shards(&time(), 3, Unused::Read).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    let mut sees = reader.watch(&time());
    let watching = async {
        let mut most = 79;
        while sees.changed().await.is_ok() {
            let now = sees.current().len();
            assert!(now >= most, "{now} after {most}");
            most = now;
        }
    };
    tokio::select! {
        () = changing => {}
        () = watching => panic!("the watch has ended"),
    }
    assert_eq!(watch.current().len(), 119);
    let raw = chroot.raw().await;
    for shard in 3..7 {
        let left = raw.list(&format!("{SERVICE}~shard-{shard}")).await.unwrap().unwrap_or_default();
        assert!(left.is_empty(), "shard {shard} has {left:?}");
    }
    assert_eq!(raw.list(SERVICE).await.unwrap().unwrap().len(), 39, "those without the option stay");
    assert_eq!(Operator::new(&reader).set_shards(&time(), 3, Unused::Drop).await.unwrap(), 3);
}

#[tokio::test]
async fn a_server_with_shards_is_found_by_everything_that_reads() {
    let chroot = ZooKeeper::shared().chroot("shards-server").await;
    let server = one_listener(&chroot).args(["--shards", "4"]).start();
    registered(&server, 1).await;
    let raw = chroot.raw().await;
    assert!(raw.list(SERVICE).await.unwrap().unwrap().is_empty());
    let (marker, _) = raw.get(SERVICE).await.unwrap().unwrap();
    let expected = r#"{"zk-registry":{"v":1,"shards":4,"read":4,"kept":true}}"#;
    assert_eq!(String::from_utf8(marker).unwrap(), expected);
    let reader = open(&chroot.connect_string());
    let found = reader.lookup(&time()).await.unwrap();
    assert_eq!(found.len(), 1);
    let id = found.instances().next().unwrap().id().to_string();
    let zkr = async |words: &[&str]| {
        let program = Program::zkr().args(words).args(["--zookeeper", &chroot.connect_string()]).start();
        let status = program.exit(SOON).await;
        (status.code().unwrap(), program.stdout().text())
    };
    let (code, listed) = zkr(&["services"]).await;
    assert!(
        code == 0 && listed.contains(r#""service":"time","instances":1"#) && !listed.contains('~'),
        "{listed}"
    );
    let (code, listed) = zkr(&["list", "time"]).await;
    assert!(code == 0 && listed.contains(&id), "{listed}");
    let (code, explained) = zkr(&["explain", "time", &id]).await;
    assert!(code == 0 && explained.contains("/services/time~shard-"), "{explained}");
    let (code, drained) = zkr(&["drain", "time", &id]).await;
    assert_eq!(code, 0, "{drained}");
    assert_eq!(
        zkr(&["shards", "time", "1"]).await,
        (0, "{\"service\":\"time\",\"shards\":1,\"read\":4}\n".to_owned())
    );
    assert_eq!(zkr(&["shards", "time", "0"]).await.0, 2);
    assert_eq!(zkr(&["shards", "other", "4"]).await.0, 1);
    let (code, _) = zkr(&["shards", "time", "1", "--drop", "--format", "plain"]).await;
    assert_eq!(code, 2);
}
