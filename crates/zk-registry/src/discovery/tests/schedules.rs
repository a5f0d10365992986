//! Seeded fault schedules over the memory store: whatever happens to connections, sessions and servers, a watch ends equal
//! to what ZooKeeper holds, and on the way claims nothing that it does not know. A failure prints its seed;
//! `SCHEDULE_SEED=n` replays it.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::via::Via;
use crate::instance::{Instance, ServiceName};
use crate::options::{Acl, Options, Suspicion};
use crate::registration::Registration;
use crate::registry::Registry;
use crate::registry::background::Background;
use crate::resolve::{Resolve, ServiceWatch};
use crate::snapshot::{Freshness, Snapshot, Zxid};
use crate::store::Connect;
use crate::store::memory::{Cluster, Connector, Fate, Foreign};

pub(super) const SESSION: Duration = Duration::from_secs(4);
/// A fifth of it.
pub(super) const CONNECTION: Duration = Duration::from_millis(800);
pub(super) const AUDIT: Duration = Duration::from_secs(4);
/// So rare that no schedule sees one.
pub(super) const NO_AUDIT: Duration = Duration::from_secs(3_600);
pub(super) const ROOT: &str = "/services/time";

pub(super) fn service() -> ServiceName {
    "time".parse().unwrap()
}

pub(super) fn registry(network: &Connector, audit: Duration, suspicion: Suspicion, seed: u64) -> Registry {
    registry_over(network.clone(), audit, suspicion, seed)
}

pub(super) fn registry_over(
    connect: impl Connect,
    audit: Duration,
    suspicion: Suspicion,
    seed: u64,
) -> Registry {
    let options =
        Options::default().with_session_timeout(SESSION).with_audit_interval(audit).with_suspicion(suspicion);
    Registry::over(Arc::new(connect), 0, options, Ok(Background::on(Handle::current())), seed)
}

/// A record as Curator writes one.
pub(super) fn record(port: u16, weight: u16) -> Vec<u8> {
    let record = format!(
        r#"{{"name":"time","id":"h:{port}","address":"h","port":{port},"sslPort":null,"payload":null,"registrationTimeUTC":{weight},"serviceType":"DYNAMIC","uriSpec":null}}"#
    );
    record.into_bytes()
}

/// What is shown of a name: `czxid` and `mzxid` of its instance.
type Shown = Option<(i64, i64)>;

/// The servers, and who writes to them.
struct Writer {
    cluster: Cluster,
    /// Whether nodes that the reader may not read are among those written: only an audit finds them, as nobody is told of
    /// what he may not read.
    secrets: bool,
    /// What was to be seen of a name from which zxid on. Only of names that are written here.
    history: BTreeMap<String, Vec<(i64, Shown)>>,
}

impl Writer {
    fn write(&mut self, rng: &mut SmallRng) {
        let port = rng.random_range(1..=8_u16);
        let path = format!("{ROOT}/h:{port}");
        // Nobody's, or one of three others'.
        let session = [0, 0, 0x7001, 0x7002, 0x7003][rng.random_range(0..5)];
        let foreign = Foreign { session, ..Foreign::default() };
        // A namespace, or an instance that is one for as long as it has children, which only nobody's may.
        let below = if rng.random() { format!("{ROOT}/com-{port}") } else { path.clone() };
        match rng.random_range(0..16) {
            0..6 => self.cluster.put_as(&path, &record(port, rng.random()), foreign),
            6 | 7 => drop(self.cluster.delete(&path)),
            8 => {
                // Unseen by whoever is cut off: the same name and data in another life.
                if self.cluster.delete(&path) {
                    self.cluster.put_as(&path, &record(port, 1), foreign);
                }
            }
            9 => self.cluster.put(&path, b"{\"name\":"),
            10 => self.cluster.put(&path, b""),
            11 => self.cluster.put(&format!("{below}/below"), b""),
            12 => drop(self.cluster.delete(&format!("{below}/below"))),
            13 if self.secrets => {
                let secret = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
                self.cluster.put_as(&format!("{ROOT}/secret-{port}"), b"{}", secret);
            }
            14 if self.secrets => drop(self.cluster.delete(&format!("{ROOT}/secret-{port}"))),
            _ => {
                // Everything at once, and perhaps the service's own node.
                for path in self.cluster.dump().into_keys().rev() {
                    if path.starts_with(ROOT) && (path != ROOT || rng.random()) {
                        self.cluster.delete(&path);
                    }
                }
            }
        }
        self.note();
    }

