//! Three servers, 500 queries a second, and one of the servers restarted or killed meanwhile: what the tests of the resolver
//! assert and the benchmark prints.
//!
//! The client runs in this process, so that the queries under way at the moment of a kill are counted and not guessed.

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use time_client::client::{Options, TimeClient};
use time_client::load::{Load, Pace, Turn, Work};
use time_server::protocol::Request;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zk_registry::balance::strategy::RoundRobin;
use zk_registry::balance::{self, Balancer, Ejection, EndpointSet, Event, PhaseChange};
use zk_registry::{InstanceId, Registry, Resolve};

use crate::eventually::eventually;
use crate::fair_time::Stopwatch;
use crate::process::{Program, RunningProgram, Signal};
use crate::zookeeper::Chroot;

/// Three servers of one listener each; a port of each one's own, so that a restart keeps the address.
#[derive(Debug)]
pub struct ThreeServers {
    chroot: Chroot,
    servers: Vec<(SocketAddr, RunningProgram)>,
}

impl ThreeServers {
    /// Starts the servers and waits until they are registered.
    ///
    /// # Panics
    ///
    /// Like everything here: when what it waits for does not happen.
    pub async fn start(chroot: Chroot) -> Self {
        let ports: Vec<_> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("there is a free port")).collect();
        let addresses: Vec<_> =
            ports.iter().map(|port| port.local_addr().expect("a bound socket has an address")).collect();
        drop(ports);
        let mut servers = Vec::new();
        for address in addresses {
            servers.push((address, serve(&chroot, address).await));
        }
        Self { chroot, servers }
    }

    /// Where they are registered.
    pub fn chroot(&self) -> &Chroot {
        &self.chroot
    }

    /// The address of one.
    pub fn address(&self, n: usize) -> SocketAddr {
        self.servers[n].0
    }

    /// Ends each by SIGTERM and starts it again, one after the other.
    pub async fn restart_each(&mut self) {
        for n in 0..self.servers.len() {
            let (address, server) = &self.servers[n];
            server.signal(Signal::SIGTERM);
            assert_eq!(server.exit(SOON).await.code(), Some(0));
            let again = serve(&self.chroot, *address).await;
            self.servers[n].1 = again;
        }
    }

    /// Ends one by SIGKILL. It stays listed until its session is over, 4 seconds later.
    pub fn kill(&self, n: usize) {
        self.servers[n].1.signal(Signal::SIGKILL);
    }

    /// Starts one that was killed, once the node of its predecessor is taken over.
    pub async fn revive(&mut self, n: usize) {
        let address = self.servers[n].0;
        self.servers[n].1 = serve(&self.chroot, address).await;
    }
}

async fn serve(chroot: &Chroot, address: SocketAddr) -> RunningProgram {
    let server = Program::time_server()
        .args(["--zookeeper", &chroot.connect_string(), "--session-timeout", "4s"])
        .args(["--listen", &address.to_string()])
        .start();
    server.says("registered ", SOON).await;
    server
}

/// 500 queries a second, until [`QueryLoad::stop`].
#[derive(Debug)]
pub struct QueryLoad {
    asks: Arc<Asks>,
    victim: Arc<Victim>,
    stop: CancellationToken,
    running: JoinHandle<Vec<QueryWorker>>,
}

#[derive(Debug)]
struct Asks {
    client: TimeClient,
    answered: AtomicU64,
}

