//! The balancer over real servers, of which one is made slow, one made to refuse, and one killed, all under load: no query
//! fails, the slow one gets less, those that fail are left alone, and all is forgiven when they are well again.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use integration_tests::eventually::eventually;
use integration_tests::process::{Program, RunningProgram, Signal};
use integration_tests::proxy::Proxy;
use integration_tests::registries::{open, time};
use integration_tests::time_servers::{SOON, registered};
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use time_client::client::{Options, TimeClient};
use time_server::protocol::Request;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::Registry;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{self, Balancer, Event, Phase, PhaseChange};

/// Three servers of one listener each; two of them can only be reached over a proxy.
struct TroubledFleet {
    chroot: Chroot,
    slow: Proxy,
    refusing: Proxy,
    mortal: (SocketAddr, RunningProgram),
    _others: [RunningProgram; 2],
}

impl TroubledFleet {
    async fn start() -> Self {
        let chroot = ZooKeeper::shared().chroot("balance").await;
        let (slow, one) = behind_a_proxy(&chroot).await;
        let (refusing, other) = behind_a_proxy(&chroot).await;
        let mortal = serve(&chroot, &[]);
        let address = registered(&mortal, 1).await;
        Self { chroot, slow, refusing, mortal: (address, mortal), _others: [one, other] }
    }

    fn ids(&self) -> [String; 3] {
        [self.slow.address(), self.refusing.address(), self.mortal.0].map(|address| address.to_string())
    }
}

/// A session so long that no instance is unlisted: what is left alone is the balancer's merit alone.
fn serve(chroot: &Chroot, arguments: &[&str]) -> RunningProgram {
    let listen: &[&str] = if arguments.is_empty() { &["--listen", "127.0.0.1:0"] } else { arguments };
    Program::time_server()
        .args(["--zookeeper", &chroot.connect_string(), "--session-timeout", "40s"])
        .args(listen)
        .start()
}

async fn behind_a_proxy(chroot: &Chroot) -> (Proxy, RunningProgram) {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::to(free).await;
    let (listen, advertise) = (free.to_string(), proxy.address().to_string());
    let server = serve(chroot, &["--listen", &listen, "--advertise", &advertise]);
    assert_eq!(registered(&server, 1).await, proxy.address());
    (proxy, server)
}

/// A client of one strategy under a steady load.
struct BalancedClient {
    strategy: &'static str,
    client: Arc<TimeClient>,
    events: Arc<Mutex<Vec<Event>>>,
    tally: Arc<Mutex<Tally>>,
    _load: Vec<AbortOnDropHandle<()>>,
}

/// The outcomes of the queries.
#[derive(Default)]
struct Tally {
    answers: BTreeMap<String, u32>,
    failed_attempts: usize,
    failed: Vec<String>,
}

const AT_ONCE: usize = 4;

impl BalancedClient {
    fn start(registry: &Registry, strategy: &'static str) -> Self {
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let mut options = balance::BalancerOptions::default();
        let record = Arc::clone(&events);
        options.observer = Some(Arc::new(move |event: &Event| record.lock().unwrap().push(event.clone())));
        // Shorter than by default, as a test has less patience.
        options.ejection.base = Duration::from_secs(1);
        options.decay = Duration::from_secs(1);
        let balancer = Balancer::with_options(strategy.parse::<Named>().unwrap(), options);
        let client = Arc::new(TimeClient::new(registry, &time(), balancer, Options::default()));
        let tally: Arc<Mutex<Tally>> = Arc::default();
        let load = (0..AT_ONCE)
            .map(|_| AbortOnDropHandle::new(tokio::spawn(ask_for_ever(client.clone(), tally.clone()))))
            .collect();
        Self { strategy, client, events, tally, _load: load }
    }

    /// Waits for so many answers from now on, and says which share of them each instance gave.
    async fn shares(&self, answers: u32) -> BTreeMap<String, f64> {
        self.tally.lock().unwrap().answers.clear();
        let what = format!("{answers} answers under {}", self.strategy);
        let counts = eventually(SOON, &what, async || {
            let counts = self.tally.lock().unwrap().answers.clone();
            if counts.values().sum::<u32>() >= answers { Ok(counts) } else { Err(format!("{counts:?}")) }
        })
        .await;
        let sum = f64::from(counts.values().sum::<u32>());
        counts.into_iter().map(|(id, count)| (id, f64::from(count) / sum)).collect()
    }

    /// Waits until this share of the answers is such.
    async fn share_becomes(&self, id: &str, what: &str, holds: impl Fn(f64) -> bool) {
        eventually(SOON, &format!("{id} {what} under {}", self.strategy), async || {
            let shares = self.shares(300).await;
            let share = shares.get(id).copied().unwrap_or_default();
            println!("{}: {share:.3} of the answers from {id}, which {what}?", self.strategy);
            if holds(share) { Ok(()) } else { Err(format!("{shares:?}")) }
        })
        .await;
    }