    /// Writes down what has changed.
    fn note(&mut self) {
        let nodes = self.cluster.dump();
        let pzxid = nodes.get(ROOT).map(|root| root.stat.pzxid);
        for port in 1..=8 {
            let name = format!("h:{port}");
            let node = nodes.get(&format!("{ROOT}/{name}"));
            let shown = node.filter(|node| node.data.ends_with(b"}") && node.stat.children == 0);
            let shown = shown.map(|node| (node.stat.czxid, node.stat.mzxid));
            let history = self.history.entry(name).or_insert_with(|| vec![(0, None)]);
            if history.last().is_some_and(|(_, last)| *last != shown) {
                // What is not there any more went with the last change of its parent, if that is still there.
                let zxid = node.map(|node| node.stat.mzxid.max(node.stat.pzxid));
                let zxid = zxid.or(pzxid).unwrap_or(i64::MAX);
                history.push((zxid, shown));
            }
        }
    }

    /// Every name is shown as it was at the watermark, or at some time since.
    fn check(&self, snapshot: &Snapshot, seed: u64) {
        self.check_holds(snapshot, snapshot.watermark(), seed);
    }

    /// The same of another zxid that the snapshot is said to hold.
    fn check_holds(&self, snapshot: &Snapshot, Zxid(watermark): Zxid, seed: u64) {
        for (name, history) in &self.history {
            let member = snapshot.get(&name.parse().unwrap());
            let shown = member.map(|member| (member.created.0, member.modified.0));
            let current = history.iter().rposition(|(zxid, _)| *zxid <= watermark).unwrap_or_default();
            assert!(
                history[current..].iter().any(|(_, then)| *then == shown),
                "seed {seed}: {name} is shown as {shown:?} at {watermark}: {history:?}"
            );
        }
    }
}

/// Who watches, and his network.
struct Reader {
    registry: Registry,
    network: Connector,
    watch: ServiceWatch,
    /// Since when nothing comes through.
    cut_off: Option<Instant>,
    last: (u64, Zxid),
    /// What was shown to those that waited for a zxid, and that zxid.
    waiting: Vec<JoinHandle<Option<(Snapshot, Zxid)>>>,
}

impl Reader {
    fn check(&mut self, writer: &Writer, seed: u64) {
        let freshness = self.watch.freshness(Instant::now());
        let silence = self.cut_off.map_or(Duration::ZERO, |since| since.elapsed());
        // A millisecond for the timers.
        if silence > CONNECTION.mul_f64(1.125) + Duration::from_millis(1) {
            assert_ne!(freshness, Freshness::Live, "seed {seed}: live after {silence:?} of silence");
        }
        if let (Freshness::Stale { since }, Some(cut_off)) = (freshness, self.cut_off) {
            assert!(since <= cut_off, "seed {seed}: true {:?} after the last word", since - cut_off);
        }
        let snapshot = self.watch.current().clone();
        let now = (snapshot.revision(), snapshot.watermark());
        assert!(now.0 >= self.last.0 && now.1 >= self.last.1, "seed {seed}: {now:?} after {:?}", self.last);
        self.last = now;
        if snapshot.freshness() != Freshness::Pending {
            writer.check(&snapshot, seed);
        }
    }

    /// Nobody watches for a while; the next view starts from nothing.
    async fn unwatch(&mut self, pause: Duration) {
        self.watch = self.registry.watch(&"other".parse().unwrap());
        sleep(pause).await;
        self.watch = self.registry.watch(&service());
        self.last = (0, Zxid(0));
    }
}

