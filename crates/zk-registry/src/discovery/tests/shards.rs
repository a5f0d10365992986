//! A service with shards, through the registry over the store in memory: what is listed while their number changes, whatever happens.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::{Builder, Handle};
use tokio::time::{Instant, sleep, timeout};

use super::schedules::{AUDIT, NO_AUDIT, ROOT, SESSION, becomes, record, registry, service};
use crate::error::ErrorKind;
use crate::format::shards::{Marker, OwnNode, Shards, marker};
use crate::instance::{Instance, InstanceId, Status};
use crate::operate::{Operator, Unused};
use crate::options::{Acl, Credentials, Options, Suspicion};
use crate::registration::Registration;
use crate::registry::Registry;
use crate::registry::background::Background;
use crate::resolve::{Resolve, ServiceWatch};
use crate::snapshot::{Freshness, Snapshot};
use crate::store::memory::{Cluster, Connector, Foreign};
use crate::store::{Connect as _, Fault};

/// A registry that spreads its registrations over so many nodes.
pub(super) fn writer(network: &Connector, shards: u16, seed: u64) -> Registry {
    let options =
        Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT).with_shards(shards);
    Registry::over(Arc::new(network.clone()), 0, options, Ok(Background::on(Handle::current())), seed)
}

/// The ids of the instances that stand in each directory, the service's own first.
pub(super) fn standing(cluster: &Cluster, shards: u16) -> Vec<BTreeSet<String>> {
    let nodes = cluster.dump();
    let below = |root: String| {
        let names = nodes.keys().filter_map(|path| path.strip_prefix(&root)?.strip_prefix('/'));
        names.map(str::to_owned).collect()
    };
    let roots = (0..shards).map(|shard| format!("{ROOT}~shard-{shard}"));
    std::iter::once(ROOT.to_owned()).chain(roots).map(below).collect()
}

/// Where an instance should stand.
pub(super) fn place(id: &InstanceId, shards: u16) -> usize {
    Shards::new(shards).of(id).map_or(0, |shard| usize::from(shard) + 1)
}

pub(super) fn mark(cluster: &Cluster, shards: Shards) {
    cluster.put(ROOT, &marker(shards, OwnNode::Kept));
}

pub(super) async fn registered(registry: &Registry, ports: std::ops::Range<u16>) -> Vec<Registration> {
    let mut all: Vec<_> = ports.map(|port| registry.register(&service(), Instance::new("h", port))).collect();
    for registration in &mut all {
        registration.registered().await.unwrap();
    }
    all
}