    async fn observes(&self, what: &str, is_it: impl Fn(&PhaseChange) -> bool) {
        eventually(SOON, &format!("{what} under {}", self.strategy), async || {
            let events = self.events.lock().unwrap();
            if events.iter().any(|event| is_it(&event.change)) { Ok(()) } else { Err(format!("{events:?}")) }
        })
        .await;
    }

    fn is_available(&self, id: &str) -> bool {
        let endpoints = self.client.balancer().endpoints();
        endpoints.is_some_and(|set| {
            set.iter().any(|endpoint| endpoint.id().as_str() == id && endpoint.phase() == Phase::Available)
        })
    }

    fn failed_attempts(&self) -> usize {
        self.tally.lock().unwrap().failed_attempts
    }

    fn no_query_failed(&self) {
        let failed = &self.tally.lock().unwrap().failed;
        assert!(failed.is_empty(), "{}: {failed:?}", self.strategy);
    }
}

/// Over kept connections and over new ones.
async fn ask_for_ever(client: Arc<TimeClient>, tally: Arc<Mutex<Tally>>) {
    for request in [Request::Now, Request::Timestamp].into_iter().cycle() {
        let answer = client.ask(request, None).await;
        {
            let mut tally = tally.lock().unwrap();
            match answer {
                Ok(answer) => {
                    tally.failed_attempts += answer.failed.len();
                    *tally.answers.entry(answer.instance.id().to_string()).or_default() += 1;
                }
                Err(error) => tally.failed.push(error.to_string()),
            }
        }
        // A steady load, not as much as the machine can do.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_a_refusing_and_a_killed_server_fail_no_query_and_are_forgiven() {
    let mut fleet = TroubledFleet::start().await;
    let [slow, refusing, mortal] = fleet.ids();
    let registry = open(&fleet.chroot.connect_string());
    let clients = ["least-loaded", "peak-ewma"].map(|strategy| BalancedClient::start(&registry, strategy));
    for client in &clients {
        for id in [&slow, &refusing, &mortal] {
            client.share_becomes(id, "has its share", |share| share > 0.1).await;
        }
    }

    fleet.slow.delay(Duration::from_millis(50));
    for client in &clients {
        client.share_becomes(&slow, "is shunned", |share| share < 0.1).await;
    }

    // Only the slow one is left.
    let before = clients.each_ref().map(BalancedClient::failed_attempts);
    fleet.refusing.refuse().await;
    fleet.refusing.cut_rst().await;
    fleet.mortal.1.signal(Signal::SIGKILL);
    let broken = Instant::now();
    for client in &clients {
        for id in [&refusing, &mortal] {
            client.observes(&format!("the ejection of {id}"), |change| ejects(change, id)).await;
        }
        println!("{}: both ejected within {:?}", client.strategy, broken.elapsed());
    }
    for (client, before) in clients.iter().zip(before) {
        let shares = client.shares(60).await;
        assert_eq!(shares.keys().collect::<Vec<_>>(), [&slow], "{shares:?}");
        let failed = client.failed_attempts() - before;
        println!("{}: {failed} failed attempts in {:?}", client.strategy, broken.elapsed());
        // Five in a row or a bad record eject, those under way at once come on top; then one probe every second or more.
        let most = 2 * (16 + AT_ONCE + 2 * usize::try_from(broken.elapsed().as_secs() + 1).unwrap());
        assert!(failed <= most, "{}: {failed} failed attempts, at most {most}", client.strategy);
    }

    fleet.refusing.accept().await;
    let listen = mortal.clone();
    fleet.mortal.1 = serve(&fleet.chroot, &["--listen", &listen]);
    assert_eq!(registered(&fleet.mortal.1, 1).await, fleet.mortal.0);
    for client in &clients {
        let back = |change: &PhaseChange| matches!(change, PhaseChange::Available { instance } if instance.as_str() == refusing);
        client.observes("the return of the refusing one", back).await;
        for id in [&refusing, &mortal] {
            let what = format!("{id} is available under {}", client.strategy);
            eventually(SOON, &what, async || client.is_available(id)).await;
            client.share_becomes(id, "has a share again", |share| share > 0.02).await;
        }
    }

    fleet.slow.delay(Duration::ZERO);
    for client in &clients {
        client.share_becomes(&slow, "has its share again", |share| share > 0.1).await;
        client.no_query_failed();
    }
}

fn ejects(change: &PhaseChange, id: &str) -> bool {
    matches!(change, PhaseChange::Ejected { instance, .. } if instance.as_str() == id)
}