/// A while in which others write and nothing may be claimed that is not known.
async fn meanwhile(writer: &mut Writer, reader: &mut Reader, rng: &mut SmallRng, seed: u64, until: Instant) {
    while Instant::now() < until {
        for _ in 0..rng.random_range(0..3) {
            writer.write(rng);
        }
        let left = until - Instant::now();
        sleep(Duration::from_micros(rng.random_range(100..200_000)).min(left)).await;
        reader.check(writer, seed);
    }
}

async fn step(writer: &mut Writer, reader: &mut Reader, rng: &mut SmallRng, seed: u64) {
    let cluster = writer.cluster.clone();
    let mut outage = Duration::from_millis(rng.random_range(1..400));
    let mut silent = false;
    match rng.random_range(0..20) {
        0..6 => {}
        6 | 7 => reader.network.blip(),
        8 | 9 => {
            reader.network.cut();
            silent = true;
            outage *= rng.random_range(1..20);
        }
        10 | 11 => {
            reader.network.freeze();
            silent = true;
            outage *= rng.random_range(1..20);
        }
        12 => {
            if let Some(session) = reader.network.session() {
                cluster.expire(session);
            }
        }
        13 => reader.network.expire_locally(),
        14 => cluster.restart(),
        15 => {
            cluster.stop();
            silent = true;
            outage *= 5;
        }
        16 => reader.network.lag(),
        17 => reader.network.catch_up(),
        18 => cluster.lose_next_write(Fate::Random),
        _ if rng.random() => reader.unwatch(outage).await,
        _ => {
            // A request of every kind is under way when the next fault comes.
            let zxid = cluster.dump().get(ROOT).map_or(0, |root| root.stat.pzxid);
            let mut watch = reader.watch.clone();
            reader.waiting.push(tokio::spawn(async move {
                let seen = timeout(SESSION * 8, watch.wait_for(Zxid(zxid))).await.ok()?.ok()?;
                Some((seen.clone(), Zxid(zxid)))
            }));
        }
    }
    reader.cut_off = silent.then(Instant::now);
    meanwhile(writer, reader, rng, seed, Instant::now() + outage).await;
    reader.cut_off = None;
    if silent {
        cluster.start();
        reader.network.heal();
    }
    if rng.random() {
        meanwhile(writer, reader, rng, seed, Instant::now() + Duration::from_millis(50)).await;
    }
}

/// The instances and the rejected nodes that a watch has to end with.
fn expected(cluster: &Cluster) -> (Vec<(String, i64, i64)>, Vec<String>) {
    let (mut members, mut rejected) = (Vec::new(), Vec::new());
    for (path, node) in cluster.dump() {
        let Some(name) = path.strip_prefix(ROOT).and_then(|below| below.strip_prefix('/')) else { continue };
        let namespace = node.stat.children > 0 || (node.stat.owner == 0 && node.data.is_empty());
        if name.contains('/') || namespace {
            continue;
        }
        if node.data.ends_with(b"}") && !name.starts_with("secret") {
            members.push((name.to_owned(), node.stat.czxid, node.stat.mzxid));
        } else {
            rejected.push(name.to_owned());
        }
    }
    (members, rejected)
}

