//! The live view against real ZooKeeper: it always ends up equal to what ZooKeeper holds, at one watch per service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use integration_tests::eventually::{always, eventually};
use integration_tests::fair_time::{Stopwatch, fair_timeout, within};
use integration_tests::four_letter;
use integration_tests::link_faults::{self, LinkFault};
use integration_tests::proxy::{Direction, Proxy, hosts};
use integration_tests::raw::{Acls, CreateMode, Error, Raw};
use integration_tests::registries::{T, open, options, time};
use integration_tests::replay::seeded;
use integration_tests::servers::Launch;
use integration_tests::truth::{TestRecord, Truth};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{Freshness, Instance, Options, Registry, Resolve, ServiceWatch, Snapshot, Zxid};
use zookeeper_client::{Acl, AuthId, Permission};

const SOON: Duration = Duration::from_secs(30);
const SERVICE: &str = "/services/time";

/// A reader on a link of its own, and a writer past that link.
struct ReaderAndWriter {
    chroot: Chroot,
    link: Proxy,
    /// Keeps the session.
    _registry: Registry,
    watch: ServiceWatch,
    raw: Raw,
}

impl ReaderAndWriter {
    /// The service exists and is empty.
    async fn new(name: &str) -> Self {
        let world = Self::without_service(name).await;
        world.raw.mkdir(SERVICE).await.unwrap();
        world
    }

    async fn without_service(name: &str) -> Self {
        Self::with(name, options()).await
    }

    async fn with(name: &str, options: Options) -> Self {
        let zk = ZooKeeper::shared();
        let chroot = zk.chroot(name).await;
        let link = Proxy::zookeeper(zk.address(1)).await;
        let registry = Registry::open(chroot.through(link.address()).parse().unwrap(), options);
        let mut watch = registry.watch(&time());
        assert!(live(&mut watch).await.is_empty());
        let raw = chroot.raw().await;
        Self { chroot, link, _registry: registry, watch, raw }
    }

    async fn put(&self, id: &str, port: u16) {
        self.raw.create(&path(id), &TestRecord::Instance(port).bytes(), CreateMode::Ephemeral).await.unwrap();
    }

    /// Waits until the view is what ZooKeeper holds.
    async fn agrees(&mut self) {
        let truth = Truth::read(&self.raw, SERVICE).await.unwrap();
        agrees(&mut self.watch, &truth).await;
    }

    /// Waits until the reader has sent nothing for a quarter of a second.
    async fn falls_silent(&self) {
        let mut silent = (self.link.carried(Direction::ToServer), Instant::now());
        eventually(SOON, "the reader has nothing left to ask", async || {
            let carried = self.link.carried(Direction::ToServer);
            if carried != silent.0 {
                silent = (carried, Instant::now());
            }
            silent.1.elapsed() > Duration::from_millis(250)
        })
        .await;
    }

    /// Cuts the reader off until it says that it knows.
    async fn cut_off(&mut self) {
        self.link.refuse().await;
        self.link.cut_rst().await;
        becomes_stale(&mut self.watch).await;
    }
}

fn path(id: &str) -> String {
    format!("{SERVICE}/{id}")
}

async fn live(watch: &mut ServiceWatch) -> Snapshot {
    within(SOON, "live in time", watch.live()).await.unwrap().clone()
}

async fn becomes_stale(watch: &mut ServiceWatch) {
    eventually(SOON, "the reader knows that it is cut off", async || {
        matches!(watch.current().freshness(), Freshness::Stale { .. })
    })
    .await;
}

/// Waits for everything up to the truth's last change, and wants no difference in that very snapshot.
async fn agrees(watch: &mut ServiceWatch, truth: &Truth) {
    let reached = fair_timeout(SOON, watch.wait_for(truth.zxid)).await;
    let Some(snapshot) = reached else {
        let snapshot = watch.current();
        panic!(
            "not at {} within {SOON:?}, but at {}, {:?}, {:?}",
            truth.zxid,
            snapshot.watermark(),
            snapshot.freshness(),
            truth.differences(snapshot)
        );
    };
    let found = truth.differences(snapshot.unwrap());
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test]
async fn a_service_that_nobody_created_is_live_and_empty_and_fills() {
    let mut world = ReaderAndWriter::without_service("unborn").await;
    let registry = open(&world.chroot.connect_string());
    let mut registration = registry.register(&time(), Instance::new("10.0.0.1", 80));
    let zxid = registration.registered().await.unwrap();
    let snapshot = within(SOON, "an answer", world.watch.wait_for(zxid)).await.unwrap();
    assert_eq!(snapshot.len(), 1);
}

