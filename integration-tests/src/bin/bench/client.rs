//! The resolver: what choosing an instance costs inside a query, what it costs ZooKeeper, and what it costs throughput.

use std::num::NonZeroUsize;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use integration_tests::bench::runs::{latencies, per_call};
use integration_tests::bench::{Bound, Row, Samples, Subject, Unit, World};
use integration_tests::four_letter;
use integration_tests::process::{Program, RunningProgram};
use integration_tests::raw::Raw;
use integration_tests::under_load::{KillOutcome, QueryCounts, QueryLoad, ThreeServers};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use time_client::client::{Options, TimeClient};
use time_client::load::{Load, Pace, Turn, Work};
use time_server::protocol::Request;
use tokio_util::sync::CancellationToken;
use zk_registry::balance::strategy::RoundRobin;
use zk_registry::balance::{Balancer, Outcome};
use zk_registry::{Instance, Registry, Resolve};

use crate::again::{asked, say};

pub(crate) const SUBJECT: Subject =
    Subject { name: "client", title: "asking through the resolver", run: |world| run(world).boxed_local() };

async fn run(world: &World) -> Vec<Row> {
    let zookeeper = world.zookeeper().await;
    let chroot = zookeeper.chroot("bench-client").await;
    let _server = three_listeners(&chroot).await;
    let registry = Registry::open(chroot.connect_string().parse().expect("it is one"), Default::default());
    let service = "time".parse().expect("it is a name");
    // Held, so that the client's own watch finds a view that is live.
    let mut watch = registry.watch(&service);
    watch.live().await.expect("the registry is open");
    let client =
        TimeClient::new(&registry, &service, Balancer::new(RoundRobin::default()), Options::default());
    let client = Arc::new(client);
    client.ask(Request::Now, None).await.expect("three listeners are up");

    let (picks, sessions) = world
        .runs
        .beside(
            async || pick(&client),
            async || latencies(20, async || a_session_each(&chroot).await).await.median(),
        )
        .await;
    let fixed = fixed(&client);
    let (resolved, unresolved) = world
        .runs
        .beside(async || throughput(&client, None).await, async || throughput(&client, Some(&fixed)).await)
        .await;
    let requests = world.runs.alone(async || requests_per_query(zookeeper.address(1), &client).await).await;
    let (once, bare) = world.runs.beside(async || once(&chroot), async || bare(&chroot)).await;
    let faults = faults(world, zookeeper).await;
    let mut rows = vec![
        Row::new("`time-client --count 1`, the whole process", Unit::Time, samples(once))
            .beside("a process that connects and lists", samples(bare))
            .bound(Bound::RatioAtMost(1.3)),
        Row::new("resolve and pick, inside one query", Unit::Time, samples(picks))
            .against("a session and a list, as in 2016", samples(sessions))
            .bound(Bound::within(Duration::from_micros(1))),
        // The session's pings are among what the server counts.
        Row::new("ZooKeeper requests per query", Unit::Count, samples(requests)).bound(Bound::AtMost(0.01)),
        Row::new("queries, 64 at once, three instances", Unit::Rate, samples(resolved))
            .beside("one fixed address", samples(unresolved))
            .bound(Bound::RatioAtLeast(0.9)),
    ];
    rows.extend(faults);
    rows
}

/// The whole run of the program that asks once.
fn once(chroot: &Chroot) -> f64 {
    let program = Program::time_client();
    let mut command = Command::new(program.path());
    command.args(["--zookeeper", &chroot.connect_string(), "--count", "1"]);
    until_over(command)
}

/// A run of a process that opens a session, lists the service and closes the session: the least that asking once can take.
fn bare(chroot: &Chroot) -> f64 {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a path"));
    command.env(LIST_ONCE, chroot.connect_string());
    until_over(command)
}

fn until_over(mut command: Command) -> f64 {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("it was built");
    let took = start.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    took.as_nanos() as f64
}

/// Lists the service and ends, in a process that was started for that.
pub(crate) async fn list_if_asked() {
    let Some(to) = asked(LIST_ONCE) else { return };
    let raw = Raw::connect(&to).await;
    let names = raw.list("/services/time").await.expect("the server is up");
    say(&format!("{}", names.map_or(0, |names| names.len())));
    raw.close().await;
    std::process::exit(0);
}

/// Where the process is told to connect to.
const LIST_ONCE: &str = "BENCH_LIST_ONCE";

