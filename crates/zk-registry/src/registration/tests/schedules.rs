//! Seeded fault schedules over the memory store: for any order of faults at most one node per registration, none after a
//! withdrawal, always one at rest. A failure prints its seed; `SCHEDULE_SEED=n` replays it, or `RESHARD_SEED=n` where the number of
//! shards changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;

use crate::format::shards::{Marker, OwnNode, Shards, marker};
use crate::instance::{Instance, Status};
use crate::options::Options;
use crate::registration::{Registering, Registration, RegistrationState};
use crate::registry::Registry;
use crate::registry::background::Background;
use crate::store::Fault;
use crate::store::memory::{Cluster, Connector, Fate, Foreign};
use crate::withdrawn::Withdrawn;

const SESSION: Duration = Duration::from_secs(4);
const AUDIT: Duration = Duration::from_secs(4);
/// More than a `multi` needs to be worth it.
const IDS: u16 = 6;
/// Between these an operator switches the weight.
const LIGHT: u16 = 2;
const HEAVY: u16 = 9;
const ROOT: &str = "/services/time";
/// A session that is no registry's.
const STRANGER: i64 = 0x99;

/// One process under test: a registry with its own network.
struct Process {
    registry: Registry,
    network: Connector,
    held: BTreeMap<u16, Registration>,
}

impl Process {
    fn start(cluster: &Cluster, shards: u16, seed: u64) -> Self {
        let network = cluster.connector(SESSION);
        let options = Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT);
        let options = options.with_shards(shards);
        let background = Ok(Background::on(Handle::current()));
        let registry = Registry::over(Arc::new(network.clone()), 0, options, background, seed);
        Self { registry, network, held: BTreeMap::new() }
    }
}

/// Over how many nodes the processes spread what they register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Spread {
    Over(u16),
    /// Each process was told of a number of its own, and the marker changes all the time.
    Changing,
}

impl Spread {
    /// The largest number of shards that there is.
    fn most(self) -> u16 {
        match self {
            Self::Over(shards) => shards,
            Self::Changing => 16,
        }
    }
}

/// What a schedule remembers to judge by.
struct World {
    spread: Spread,
    /// Ports whose last withdrawal was confirmed, and that nobody registered again since.
    withdrawn: BTreeSet<u16>,
    /// Ports of which a withdrawal was not waited for: it may still be under way.
    unacknowledged: BTreeSet<u16>,
    /// What each process wished last of each port. It wins, whoever writes the node.
    wished: BTreeMap<(usize, u16), Status>,
}

/// Where the node of an instance should stand.
fn place(port: u16, shards: u16) -> String {
    let id = format!("h:{port}").parse().unwrap();
    match Shards::new(shards).of(&id) {
        Some(shard) => format!("/services/time~shard-{shard}/{id}"),
        None => format!("/services/time/{id}"),
    }
}

/// Where nodes of an instance stand.
fn standing(cluster: &Cluster, port: u16, spread: Spread) -> Vec<String> {
    let shards = (0..spread.most()).map(|shard| format!("/services/time~shard-{shard}/h:{port}"));
    let places = std::iter::once(format!("/services/time/h:{port}")).chain(shards);
    places.filter(|path| cluster.node(path).is_some()).collect()
}

/// The number of shards that the marker names.
fn marked(cluster: &Cluster) -> Shards {
    cluster.node(ROOT).map_or(Shards::NONE, |node| Marker::read(&node.data).shards())
}

/// Somebody writes the marker.
fn remark(rng: &mut SmallRng, cluster: &Cluster) {
    let shards = marked(cluster);
    match rng.random_range(0..8) {
        0 if cluster.node(ROOT).is_some() => cluster.put(ROOT, b"10.0.0.1"),
        1 => drop(cluster.delete(ROOT)),
        2 if cluster.node(ROOT).is_some() => cluster.put(ROOT, b""),
        _ => {
            let count = [1, 2, 3, 5, 8, 16][rng.random_range(0..6)];
            let node = if rng.random() { OwnNode::Kept } else { OwnNode::Passing };
            cluster.put(ROOT, &marker(shards.changed_to(count), node));
        }
    }
}