#[tokio::test]
async fn waiting_for_a_registration_shows_it() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("wait-for").await;
    let (writer, reader) = (open(&chroot.connect_string()), open(&chroot.connect_string()));
    let mut watch = reader.watch(&time());
    for port in 1..=100 {
        let mut registration = writer.register(&time(), Instance::new("10.0.0.1", port));
        let zxid = registration.registered().await.unwrap();
        let snapshot = within(SOON, "an answer", watch.wait_for(zxid)).await.unwrap();
        assert!(snapshot.watermark() >= zxid);
        assert!(snapshot.get(registration.id()).is_some(), "port {port}");
        let zxid = registration.update(|attributes| attributes.zone = Some("b".to_owned())).await.unwrap();
        let snapshot = within(SOON, "an answer", watch.wait_for(zxid)).await.unwrap();
        assert_eq!(snapshot.get(registration.id()).unwrap().zone(), Some("b"));
    }
}

#[tokio::test]
async fn an_instance_that_was_replaced_while_nobody_looked_is_a_change() {
    let mut world = ReaderAndWriter::new("replaced").await;
    world.put("a", 1).await;
    world.agrees().await;
    world.cut_off().await;
    // The same name, the same data version, the same number of children: only the zxids differ.
    world.raw.delete(&path("a")).await.unwrap();
    world.put("a", 2).await;
    world.link.accept().await;
    world.agrees().await;
    assert_eq!(world.watch.current().instances().next().unwrap().port(), 2);
}

#[tokio::test]
async fn changes_after_a_reconnect_are_seen_by_event() {
    let mut world = ReaderAndWriter::with("rearmed", options().with_audit_interval(SOON * 10)).await;
    world.raw.mkdir(SERVICE).await.unwrap();
    for round in 1..=3 {
        world.cut_off().await;
        world.link.accept().await;
        live(&mut world.watch).await;
        // No audit and no further reconnect comes to the aid of a watch that was not armed again: the next audit is far off.
        let watermark = world.watch.current().watermark();
        world.put(&format!("a{round}"), round).await;
        eventually(T / 4, "the change is seen", async || {
            let snapshot = world.watch.current();
            if snapshot.len() == usize::from(round) { Ok(()) } else { Err(format!("{snapshot:?}")) }
        })
        .await;
        assert!(world.watch.current().watermark() > watermark);
    }
}

#[tokio::test]
async fn the_server_keeps_one_watch_per_service_whatever_its_size() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("one-watch").await;
    let link = Proxy::zookeeper(zk.address(1)).await;
    let raw = chroot.raw().await;
    raw.mkdir(SERVICE).await.unwrap();
    let record = TestRecord::Instance(1).bytes();
    raw.create_many((0..500).map(|n| (path(&n.to_string()), record.clone()))).await.unwrap();
    let registry = open(&chroot.through(link.address()));
    let other: zk_registry::ServiceName = "other".parse().unwrap();
    let mut watches = [registry.watch(&time()), registry.watch(&time()), registry.watch(&other)];
    for cut in 0..3 {
        for watch in &mut watches {
            live(watch).await;
        }
        assert_eq!(watches[0].current().len(), 500);
        eventually(SOON, "one watch each", async || {
            let sessions = four_letter::watches(zk.address(1)).await.map_err(|error| error.to_string())?;
            let mut watched: Vec<_> = sessions.into_values().flatten().collect();
            watched.sort_unstable();
            let below = |service: &str| format!("{}/services/{service}", chroot.path());
            if watched == [below("other"), below("time")] { Ok(()) } else { Err(format!("{watched:?}")) }
        })
        .await;
        if cut % 2 == 0 {
            link.cut_fin().await;
        } else {
            link.cut_rst().await;
        }
        becomes_stale(&mut watches[0]).await;
    }
}