/// The server that a kill hits, and what the balancer does with it.
#[derive(Debug, Default)]
struct Victim {
    set: OnceLock<Arc<EndpointSet>>,
    ejection: Mutex<Option<Ejected>>,
    /// Calls that were to find out whether it is well again.
    probes: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Ejected {
    at: Instant,
    /// When that was noticed, for the stalls until then.
    noticed: Stopwatch,
    /// Calls under way to it at that moment.
    in_flight: u32,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryCounts {
    /// Queries that were answered.
    pub answered: u64,
    /// Queries that were not.
    pub failed: u64,
    /// Attempts that failed, also those of queries that another instance then answered.
    pub failed_attempts: u64,
    /// Queries that met a kept connection which had died.
    pub dead_connections: u64,
}

/// The effect of a kill.
#[derive(Clone, Copy, Debug)]
pub struct KillOutcome {
    /// How it went, over the whole run.
    pub counts: QueryCounts,
    /// The attempts that may fail: those under way to the victim when it was killed and when it was ejected, as many as eject
    /// it, and its probes while it is listed still.
    pub allowed: u64,
    /// How long after the kill it was ejected, stalls of the machine apart.
    pub ejected_after: Duration,
}

impl QueryLoad {
    /// Begins, and returns once queries are answered.
    pub async fn start(fleet: &ThreeServers) -> Self {
        let to = fleet.chroot.connect_string().parse().expect("it is one");
        let registry = Registry::open(to, zk_registry::Options::default());
        let service = "time".parse().expect("it is a name");
        registry.watch(&service).live().await.expect("the registry is open");
        let victim = Arc::new(Victim::default());
        let mut options = balance::BalancerOptions::default();
        options.observer = Some(Arc::new({
            let victim = victim.clone();
            move |event: &Event| victim.observe(event)
        }));
        let balancer = Balancer::with_options(RoundRobin::default(), options);
        let client = TimeClient::new(&registry, &service, balancer, Options::default());
        let asks = Arc::new(Asks { client, answered: AtomicU64::new(0) });
        let load = Load { concurrency: AT_ONCE, pace: Pace::Rate(RATE), count: None, duration: None };
        let stop = CancellationToken::new();
        let worker = {
            let asks = asks.clone();
            move || QueryWorker { asks: asks.clone(), counts: QueryCounts::default() }
        };
        let running = tokio::spawn(load.run(stop.clone(), worker));
        let client = Self { asks, victim, stop, running };
        client.answered(100).await;
        client
    }

    /// Waits until so many more queries were answered.
    pub async fn answered(&self, more: u64) {
        let answered = || self.asks.answered.load(Ordering::Relaxed);
        let enough = answered() + more;
        eventually(SOON, "further answers", async || {
            if answered() >= enough { Ok(()) } else { Err(format!("{} of {enough}", answered())) }
        })
        .await;
    }

    /// Ends the queries.
    pub async fn stop(self) -> QueryCounts {
        self.stop.cancel();
        let workers = self.running.await.expect("no worker panics");
        workers.iter().fold(QueryCounts::default(), |sum, worker| sum.and(worker.counts))
    }

    /// Kills a server, lets `more` queries be answered, and ends.
    pub async fn kill(self, fleet: &ThreeServers, n: usize, more: u64) -> KillOutcome {
        let set = self.asks.client.balancer().endpoints().expect("three are up");
        let id = fleet.address(n).to_string();
        let part = set.part(|endpoint| endpoint.id().as_str() == id).expect("it is listed").0;
        self.victim.set.set(part).expect("it is set once");
        let (killed, watch) = (Instant::now(), Stopwatch::start());
        let before = self.victim.in_flight();
        fleet.kill(n);
        let in_flight = before.max(self.victim.in_flight());
        self.answered(more).await;
        let victim = self.victim.clone();
        let counts = self.stop().await;
        let ejected = victim.ejection().expect("whoever is killed is ejected");
        let threshold = Ejection::default().consecutive_failures.map_or(0, std::num::NonZeroU32::get);
        KillOutcome {
            counts,
            allowed: u64::from(in_flight + ejected.in_flight + threshold)
                + victim.probes.load(Ordering::Relaxed),
            ejected_after: (ejected.at - killed).saturating_sub(watch.stalls_until(ejected.noticed)),
        }
    }
}

impl Victim {
    fn in_flight(&self) -> u32 {
        self.set.get().map_or(0, |set| set.iter().map(balance::Endpoint::in_flight).sum())
    }

    /// Remembers the first ejection of the victim, of which there is none before the kill, and counts its probes.
    fn observe(&self, event: &Event) {
        match &event.change {
            PhaseChange::Ejected { instance, .. } if self.is(instance) => {
                let mut ejection = self.ejection.lock().unwrap_or_else(PoisonError::into_inner);
                ejection.get_or_insert(Ejected {
                    at: event.at,
                    noticed: Stopwatch::start(),
                    in_flight: self.in_flight(),
                });
            }
            PhaseChange::Probing { instance } if self.is(instance) => {
                self.probes.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn is(&self, instance: &InstanceId) -> bool {
        self.set.get().is_some_and(|set| set.iter().any(|endpoint| endpoint.id() == instance))
    }

    fn ejection(&self) -> Option<Ejected> {
        *self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct QueryWorker {
    asks: Arc<Asks>,
    counts: QueryCounts,
}

impl Work for QueryWorker {
    async fn turn(&mut self, _: Turn) {
        match self.asks.client.ask(Request::Now, None).await {
            Ok(answer) => {
                self.counts.answered += 1;
                self.counts.failed_attempts += answer.failed.len() as u64;
                self.counts.dead_connections += u64::from(answer.met_dead_connection);
                self.asks.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.counts.failed += 1;
                self.counts.failed_attempts += error.failed().len() as u64;
            }
        }
    }
}

impl QueryCounts {
    fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            failed_attempts: self.failed_attempts + other.failed_attempts,
            dead_connections: self.dead_connections + other.dead_connections,
        }
    }
}

const AT_ONCE: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");
const RATE: f64 = 500.0;
const SOON: Duration = Duration::from_secs(20);