async fn run(seed: u64) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let cluster = Cluster::new(seed);
    cluster.set_latency(Duration::from_micros(rng.random_range(100..60_000)));
    cluster.replace_sessions(rng.random_ratio(1, 8));
    let secrets = rng.random_ratio(1, 3);
    let audit = if secrets { AUDIT } else { NO_AUDIT };
    let suspicion = if rng.random() { Suspicion::Keep } else { Suspicion::Forget };

    let mut writer = Writer { cluster: cluster.clone(), secrets, history: BTreeMap::new() };
    for _ in 0..rng.random_range(0..10) {
        writer.write(rng);
    }
    // Somebody who registers properly, and whose replies get lost.
    let registrant = registry(&cluster.connector(SESSION), AUDIT, suspicion, rng.random());
    let registration: Option<Registration> =
        rng.random::<bool>().then(|| registrant.register(&service(), Instance::new("r", 1)));
    let network = cluster.connector(SESSION);
    // Replies may be taken up long after the connection that they came by is gone.
    let late =
        if rng.random_ratio(1, 3) { Duration::from_millis(rng.random_range(1..100)) } else { Duration::ZERO };
    let via = Via::new(&network, Duration::ZERO, late, rng.random());
    let registry = registry_over(via, audit, suspicion, rng.random());
    let watch = registry.watch(&service());
    let mut reader =
        Reader { registry, network, watch, cut_off: None, last: (0, Zxid(0)), waiting: Vec::new() };

    for _ in 0..rng.random_range(3..16) {
        step(&mut writer, &mut reader, rng, seed).await;
    }
    reader.network.catch_up();
    // The longest backoff and spread, a session that has to be given up, and two audits.
    sleep(SESSION * 2 + AUDIT * 3 + Duration::from_secs(6)).await;

    reader.check(&writer, seed);
    for waiting in std::mem::take(&mut reader.waiting) {
        if let Some((snapshot, zxid)) = waiting.await.unwrap() {
            writer.check_holds(&snapshot, zxid, seed);
        }
    }
    assert_eq!(reader.watch.freshness(Instant::now()), Freshness::Live, "seed {seed}");
    let snapshot = reader.watch.current();
    let members: Vec<_> = snapshot
        .instances()
        .map(|member| (member.id().to_string(), member.created().0, member.modified().0))
        .collect();
    let rejected: Vec<_> = snapshot.rejected().iter().map(|rejected| rejected.id.clone()).collect();
    assert_eq!((members, rejected), expected(&cluster), "seed {seed}");
    let suspects: BTreeSet<_> = snapshot.suspects().map(|member| member.id()).collect();
    assert!(suspects.is_empty(), "seed {seed}: {suspects:?}");
    drop(registration);
}

#[test]
fn any_order_of_faults_ends_equal_to_what_zookeeper_holds() {
    let replay = std::env::var("SCHEDULE_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    if replay.is_some() {
        let log = tracing_subscriber::fmt().with_env_filter("zk_registry=trace").with_ansi(false);
        // Another test of this process may log already.
        let _ = log.without_time().with_test_writer().try_init();
    }
    let seeds = replay.map_or(0..10_000, |seed| seed..seed + 1);
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

/// A watch on one instance, whose view is never audited.
pub(super) async fn watching(cluster: &Cluster, suspicion: Suspicion) -> (Connector, ServiceWatch) {
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let network = cluster.connector(SESSION);
    let mut watch = registry(&network, NO_AUDIT, suspicion, 0).watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 1);
    (network, watch)
}

/// Waits for that many instances, for a second.
pub(super) async fn becomes(watch: &mut ServiceWatch, len: usize) {
    let arrived = async {
        while watch.current().len() != len {
            watch.changed().await.unwrap();
        }
    };
    timeout(Duration::from_secs(1), arrived).await.expect("the change is seen at once");
}