#[tokio::test]
async fn a_child_that_may_not_be_read_is_rejected_and_costs_no_request() {
    let mut world = ReaderAndWriter::new("unreadable").await;
    let somebody = [Acl::new(Permission::ALL, AuthId::new("digest", "somebody:else"))];
    let options = CreateMode::Persistent.with_acls(Acls::new(&somebody));
    for port in 1..10 {
        world.put(&format!("ok{port}"), port).await;
    }
    world.raw.client().create(&path("secret"), b"{}", &options).await.unwrap();
    eventually(SOON, "the neighbours are served", async || world.watch.current().len() == 9).await;
    eventually(SOON, "it is rejected", async || world.watch.current().rejected().len() == 1).await;
    let rejected = &world.watch.current().rejected()[0];
    assert_eq!(rejected.id, "secret");
    assert!(rejected.reason.contains("may not be read"), "{}", rejected.reason);
    // The service was created under the view, which therefore reads everything a second time.
    world.falls_silent().await;
    let (before, began) = (world.link.carried(Direction::ToServer), Instant::now());
    always(T / 2, "still live", async || world.watch.current().freshness() == Freshness::Live).await;
    // Pings, and one audit of one request a second: a busy machine may have waited for longer than it was asked to.
    let sent = world.link.carried(Direction::ToServer) - before;
    let took = began.elapsed();
    println!("measured: {sent} bytes of requests in {took:?}");
    let allowed = 600.0 * took.div_duration_f64(T / 2);
    assert!((sent as f64) < allowed, "{sent} bytes of requests in {took:?} in which nothing happened");
}

#[tokio::test]
async fn malformed_empty_and_huge_children_are_rejected_and_neighbours_served() {
    let mut world = ReaderAndWriter::new("malformed").await;
    world.put("good", 1).await;
    world.raw.create(&path("empty"), b"", CreateMode::Ephemeral).await.unwrap();
    world.raw.create(&path("nonsense"), b"<xml/>", CreateMode::Ephemeral).await.unwrap();
    world
        .raw
        .create(&path("truncated"), &TestRecord::Nonsense.bytes(), CreateMode::Persistent)
        .await
        .unwrap();
    for huge in ["huge1", "huge2", "huge3"] {
        world.raw.create(&path(huge), &vec![b' '; 1_030_000], CreateMode::Ephemeral).await.unwrap();
    }
    let expected = ["empty", "huge1", "huge2", "huge3", "nonsense", "truncated"];
    let mut look = async || {
        let snapshot = world.watch.current();
        let rejected: Vec<_> = snapshot.rejected().iter().map(|one| one.id.as_str()).collect();
        if snapshot.len() == 1 && rejected == expected { Ok(()) } else { Err(format!("{snapshot:?}")) }
    };
    eventually(SOON, "only the good one is listed", &mut look).await;
    // The same in one piece, after a reconnect.
    world.link.cut_rst().await;
    becomes_stale(&mut world.watch).await;
    live(&mut world.watch).await;
    let snapshot = world.watch.current();
    assert_eq!((snapshot.len(), snapshot.rejected().len()), (1, expected.len()));
    world.raw.set(&path("nonsense"), &TestRecord::Instance(2).bytes()).await.unwrap();
    eventually(SOON, "a repaired one is listed", async || world.watch.current().len() == 2).await;
}

#[tokio::test]
async fn a_parent_that_was_deleted_and_created_again_is_followed() {
    let mut world = ReaderAndWriter::new("reborn").await;
    for round in 1..=5 {
        world.put("a", round).await;
        world.agrees().await;
        world.raw.delete(&path("a")).await.unwrap();
        world.raw.delete(SERVICE).await.unwrap();
        if round % 2 == 0 {
            world.raw.delete("/services").await.unwrap();
        }
        eventually(SOON, "nobody is there", async || world.watch.current().is_empty()).await;
        world.raw.mkdir(SERVICE).await.unwrap();
    }
    world.put("b", 9).await;
    world.agrees().await;
    assert_eq!(world.watch.current().freshness(), Freshness::Live);
}

#[tokio::test]
async fn a_parent_that_came_while_the_reader_was_cut_off_is_found() {
    let mut world = ReaderAndWriter::without_service("born-apart").await;
    world.cut_off().await;
    world.raw.mkdir(SERVICE).await.unwrap();
    world.put("a", 1).await;
    world.link.accept().await;
    world.agrees().await;
    world.put("b", 2).await;
    world.agrees().await;
}