async fn step(rng: &mut SmallRng, cluster: &Cluster, processes: &mut [Process], world: &mut World) {
    let spread = world.spread;
    let path = |port| {
        let standing = standing(cluster, port, spread).into_iter().next();
        standing.unwrap_or_else(|| place(port, marked(cluster).count))
    };
    let choice = rng.random_range(0..if spread == Spread::Changing { 28 } else { 24 });
    let chosen = rng.random_range(0..processes.len());
    let port = rng.random_range(1..=IDS);
    let elsewhere =
        processes.iter().enumerate().any(|(n, process)| n != chosen && process.held.contains_key(&port));
    let process = &mut processes[chosen];
    tracing::debug!(choice, chosen, port, "step");
    match choice {
        0..4 => {
            let how = Registering { exclusive: rng.random(), ..Registering::default() };
            process.held.entry(port).or_insert_with(|| {
                world.withdrawn.remove(&port);
                world.wished.insert((chosen, port), Status::Up);
                let service = "time".parse().unwrap();
                let instance = Instance::new("h", port).with_weight(LIGHT.try_into().unwrap());
                process.registry.register_with(&service, instance, how)
            });
        }
        4 | 5 => {
            if let Some(registration) = process.held.remove(&port) {
                let within = Duration::from_millis(rng.random_range(1..3_000));
                match registration.withdraw(within).await {
                    Withdrawn::Confirmed if !elsewhere && !world.unacknowledged.contains(&port) => {
                        world.withdrawn.insert(port);
                    }
                    Withdrawn::Confirmed => {}
                    _ => drop(world.unacknowledged.insert(port)),
                }
            }
        }
        6 => {
            if process.held.remove(&port).is_some() {
                world.unacknowledged.insert(port);
            }
        }
        7 | 8 => {
            if let Some(registration) = process.held.get(&port) {
                let status = if rng.random() { Status::Draining } else { Status::Up };
                world.wished.insert((chosen, port), status);
                let update = registration.update(|attributes| attributes.status = status);
                // It waits while the network is cut; the wish is stored by the first poll.
                let _ = tokio::time::timeout(Duration::from_millis(5), update).await;
            }
        }
        9 => process.network.blip(),
        10 => process.network.cut_for(Duration::from_millis(rng.random_range(1..3_000))),
        11 => process.network.cut_for(Duration::from_millis(rng.random_range(3_000..9_000))),
        12 => {
            process.network.freeze();
            let healed = process.network.clone();
            let outage = Duration::from_millis(rng.random_range(1..8_000));
            tokio::spawn(async move {
                sleep(outage).await;
                healed.heal();
            });
        }
        13 => {
            if let Some(session) = process.network.session() {
                cluster.expire(session);
            }
        }
        14 => process.network.expire_locally(),
        15 => cluster.restart(),
        16 => drop(cluster.delete(&path(port))),
        17 => {
            if let Some(node) = cluster.node(&path(port))
                && node.stat.owner != 0
            {
                let record = String::from_utf8(node.data.to_vec()).unwrap();
                let (light, heavy) = (format!("\"weight\":{LIGHT}"), format!("\"weight\":{HEAVY}"));
                let (from, to) = if record.contains(&light) { (light, heavy) } else { (heavy, light) };
                assert!(record.contains(&from), "{record}");
                cluster.put_as(&path(port), record.replacen(&from, &to, 1).as_bytes(), Foreign::default());
            }
        }
        18 => process.network.lag(),
        19 => cluster.lose_next_write(Fate::Random),
        20 => cluster.lose_next_write(Fate::Delayed(Duration::from_millis(rng.random_range(1..9_000)))),
        21 => {
            let fault = [Fault::NoAuth, Fault::Definite("the quota is exceeded".to_owned())];
            let fault = fault[rng.random_range(0..2)].clone();
            cluster.refuse_writes_for(Duration::from_millis(rng.random_range(1..4_000)), fault);
        }
        22 => {
            let fault = Fault::Definite("throttled".to_owned());
            cluster.refuse_reads_for(Duration::from_millis(rng.random_range(1..2_000)), fault);
        }
        24.. => remark(rng, cluster),
        _ => forge(cluster, &path(port), Duration::from_millis(rng.random_range(1..4_000))),
    }
    sleep(Duration::from_millis(rng.random_range(0..400))).await;
}

/// Somebody puts a copy of a node into a session of his own, which ends a little later.
fn forge(cluster: &Cluster, path: &str, lifetime: Duration) {
    let Some(node) = cluster.node(path).filter(|node| node.stat.owner != 0) else { return };
    cluster.delete(path);
    cluster.put_as(path, &node.data, Foreign { session: STRANGER, ..Foreign::default() });
    let (cluster, path) = (cluster.clone(), path.to_owned());
    tokio::spawn(async move {
        sleep(lifetime).await;
        if cluster.node(&path).is_some_and(|node| node.stat.owner == STRANGER) {
            cluster.delete(&path);
        }
    });
}