#[tokio::test(start_paused = true)]
async fn a_reconnected_watch_is_armed_again_and_sees_every_later_change() {
    let cluster = Cluster::new(0);
    let (network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    for outage in [Duration::ZERO, Duration::from_millis(500), SESSION * 3] {
        network.cut();
        sleep(outage).await;
        network.heal();
        while watch.current().freshness() == Freshness::Live {
            watch.changed().await.unwrap();
        }
        watch.live().await.unwrap();
        // Everything was read; what comes now is only told by the watch.
        sleep(SESSION).await;
        cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
        becomes(&mut watch, 2).await;
        cluster.delete(&format!("{ROOT}/h:2"));
        becomes(&mut watch, 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_a_namespace_as_long_as_it_has_children() {
    let cluster = Cluster::new(0);
    let (_network, mut watch) = watching(&cluster, Suspicion::Keep).await;
    let below = |n: u8| format!("{ROOT}/h:1/{n}");
    cluster.put(&below(1), b"");
    becomes(&mut watch, 0).await;
    assert_eq!(watch.current().rejected().len(), 0);
    cluster.put(&below(2), b"");
    cluster.delete(&below(1));
    sleep(SESSION).await;
    assert_eq!(watch.current().len(), 0);
    cluster.delete(&below(2));
    becomes(&mut watch, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_tree_below_a_namespace_costs_no_read() {
    let cluster = Cluster::new(0);
    cluster.put(&format!("{ROOT}/com/a"), b"");
    let (_network, _watch) = watching(&cluster, Suspicion::Keep).await;
    let before = cluster.counts().reads;
    for n in 0..100 {
        let path = format!("{ROOT}/com/{n}");
        cluster.put(&path, &record(1, n));
        cluster.put(&format!("{path}/below"), b"");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cluster.counts().reads, before);
}

#[tokio::test(start_paused = true)]
async fn one_unreadable_child_costs_no_resync_loop() {
    let cluster = Cluster::new(0);
    for port in 2..11 {
        cluster.put(&format!("{ROOT}/h:{port}"), &record(port, 1));
    }
    let secret = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
    cluster.put_as(&format!("{ROOT}/h:11"), b"{}", secret);
    let network = cluster.connector(SESSION);
    let mut watch = registry(&network, NO_AUDIT, Suspicion::Keep, 0).watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 9);
    assert_eq!(watch.current().rejected().len(), 1);
    let before = cluster.counts().reads;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.counts().reads, before);
    cluster.put(&format!("{ROOT}/h:2"), &record(2, 2));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.counts().reads, before + 1, "a change costs one read");
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_child_in_the_place_of_another_is_found_by_an_audit() {
    let cluster = Cluster::new(0);
    let secret = Foreign { user: Some("else"), acl: Acl::Creator, ..Foreign::default() };
    cluster.put_as(&format!("{ROOT}/old"), b"{}", secret);
    let network = cluster.connector(SESSION);
    let mut watch = registry(&network, AUDIT, Suspicion::Keep, 0).watch(&service());
    assert_eq!(watch.live().await.unwrap().rejected()[0].id, "old");
    cluster.delete(&format!("{ROOT}/old"));
    cluster.put_as(&format!("{ROOT}/new"), b"{}", secret);
    // A change that is told makes the view look at the parent, which has as many children as before.
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    becomes(&mut watch, 1).await;
    assert_eq!(watch.current().rejected()[0].id, "old", "nobody was told");
    sleep(AUDIT * 2).await;
    assert_eq!(watch.current().rejected()[0].id, "new");
}

#[tokio::test(start_paused = true)]
async fn a_mass_disappearance_leaves_suspects_unless_that_is_switched_off() {
    for (suspicion, suspects) in [(Suspicion::Keep, 3), (Suspicion::Forget, 0)] {
        let cluster = Cluster::new(0);
        for port in 2..5 {
            let foreign = Foreign { session: i64::from(port), ..Foreign::default() };
            cluster.put_as(&format!("{ROOT}/h:{port}"), &record(port, 1), foreign);
        }
        cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
        let network = cluster.connector(SESSION);
        let mut watch = registry(&network, NO_AUDIT, suspicion, 0).watch(&service());
        assert_eq!(watch.live().await.unwrap().len(), 4);
        for port in 2..5 {
            cluster.delete(&format!("{ROOT}/h:{port}"));
        }
        becomes(&mut watch, 1).await;
        assert_eq!(watch.current().suspects().len(), suspects, "{suspicion:?}");
        sleep(SESSION * 2 + Duration::from_secs(1)).await;
        assert_eq!(watch.current().suspects().len(), 0);
    }
}