#[tokio::test]
async fn a_server_that_tells_of_changes_and_answers_nothing_is_not_believed_for_long() {
    let mut world = ReaderAndWriter::new("half-dead").await;
    world.put("a", 1).await;
    world.agrees().await;
    world.link.freeze(Direction::ToServer);
    let frozen = Stopwatch::start();
    let ReaderAndWriter { link, raw, watch, .. } = &mut world;
    let busy = async {
        for n in 1.. {
            raw.set(&path("a"), &TestRecord::Instance(n).bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let heard = link.carried(Direction::ToClient);
    tokio::select! {
        () = busy => {}
        () = becomes_stale(watch) => {}
    }
    let took = frozen.elapsed();
    println!("measured: stale within {took:?}");
    assert!(frozen.fair() < T / 2, "the session would have been given up after {T:?}; stale after {took:?}");
    assert!(link.carried(Direction::ToClient) > heard + 1_000, "its events came all the while");
    link.thaw();
    live(watch).await;
    world.agrees().await;
}

#[tokio::test]
async fn without_zookeeper_the_instances_stay_and_are_stale() {
    let zk = Launch::single().start().await;
    let chroot = zk.chroot("down").await;
    let raw = chroot.raw().await;
    raw.mkdir(SERVICE).await.unwrap();
    raw.create(&path("a"), &TestRecord::Instance(1).bytes(), CreateMode::Persistent).await.unwrap();
    drop(raw);
    let registry = open(&chroot.connect_string());
    let mut watch = registry.watch(&time());
    assert_eq!(live(&mut watch).await.len(), 1);
    zk.stop(1).await;
    becomes_stale(&mut watch).await;
    always(T * 2, "they stay, beyond the session", async || {
        let snapshot = watch.current();
        snapshot.len() == 1 && matches!(snapshot.freshness(), Freshness::Stale { .. })
    })
    .await;
    zk.start(1).await;
    assert_eq!(live(&mut watch).await.len(), 1);
}

#[tokio::test]
async fn one_chaotic_server_leaves_no_difference() {
    chaos(&ZooKeeper::shared(), "chaos", 12).await;
}

#[tokio::test]
async fn a_chaotic_ensemble_leaves_no_difference() {
    let zk = Launch::ensemble().start().await;
    chaos(&zk, "chaos-of-three", 7).await;
}

/// Concurrent writers, and readers whose links break at random. After each round comes a quiet period, at whose end
/// every reader must see exactly what ZooKeeper holds.
async fn chaos(zk: &ZooKeeper, name: &str, rounds: u32) {
    let mut rng = seeded(name);
    let chroot = zk.chroot(name).await;
    let witness = chroot.raw().await;
    witness.mkdir(SERVICE).await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(FaultyReader::new(zk, &chroot, rng.random()).await);
    }
    // In any case one session is lost.
    readers[0].doomed = Some(LinkFault::Refuse(READER_SESSION.mul_f64(1.5)));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let rng = StdRng::seed_from_u64(rng.random());
        writers.push(Writer { name: number, raw: chroot.raw().await, rng, nodes: BTreeSet::new() });
    }
    let (changes, mut faults) = (Arc::new(AtomicU64::new(0)), BTreeMap::new());
    let mut outlasted = 0;
    let mut round = 0;
    // A busy machine takes more rounds for as many changes.
    while round < rounds || changes.load(Ordering::Relaxed) < CHANGES && round < rounds * 5 {
        round += 1;
        let quiet = Arc::new(AtomicBool::new(false));
        let writing: Vec<_> = writers
            .drain(..)
            .map(|writer| tokio::spawn(writer.write_until(quiet.clone(), changes.clone())))
            .collect();
        let trouble = readers.iter_mut().map(FaultyReader::trouble);
        for struck in futures_util::future::join_all(trouble).await.into_iter().flatten() {
            outlasted += u32::from(struck.outlasts(READER_SESSION));
            *faults.entry(struck.to_string()).or_insert(0_u32) += 1;
        }
        quiet.store(true, Ordering::Relaxed);
        for task in writing {
            writers.push(task.await.unwrap());
        }
        let truth = Truth::read(&witness, SERVICE).await.unwrap();
        for (number, reader) in readers.iter_mut().enumerate() {
            println!("round {round}, reader {number}: {} instances at {}", truth.len(), truth.zxid);
            agrees(&mut reader.watch, &truth).await;
            live(&mut reader.watch).await;
        }
    }
    let changes = changes.load(Ordering::Relaxed);
    println!("{changes} changes, faults {faults:?}, {outlasted} longer than a session");
    assert!(changes >= CHANGES, "only {changes} changes were made");
    assert!(outlasted >= 1, "no reader lost its session");
    for reader in readers {
        // It goes on for as long as nothing is wrong.
        assert!(!reader.checked.is_finished(), "{:?}", reader.checked.await);
    }
}

const CHANGES: u64 = 3_000;
const READERS: usize = 4;
const READER_SESSION: Duration = Duration::from_secs(2);
const WRITERS: usize = 3;

/// A client that only reads, and the links that it reads over.
struct FaultyReader {
    links: Vec<Proxy>,
    watch: ServiceWatch,
    rng: StdRng,
    /// The first fault to come.
    doomed: Option<LinkFault>,
    checked: AbortOnDropHandle<()>,
}

impl FaultyReader {
    async fn new(zk: &ZooKeeper, chroot: &Chroot, seed: u64) -> Self {
        let links = zk.proxies().await;
        let mut options = options();
        options.session_timeout = READER_SESSION;
        // No audit may come to the aid of an event that was missed.
        options.audit_interval = SOON * 10;
        let registry = Registry::open(chroot.through(hosts(&links)).parse().unwrap(), options);
        let mut watch = registry.watch(&time());
        live(&mut watch).await;
        let checked = AbortOnDropHandle::new(tokio::spawn(never_goes_back(watch.clone())));
        Self { links, watch, rng: StdRng::seed_from_u64(seed), doomed: None, checked }
    }

    /// A few faults, one after the other; says which.
    async fn trouble(&mut self) -> Vec<LinkFault> {
        let mut struck = Vec::new();
        for _ in 0..self.rng.random_range(1..=4) {
            let fault = self.doomed.take().unwrap_or_else(|| LinkFault::draw(&mut self.rng, READER_SESSION));
            struck.push(fault);
            fault.strike(&self.links).await;
            if self.rng.random_bool(0.5) {
                // Not even a moment of peace, half of the time.
                let _ = tokio::time::timeout(T / 8, self.watch.live()).await;
            }
        }
        link_faults::clear(&self.links).await;
        struck
    }
}

/// Revision and watermark only grow, and ids are sorted and unique, in every snapshot that can be caught.
async fn never_goes_back(mut watch: ServiceWatch) {
    let (mut revision, mut watermark) = (0, Zxid(0));
    while let Ok(snapshot) = watch.changed().await {
        assert!(snapshot.revision() > revision, "revision {} after {revision}", snapshot.revision());
        assert!(snapshot.watermark() >= watermark, "{} after {watermark}", snapshot.watermark());
        assert!(snapshot.instances().is_sorted_by(|a, b| a.id() < b.id()));
        (revision, watermark) = (snapshot.revision(), snapshot.watermark());
    }
}

/// A writer that changes nodes of its own, as fast as ZooKeeper answers.
struct Writer {
    name: usize,
    raw: Raw,
    rng: StdRng,
    /// The nodes of its own that exist.
    nodes: BTreeSet<u32>,
}

impl Writer {
    async fn write_until(mut self, quiet: Arc<AtomicBool>, changes: Arc<AtomicU64>) -> Self {
        while !quiet.load(Ordering::Relaxed) {
            self.write().await.unwrap();
            changes.fetch_add(1, Ordering::Relaxed);
        }
        self
    }

    async fn write(&mut self) -> Result<(), Error> {
        let node = self.rng.random_range(0..20);
        let path = path(&format!("w{}-{node}", self.name));
        let record = TestRecord::draw(&mut self.rng).bytes();
        if !self.nodes.contains(&node) {
            let mode = [CreateMode::Ephemeral, CreateMode::Persistent][self.rng.random_range(0..2)];
            self.nodes.insert(node);
            return self.raw.create(&path, &record, mode).await.map(drop);
        }
        match self.rng.random_range(0..3) {
            0 => self.raw.set(&path, &record).await.map(drop),
            1 => {
                self.nodes.remove(&node);
                self.raw.delete(&path).await
            }
            _ => {
                self.raw.delete(&path).await?;
                self.raw.create(&path, &record, CreateMode::Ephemeral).await.map(drop)
            }
        }
    }
}