#[tokio::test(start_paused = true)]
async fn registrations_stand_in_the_shards_that_the_marker_names_and_a_reader_without_the_option_lists_all() {
    let cluster = Cluster::new(0);
    let writer = writer(&cluster.connector(SESSION), 4, 0);
    let all = registered(&writer, 1..41).await;
    let found = Marker::read(&cluster.node(ROOT).unwrap().data);
    assert_eq!(found, Marker::Shards { shards: Shards::new(4), node: OwnNode::Kept });
    let standing = standing(&cluster, 4);
    assert!(standing[0].is_empty());
    for registration in &all {
        let id = registration.id();
        assert!(standing[place(id, 4)].contains(id.as_str()));
        assert_eq!(registration.path(), format!("{ROOT}~shard-{}/{id}", place(id, 4) - 1));
    }
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    assert_eq!(reader.watch(&service()).live().await.unwrap().len(), 40);
    assert_eq!(reader.lookup(&service()).await.unwrap().len(), 40);
    assert_eq!(reader.services().await.unwrap(), [service()]);
    assert_eq!(reader.watch_services().live().await.unwrap().names(), [service()]);
    // One shard can be looked at by its own name.
    let shard = "time~shard-2".parse().unwrap();
    assert_eq!(reader.lookup(&shard).await.unwrap().len(), standing[3].len());
    for registration in all {
        registration.withdraw(SESSION).await;
    }
    assert_eq!(reader.services().await.unwrap(), []);
    assert!(reader.watch(&service()).live().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_is_seen_at_once_and_an_update_and_an_expiry_are_as_ever() {
    let cluster = Cluster::new(0);
    let network = cluster.connector(SESSION);
    let writer = writer(&network, 8, 0);
    let mut all = registered(&writer, 1..20).await;
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 19);
    all[0].update(|attributes| attributes.zone = Some("z".to_owned())).await.unwrap();
    let zone = async {
        while !watch.current().instances().any(|member| member.zone() == Some("z")) {
            watch.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(1), zone).await.unwrap();
    all.pop().unwrap().withdraw(SESSION).await;
    becomes(&mut watch, 18).await;
    let zxid = writer.register(&service(), Instance::new("h", 99)).registered().await.unwrap();
    watch.wait_for(zxid).await.unwrap();
    cluster.expire(network.session().unwrap());
    sleep(SESSION * 2).await;
    becomes(&mut watch, 18).await;
    assert_eq!(standing(&cluster, 8)[0].len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_marker_on_a_service_takes_nobody_off_the_list() {
    let cluster = Cluster::new(0);
    for port in 1..10 {
        cluster.put(&format!("{ROOT}/h:{port}"), &record(port, 1));
    }
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 9);
    let writer = writer(&cluster.connector(SESSION), 3, 0);
    let all = registered(&writer, 20..30).await;
    becomes(&mut watch, 19).await;
    assert_eq!(watch.current().freshness(), Freshness::Live);
    assert_eq!(standing(&cluster, 3)[0].len(), 9, "those of others stay where they are");
    // One that stands twice is listed once, as its younger node says.
    let id = all[0].id();
    cluster.put(&format!("{ROOT}/{id}"), &record(4_000, 1));
    sleep(SESSION).await;
    assert_eq!(watch.current().len(), 19);
    assert_eq!(watch.current().get(id).unwrap().port(), 4_000);
    assert_eq!(reader.lookup(&service()).await.unwrap().get(id).unwrap().port(), 4_000);
}

#[tokio::test(start_paused = true)]
async fn the_data_of_others_on_the_services_node_leave_it_as_it_is() {
    let cluster = Cluster::new(0);
    cluster.put(ROOT, b"10.0.0.1");
    let writer = writer(&cluster.connector(SESSION), 4, 0);
    let _all = registered(&writer, 1..5).await;
    assert_eq!(standing(&cluster, 4)[0].len(), 4);
    assert_eq!(&cluster.node(ROOT).unwrap().data[..], b"10.0.0.1");
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    assert_eq!(reader.watch(&service()).live().await.unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_marker_costs_no_request_more() {
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let before = cluster.counts().reads;
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let mut watch = reader.watch(&service());
    watch.live().await.unwrap();
    let unmarked = cluster.counts().reads - before;
    cluster.put(ROOT, b"10.0.0.1");
    sleep(SESSION).await;
    let other = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let before = cluster.counts().reads;
    other.watch(&service()).live().await.unwrap();
    assert_eq!(cluster.counts().reads - before, unmarked + 1, "data that may be a marker are read");
}

#[tokio::test(start_paused = true)]
async fn shards_that_are_not_written_any_more_are_read_until_the_marker_says_otherwise() {
    let cluster = Cluster::new(0);
    let eight = writer(&cluster.connector(SESSION), 8, 0);
    let all = registered(&eight, 1..30).await;
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 29);
    // An operator lowers the number: nobody raises it again, and everybody moves with the next audit.
    mark(&cluster, Shards::new(8).changed_to(2));
    // A process that has not heard of it.
    let late = (1_000..).map(|port| format!("h:{port}").parse().unwrap()).find(|id| place(id, 8) == 7);
    let late: InstanceId = late.unwrap();
    cluster.put(&format!("{ROOT}~shard-6/{late}"), &record(1, 1));
    becomes(&mut watch, 30).await;
    let until = Instant::now() + AUDIT * 3;
    while Instant::now() < until {
        assert_eq!(watch.current().len(), 30);
        sleep(Duration::from_millis(1)).await;
    }
    let standing = standing(&cluster, 8);
    for registration in &all {
        assert!(standing[place(registration.id(), 2)].contains(registration.id().as_str()));
    }
    assert_eq!(standing[3..].iter().map(BTreeSet::len).sum::<usize>(), 1);
    assert_eq!(watch.current().len(), 30, "{:?}", watch.current());
    // A reader that starts now reads them too; one that starts after the marker says that they are empty does not.
    let fresh = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 2);
    assert_eq!(fresh.watch(&service()).live().await.unwrap().len(), 30);
    mark(&cluster, Shards::new(2));
    let fresh = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 3);
    assert_eq!(fresh.watch(&service()).live().await.unwrap().len(), 29);
    assert_eq!(watch.current().len(), 30, "one that reads them goes on");
}

#[tokio::test(start_paused = true)]
async fn an_operator_finds_and_drains_an_instance_in_its_shard_and_changes_the_number_of_shards() {
    let cluster = Cluster::new(0);
    let network = cluster.connector(SESSION);
    let four = writer(&network, 4, 0);
    let operator = Operator::new(&registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1));
    let set = |count, unused| {
        let operator = operator.clone();
        async move { operator.set_shards(&service(), count, unused).await.map_err(|error| error.kind()) }
    };
    assert_eq!(set(8, Unused::Read).await, Err(ErrorKind::Conflict), "there is no marker");
    let all = registered(&four, 1..20).await;
    let id = all[0].id();
    let seen = operator.inspect(&service(), id.as_str()).await.unwrap().unwrap();
    assert_eq!(seen.path(), all[0].path());
    operator.set_status(&seen, Status::Draining, Some("deploy")).await.unwrap();
    let adopted = async {
        while all[0].attributes().status != Status::Draining {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(AUDIT * 2, adopted).await.expect("its owner takes it up");
    assert_eq!(
        operator.inspect(&service(), "nobody").await.unwrap().map(|seen| seen.path().to_owned()),
        None
    );

    assert_eq!(set(0, Unused::Read).await, Err(ErrorKind::Invalid));
    assert_eq!(set(1, Unused::Read).await, Ok(4));
    assert_eq!(set(1, Unused::Drop).await, Err(ErrorKind::Conflict), "they have not moved yet");
    sleep(AUDIT * 2).await;
    assert_eq!(standing(&cluster, 4)[0].len(), 19, "all stand below the service's own node");
    assert_eq!(all[0].attributes().status, Status::Draining, "and say what they said");
    assert_eq!(set(1, Unused::Drop).await, Ok(0));
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 1);
    assert_eq!(reader.watch(&service()).live().await.unwrap().len(), 19);
}

/// Every instance of the successor stands once more than its predecessor's, and none twice for a reader.
#[tokio::test(start_paused = true)]
async fn a_restarted_process_takes_over_its_predecessors_node_in_the_shard() {
    let cluster = Cluster::new(0);
    let network = cluster.connector(SESSION);
    let before = writer(&network, 4, 0);
    let _crashed = registered(&before, 1..10).await;
    network.cut();
    let after = writer(&cluster.connector(SESSION), 4, 1);
    let successor = registered(&after, 1..10).await;
    let standing = standing(&cluster, 4);
    assert_eq!(standing.iter().map(BTreeSet::len).sum::<usize>(), 9, "{}", successor.len());
}

#[tokio::test(start_paused = true)]
async fn under_an_acl_everything_that_is_made_has_it_and_what_may_not_be_written_stays() {
    let cluster = Cluster::new(0);
    let open = |acl, shards, seed| {
        let user = Credentials::Digest { user: "us".to_owned(), password: "p".to_owned() };
        let options = Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT);
        let options = options.with_shards(shards).with_credentials(user).with_acl(acl);
        let network = cluster.connector_as(Some("us"), SESSION);
        Registry::over(Arc::new(network), 0, options, Ok(Background::on(Handle::current())), seed)
    };
    let _all = registered(&open(Acl::Creator, 2, 0), 1..9).await;
    let stranger = cluster.connector(SESSION).connect().await.unwrap();
    for path in [ROOT, "/services/time~shard-0", "/services/time~shard-1"] {
        assert!(matches!(stranger.set(path, b"", None).await, Err(Fault::NoAuth)), "{path}");
    }
    // Somebody who may not write the marker registers where it says, as far as he may read it.
    let cluster = Cluster::new(0);
    let theirs = Foreign { user: Some("else"), acl: Acl::ReadOnly, ..Foreign::default() };
    cluster.put_as(ROOT, &marker(Shards::new(2), OwnNode::Kept), theirs);
    let _all = registered(&writer(&cluster.connector(SESSION), 4, 0), 1..9).await;
    assert_eq!(standing(&cluster, 4).iter().map(BTreeSet::len).collect::<Vec<_>>()[3..], [0, 0]);
    assert_eq!(standing(&cluster, 4)[0].len(), 0);
}

/// The bytes of an answer that a Java client takes: `jute.maxbuffer` as it is by default.
const LARGEST_ANSWER: usize = 1_048_575;

#[tokio::test(start_paused = true)]
async fn four_hundred_thousand_instances_are_listed_where_the_names_of_one_node_would_be_too_many() {
    const ALL: u32 = 400_000;
    let cluster = Cluster::new(0);
    mark(&cluster, Shards::new(16));
    let id =
        |n: u32| format!("10.{}.{}.{}:8897", n >> 16, n >> 8 & 255, n & 255).parse::<InstanceId>().unwrap();
    for n in 0..ALL {
        let id = id(n);
        let directory = Shards::new(16).of(&id).unwrap();
        let host = id.as_str().trim_end_matches(":8897");
        let record = format!(
            r#"{{"name":"time","id":"{id}","address":"{host}","port":8897,"registrationTimeUTC":1}}"#
        );
        cluster.put(&format!("{ROOT}~shard-{directory}/{id}"), record.as_bytes());
    }
    let reader = registry(&cluster.connector(SESSION), NO_AUDIT, Suspicion::Keep, 0);
    let mut watch = reader.watch(&service());
    let listed = watch.live().await.unwrap().clone();
    assert_eq!((listed.len(), listed.rejected().len()), (400_000, 0));
    assert!((0..ALL).step_by(1_000).all(|n| listed.get(&id(n)).is_some()));
    // A node's list is a count, and length and bytes of each name.
    let operator = Operator::new(&reader);
    let mut whole = 0;
    for shard in 0..16 {
        let shard = format!("time~shard-{shard}").parse().unwrap();
        let bytes = operator.directories(&shard).await.unwrap()[0].list_bytes();
        assert!(bytes < LARGEST_ANSWER * 2 / 3, "{bytes}");
        whole += bytes;
    }
    assert!(whole > LARGEST_ANSWER * 7, "{whole}");
    // A change costs what it costs anywhere.
    let (path, gone) = (format!("{ROOT}~shard-{}", Shards::new(16).of(&id(7)).unwrap()), id(7));
    let before = cluster.counts().reads;
    assert!(cluster.delete(&format!("{path}/{gone}")));
    becomes(&mut watch, 399_999).await;
    let reads = cluster.counts().reads - before;
    assert!(reads <= 3, "{reads} requests: the node, and whether the marker is still the same");
}

/// What must be listed, and where.
struct Fleet {
    cluster: Cluster,
    writers: Vec<(u16, Connector, Vec<Registration>)>,
    port: u16,
    /// Who was listed, and has not left.
    seen: BTreeSet<String>,
}

impl Fleet {
    /// Another process, with so many instances.
    async fn join(&mut self, shards: u16, instances: u16, seed: u64) {
        let network = self.cluster.connector(SESSION);
        let registry = writer(&network, shards, seed);
        let ports = self.port..self.port + instances;
        self.port = ports.end;
        let registrations = registered(&registry, ports).await;
        self.writers.push((shards, network, registrations));
    }

    fn ids(&self) -> BTreeSet<&str> {
        let all = self.writers.iter().flat_map(|(.., registrations)| registrations);
        all.map(|registration| registration.id().as_str()).collect()
    }

    /// Nobody who was listed, and is registered, may be missing.
    fn check(&mut self, snapshot: &Snapshot, seed: u64) {
        if snapshot.freshness() != Freshness::Pending {
            for id in &self.seen {
                let listed = snapshot.get(&id.parse().unwrap()).is_some();
                assert!(listed, "seed {seed}: {id} is missing at {}", snapshot.watermark());
            }
            self.seen.extend(snapshot.instances().map(|member| member.id().to_string()));
        }
    }
}

/// What the reader sees of this moment, time and again.
async fn meanwhile(fleet: &mut Fleet, watch: &mut ServiceWatch, seed: u64, span: Duration) {
    let until = Instant::now() + span;
    while Instant::now() < until {
        let left = until - Instant::now();
        if let Ok(Err(closed)) = timeout(left, watch.changed()).await {
            panic!("seed {seed}: {closed}");
        }
        fleet.check(watch.current(), seed);
    }
}

async fn run(seed: u64) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let cluster = Cluster::new(seed);
    cluster.set_latency(Duration::from_micros(rng.random_range(100..60_000)));
    let mut fleet = Fleet { cluster: cluster.clone(), writers: Vec::new(), port: 1, seen: BTreeSet::new() };
    let mut count = [1, 1, 2, 3, 8][rng.random_range(0..5)];
    fleet.join(count, rng.random_range(1..12), seed).await;
    let network = cluster.connector(SESSION);
    let reader = registry(&network, AUDIT, Suspicion::Forget, seed);
    let mut watch = reader.watch(&service());
    timeout(SESSION * 4, watch.live()).await.expect("it becomes live").unwrap();
    fleet.check(watch.current(), seed);
    assert_eq!(fleet.seen.len(), fleet.ids().len(), "seed {seed}");
    for _ in 0..rng.random_range(3..12) {
        let mut silent = Duration::ZERO;
        match rng.random_range(0..12) {
            0 | 1 => {
                // A process that asks for another number than what is there; a larger one holds.
                let asked = [2, 3, 4, 8, 16][rng.random_range(0..5)];
                fleet.join(asked, rng.random_range(1..6), seed).await;
                count = count.max(asked);
                let zxid = cluster.node(ROOT).map_or(0, |node| node.stat.mzxid);
                // It is new to the reader, who may not have heard of it yet.
                let _ = timeout(SESSION * 8, watch.wait_for(crate::snapshot::Zxid(zxid))).await;
            }
            2 | 3 if count > 1 => {
                // An operator lowers or raises it.
                let shards = Marker::read(&cluster.node(ROOT).unwrap().data).shards();
                count = [1, 2, 3, 8, 16][rng.random_range(0..5)];
                mark(&cluster, shards.changed_to(count));
            }
            4 => network.blip(),
            5 => {
                network.cut();
                silent = Duration::from_millis(rng.random_range(1..8_000));
            }
            6 => {
                network.freeze();
                silent = Duration::from_millis(rng.random_range(1..8_000));
            }
            7 => {
                if let Some(session) = network.session() {
                    cluster.expire(session);
                }
            }
            8 => network.lag(),
            9 => network.catch_up(),
            10 => {
                drop(watch);
                sleep(Duration::from_millis(rng.random_range(1..100))).await;
                watch = reader.watch(&service());
            }
            _ => {
                if let Some((_, network, _)) = fleet.writers.first() {
                    network.blip();
                }
            }
        }
        meanwhile(&mut fleet, &mut watch, seed, silent).await;
        if silent > Duration::ZERO {
            network.heal();
        }
        let span = Duration::from_millis(rng.random_range(1..6_000));
        meanwhile(&mut fleet, &mut watch, seed, span).await;
    }
    network.catch_up();
    meanwhile(&mut fleet, &mut watch, seed, SESSION * 4 + AUDIT * 4).await;
    assert_eq!(watch.current().freshness(), Freshness::Live, "seed {seed}");
    let listed: BTreeSet<_> = watch.current().instances().map(|member| member.id().as_str()).collect();
    assert_eq!(listed, fleet.ids(), "seed {seed}");
    let standing = standing(&cluster, 16);
    let shards = cluster.node(ROOT).map_or(Shards::NONE, |node| Marker::read(&node.data).shards());
    for (asked, _, registrations) in &fleet.writers {
        for registration in registrations {
            let id = registration.id();
            let places: Vec<_> = (0..17).filter(|place| standing[*place].contains(id.as_str())).collect();
            // Writers that have no option stay below the service's own node.
            let expected = if *asked > 1 { place(id, shards.count) } else { 0 };
            assert_eq!(places, [expected], "seed {seed}: {id} of who asked for {asked}, with {shards:?}");
        }
    }
    assert_eq!(reader.lookup(&service()).await.unwrap().len(), listed.len(), "seed {seed}");
}