/// The cost of a server's fault for its clients: the runs of the end-to-end tests, counted.
async fn faults(world: &World, zookeeper: &ZooKeeper) -> Vec<Row> {
    let mut fleet = ThreeServers::start(zookeeper.chroot("bench-faults").await).await;
    let restarts = world
        .runs
        .alone(async || {
            let client = QueryLoad::start(&fleet).await;
            fleet.restart_each().await;
            client.stop().await
        })
        .await;
    let kills = world
        .runs
        .alone(async || {
            let kill = QueryLoad::start(&fleet).await.kill(&fleet, 0, AFTER_A_KILL).await;
            fleet.revive(0).await;
            kill
        })
        .await;
    let of =
        |count: fn(&QueryCounts) -> u64| restarts.iter().map(|run| count(run) as f64).collect::<Samples>();
    let of_kill = |figure: fn(&KillOutcome) -> f64| kills.iter().map(figure).collect::<Samples>();
    let (restart, kill) = ("rolling restart of three under 500/s", "kill -9 of one of three under 500/s");
    vec![
        Row::new(format!("{restart}: failed queries"), Unit::Count, of(|run| run.failed))
            .bound(Bound::AtMost(0.0)),
        Row::new(format!("{restart}: failed attempts"), Unit::Count, of(|run| run.failed_attempts))
            .bound(Bound::AtMost(0.0)),
        Row::new(format!("{kill}: failed queries"), Unit::Count, of_kill(|kill| kill.counts.failed as f64))
            .bound(Bound::AtMost(0.0)),
        Row::new(
            format!("{kill}: failed attempts and connections that died"),
            Unit::Count,
            of_kill(|kill| (kill.counts.failed_attempts + kill.counts.dead_connections) as f64),
        )
        .beside("under way, and so many eject", of_kill(|kill| kill.allowed as f64))
        .bound(Bound::RatioAtMost(1.0)),
        Row::new(
            format!("{kill}: until it is ejected"),
            Unit::Time,
            of_kill(|kill| kill.ejected_after.as_nanos() as f64),
        )
        .bound(Bound::within(Duration::from_secs(1))),
    ]
}

async fn three_listeners(chroot: &Chroot) -> RunningProgram {
    let server = Program::time_server()
        .args(["--zookeeper", &chroot.connect_string()])
        .args(["--listen", "127.0.0.1:0"].repeat(3))
        .start();
    server.stdout().nth("time-server", 3, "registered ", Duration::from_secs(20)).await;
    server
}

fn pick(client: &TimeClient) -> f64 {
    per_call(100_000, || {
        let lease = client.pick(None, &[]).expect("three listeners are up");
        lease.finish(Outcome::Success);
    })
}

/// The work of the program of 2016 before each query.
async fn a_session_each(chroot: &Chroot) {
    let raw = Raw::connect(&chroot.connect_string()).await;
    raw.list("/services/time").await.expect("the server is up");
    raw.close().await;
}

fn fixed(client: &TimeClient) -> Instance {
    let snapshot = client.snapshot();
    let member = snapshot.instances().next().expect("three listeners are up");
    Instance::new(member.host(), member.port())
}

/// Queries per second, 64 at once, as fast as they go.
async fn throughput(client: &Arc<TimeClient>, fixed: Option<&Instance>) -> f64 {
    let load = Load {
        concurrency: AT_ONCE,
        pace: Pace::Every(Duration::ZERO),
        count: Some(QUERIES),
        duration: None,
    };
    let start = Instant::now();
    load.run(CancellationToken::new(), || Asker { client: client.clone(), fixed: fixed.cloned() }).await;
    QUERIES as f64 / start.elapsed().as_secs_f64()
}

struct Asker {
    client: Arc<TimeClient>,
    /// The server to ask without resolving.
    fixed: Option<Instance>,
}

impl Work for Asker {
    async fn turn(&mut self, _: Turn) {
        match &self.fixed {
            Some(instance) => drop(self.client.ask_instance(instance, Request::Now).await.expect("it is up")),
            None => drop(self.client.ask(Request::Now, None).await.expect("three listeners are up")),
        }
    }
}

async fn requests_per_query(server: std::net::SocketAddr, client: &Arc<TimeClient>) -> f64 {
    let before = received(server).await;
    throughput(client, None).await;
    (received(server).await - before) / QUERIES as f64
}

async fn received(server: std::net::SocketAddr) -> f64 {
    let figures = four_letter::figures(server).await.expect("the server is up");
    figures["zk_packets_received"].parse().expect("it is a number")
}

fn samples(values: Vec<f64>) -> Samples {
    values.into_iter().collect()
}

const AT_ONCE: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");
const QUERIES: u64 = 20_000;
/// Two seconds of queries: an ejection takes a fraction of one.
const AFTER_A_KILL: u64 = 1000;