async fn run(seed: u64, spread: Spread) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let cluster = Cluster::new(seed);
    // Long enough for much to happen while a request is under way.
    cluster.set_latency(Duration::from_millis(rng.random_range(1..200)));
    let mut processes: Vec<_> = (0..rng.random_range(1..=2))
        .map(|_| {
            let shards = match spread {
                Spread::Over(shards) => shards,
                Spread::Changing => [2, 4, 8][rng.random_range(0..3)],
            };
            Process::start(&cluster, shards, rng.random())
        })
        .collect();
    // Some servers hand out another session in the place of an expired one.
    cluster.replace_sessions(rng.random_ratio(1, 8));
    let mut world = World {
        spread,
        withdrawn: BTreeSet::new(),
        unacknowledged: BTreeSet::new(),
        wished: BTreeMap::new(),
    };
    for _ in 0..rng.random_range(5..30) {
        step(rng, &cluster, &mut processes, &mut world).await;
        for port in &world.withdrawn {
            let standing = standing(&cluster, *port, spread);
            assert!(standing.is_empty(), "seed {seed}: {standing:?} came back");
        }
    }
    for process in &processes {
        process.network.heal();
        process.network.catch_up();
    }
    // Expiry of whatever is left behind, the longest backoff, a conflict's wait and an audit.
    sleep(SESSION * 2 + AUDIT * 2 + Duration::from_secs(6)).await;

    let nodes = cluster.dump();
    for port in 1..=IDS {
        let wanting: Vec<&Registration> =
            processes.iter().filter_map(|process| process.held.get(&port)).collect();
        let standing = standing(&cluster, port, spread);
        assert!(standing.len() <= wanting.len(), "seed {seed}: {standing:?} for {wanting:?}");
        let shards = match spread {
            Spread::Over(shards) => shards,
            Spread::Changing => marked(&cluster).count,
        };
        let path = place(port, shards);
        let owner = nodes.get(&path).map(|node| node.stat.owner);
        if wanting.is_empty() {
            assert_eq!(owner, None, "seed {seed}: {path} is listed and nobody registered it");
            continue;
        }
        assert!(owner.is_some(), "seed {seed}: {path} is not listed: {wanting:?}");
        let registered = wanting
            .iter()
            .filter(|registration| {
                matches!(*registration.states().borrow(), RegistrationState::Registered { .. })
            })
            .count();
        assert_eq!(registered, 1, "seed {seed}: {path}: {wanting:?}");
        let sessions: Vec<_> = processes.iter().filter_map(|process| process.network.session()).collect();
        assert!(
            owner.is_some_and(|owner| sessions.contains(&owner)),
            "seed {seed}: {path} is owned by a ghost"
        );
        let said = processes.iter().enumerate().find_map(|(n, process)| {
            let registration = process.held.get(&port)?;
            let states = registration.states();
            let registered = matches!(*states.borrow(), RegistrationState::Registered { .. });
            registered.then_some((n, registration))
        });
        let (n, registration) = said.expect("one is registered");
        let record = String::from_utf8(nodes[&path].data.to_vec()).unwrap();
        let attributes = registration.attributes();
        let status = if record.contains("\"enabled\":false") { Status::Draining } else { Status::Up };
        assert_eq!(status, world.wished[&(n, port)], "seed {seed}: an update was lost: {record}");
        assert_eq!(attributes.status, status, "seed {seed}: {record}");
        let weight = format!("\"weight\":{}", attributes.weight);
        assert!(record.contains(&weight), "seed {seed}: {record}, and not {weight}");
    }
    for process in processes {
        drop(process.held);
        // A fault that is still armed may hit the goodbye.
        if let Withdrawn::Unconfirmed { gone_within } = process.registry.close(Duration::from_secs(1)).await {
            sleep(gone_within + Duration::from_secs(1)).await;
        }
    }
    assert!(
        cluster.dump().values().all(|node| node.stat.owner == 0),
        "seed {seed}: something outlived the close"
    );
}

#[test]
fn any_order_of_faults_ends_with_one_node_per_registration_and_none_per_withdrawal() {
    all(replayed("SCHEDULE_SEED").unwrap_or(0..10_000), Spread::Over(1));
}

#[test]
fn any_order_of_faults_ends_with_one_node_per_registration_in_its_shard() {
    all(0..2_000, Spread::Over(4));
}

#[test]
fn any_order_of_faults_and_of_changes_of_the_number_of_shards_ends_with_one_node_per_registration() {
    all(replayed("RESHARD_SEED").unwrap_or(0..1_000), Spread::Changing);
}

/// The one schedule that is asked for, with a log.
fn replayed(variable: &str) -> Option<std::ops::Range<u64>> {
    let seed: u64 = std::env::var(variable).ok()?.parse().ok()?;
    tracing_subscriber::fmt()
        .with_env_filter("zk_registry=trace")
        .with_ansi(false)
        .without_time()
        .with_test_writer()
        .init();
    Some(seed..seed + 1)
}

fn all(seeds: std::ops::Range<u64>, spread: Spread) {
    let halves = [seeds.clone().step_by(2), (seeds.start + 1..seeds.end).step_by(2)];
    std::thread::scope(|scope| {
        for half in halves {
            scope.spawn(move || run_all(half, spread));
        }
    });
}

fn run_all(seeds: impl Iterator<Item = u64>, spread: Spread) {
    for seed in seeds {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed, spread))));
        if let Err(panic) = outcome {
            eprintln!("replay seed {seed} of {spread:?}");
            std::panic::resume_unwind(panic);
        }
    }
}
