//! Bad weather, for as long as one likes, over a fleet on three real servers, and what must hold all the time.
//!
//! Rounds of random faults, of links and of servers, alternate with quiet. The ledger knows what is registered; watchers
//! compare what each reader sees with it all the time; and at the end of each quiet period every reader must see exactly
//! what ZooKeeper holds, which must be exactly what is registered. The first violation panics.

mod ledger;
mod registrant;
mod report;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tracing::info;
use zk_registry::{Freshness, Options, Registry, ServiceName};

use crate::eventually::eventually;
use crate::link_faults::{self, LinkFault};
use crate::proxy::{Proxy, hosts};
use crate::raw::Raw;
use crate::servers::Servers;
use crate::truth::Truth;
use crate::zookeeper::{Chroot, ZooKeeper};
use ledger::Ledger;
use registrant::Registrant;
pub use report::Report;
use watcher::Watcher;

/// The session timeout of the whole fleet.
const T: Duration = Duration::from_secs(4);
/// For how long a live snapshot may lack an instance that is registered, or list one that was withdrawn: a server may be
/// 2 seconds behind its leader without being silent, and silence is announced within 1.125 seconds, or 1.625 where the
/// machine lets the thread wait that would say so.
const WRONG: Duration = Duration::from_secs(4);
/// Within what a quiet fleet is as it should be: the longest pause between two attempts to connect, two sessions, and
/// what a busy machine adds.
const CONVERGED: Duration = Duration::from_secs(20);

const REGISTRANTS: usize = 8;
const READERS: usize = 4;
const SERVICE: &str = "/services/soak";

/// Runs for about `lasting` and tells what happened.
///
/// # Panics
///
/// At the first violation, and when the servers do not do as they are told.
pub async fn run(lasting: Duration, rng: &mut StdRng) -> Arc<Report> {
    let end = Instant::now() + lasting;
    let zk = ZooKeeper::ensemble().start().await;
    let chroot = zk.chroot("soak").await;
    let (ledger, report) = (Arc::new(Ledger::default()), Arc::new(Report::default()));
    let mut links = Vec::new();
    let mut registrants = Vec::new();
    for number in 0..REGISTRANTS {
        let proxies = zk.proxies().await;
        let to = chroot.through(hosts(&proxies));
        registrants.push(Registrant::new(number, to, rng, ledger.clone(), report.clone()));
        links.push(proxies);
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let proxies = zk.proxies().await;
        readers.push(Watcher::new(&chroot.through(hosts(&proxies)), &ledger, &report));
        links.push(proxies);
    }
    while Instant::now() < end {
        let quiet = Arc::new(AtomicBool::new(false));
        let changing: Vec<_> =
            registrants.into_iter().map(|one| tokio::spawn(one.change_until(quiet.clone()))).collect();
        let noise = Duration::from_millis(rng.random_range(5_000..10_000));
        let calm = async {
            sleep(noise).await;
            quiet.store(true, Ordering::Relaxed);
        };
        let mut seeds = || StdRng::seed_from_u64(rng.random());
        let servers = break_servers(&zk, seeds(), &quiet, &report);
        let weather = links.iter().enumerate();
        let weather = weather.map(|(client, proxies)| break_links(client, proxies, seeds(), &quiet, &report));
        tokio::join!(join_all(weather), servers, calm);
        registrants = Vec::new();
        for one in changing {
            registrants.push(one.await.expect("a registrant does not panic"));
        }
        let took = converge(&chroot, &ledger, &mut readers).await;
        report.quiet(took);
    }
    report
}

/// A session of the fleet's timeout, whose audits do not come to the aid of a lost event.
fn open(to: &str) -> Registry {
    let options = Options::default().with_session_timeout(T);
    Registry::open(to.parse().expect("the harness names hosts correctly"), options)
}

fn service() -> ServiceName {
    "soak".parse().expect("it is a name")
}

/// One fault after the other on the links of one client, with pauses.
async fn break_links(client: usize, links: &[Proxy], mut rng: StdRng, quiet: &AtomicBool, report: &Report) {
    while pause(&mut rng, 500..4_000, quiet).await {
        let fault = LinkFault::draw(&mut rng, T);
        info!(client, ?fault, "begins");
        report.fault(&fault.to_string());
        fault.strike(links).await;
        info!(client, "ends");
    }
    link_faults::clear(links).await;
}

/// One fault after the other on the servers; all of them serve in the end.
async fn break_servers(zk: &Servers, mut rng: StdRng, quiet: &AtomicBool, report: &Report) {
    while pause(&mut rng, 1_000..3_000, quiet).await {
        let node = rng.random_range(1..=3);
        match rng.random_range(0..5) {
            0 => {
                broken("server killed and restarted", node, report);
                zk.restart(node).await;
            }
            1 => {
                broken("server stopped and started", node, report);
                zk.stop(node).await;
                zk.start(node).await;
            }
            2 => {
                let node = zk.leader().await.unwrap_or(node);
                broken("leader killed and restarted", node, report);
                zk.restart(node).await;
            }
            3 => {
                let node = if rng.random_bool(0.5) { zk.leader().await.unwrap_or(node) } else { node };
                broken("server frozen", node, report);
                zk.pause(node).await;
                sleep(T.mul_f64(rng.random_range(0.1..1.5))).await;
                zk.resume(node).await;
            }
            _ => {
                broken("majority lost", node, report);
                let other = node % 3 + 1;
                zk.kill(node).await;
                zk.kill(other).await;
                sleep(T.mul_f64(rng.random_range(0.1..1.5))).await;
                zk.start(node).await;
                zk.start(other).await;
            }
        }
        zk.wait().await;
        info!("all servers serve again");
    }
}

/// One more fault, of this server.
fn broken(what: &str, server: usize, report: &Report) {
    info!(server, what, "begins");
    report.fault(what);
}

/// Waits a moment, of that many milliseconds, and says whether to go on.
async fn pause(rng: &mut StdRng, millis: std::ops::Range<u64>, quiet: &AtomicBool) -> bool {
    sleep(Duration::from_millis(rng.random_range(millis))).await;
    !quiet.load(Ordering::Relaxed)
}

/// Waits until everybody agrees: what is registered, what ZooKeeper holds, and what every reader sees.
async fn converge(chroot: &Chroot, ledger: &Ledger, readers: &mut [Watcher]) -> Duration {
    let start = Instant::now();
    let raw = chroot.raw().await;
    eventually(CONVERGED, "the quiet fleet agrees", async || disagreement(&raw, ledger, readers).await).await;
    ledger.bury();
    start.elapsed()
}

async fn disagreement(raw: &Raw, ledger: &Ledger, readers: &mut [Watcher]) -> Result<(), String> {
    let expected = ledger.all_registered()?;
    let truth = Truth::read(raw, SERVICE).await.map_err(|error| format!("reading the truth: {error}"))?;
    let held: Vec<_> = truth.names().collect();
    if held != expected {
        return Err(format!("registered are {expected:?}, but ZooKeeper holds {held:?}"));
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        reader.check();
        let snapshot = reader.current();
        if snapshot.freshness() != Freshness::Live {
            return Err(format!("reader {number} is {:?}", snapshot.freshness()));
        }
        let found = truth.differences(snapshot);
        if !found.is_empty() {
            return Err(format!("reader {number}: {found:?}"));
        }
    }
    Ok(())
}