#[test]
fn nobody_who_is_registered_is_ever_missing_while_the_number_of_shards_changes() {
    let replay = std::env::var("SCHEDULE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if replay.is_some() {
        let log = tracing_subscriber::fmt().with_env_filter("zk_registry=trace").with_ansi(false);
        // Another test of this process may log already.
        let _ = log.without_time().with_test_writer().try_init();
    }
    let seeds = replay.map_or(0..2_000, |seed| seed..seed + 1);
    let halves = [seeds.clone().step_by(2), (seeds.start + 1..seeds.end).step_by(2)];
    std::thread::scope(|scope| {
        for half in halves {
            scope.spawn(|| half.for_each(run_alone));
        }
    });
}

fn run_alone(seed: u64) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed)))) {
        eprintln!("replay it with SCHEDULE_SEED={seed}");
        resume_unwind(panic);
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_file_has_the_instances_of_all_shards_and_none_is_missed_when_zookeeper_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(0);
    let _all = registered(&writer(&cluster.connector(SESSION), 4, 0), 1..30).await;
    let open = |network: &Connector| {
        let options = Options::default().with_session_timeout(SESSION).with_snapshot_dir(directory.path());
        Registry::over(Arc::new(network.clone()), 0, options, Ok(Background::on(Handle::current())), 1)
    };
    let reader = open(&cluster.connector(SESSION));
    let mut watch = reader.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 29);
    reader.close(SESSION).await;
    let network = cluster.connector(SESSION);
    network.cut();
    let reader = open(&network);
    let mut watch = reader.watch(&service());
    becomes(&mut watch, 29).await;
    assert!(matches!(watch.current().freshness(), Freshness::Disk { .. }));
    network.heal();
    while watch.current().freshness() != Freshness::Live {
        watch.changed().await.unwrap();
        assert_eq!(watch.current().len(), 29, "{:?}", watch.current().freshness());
    }
}
