//! Random faults for any length of time around many clients of three real servers, and what must hold all the time.
//!
//! Rounds of random faults, of links and of servers, alternate with quiet. The ledger knows what is registered; watchers
//! check the guarantees of every reader's watches against it all the time; and at the end of each quiet period every reader must
//! see exactly what ZooKeeper holds, which must be exactly what is registered. One of the readers watches thousands of services.
//! The first violation panics.

mod guarantees;
mod ledger;
mod registrant;
mod report;
mod server_faults;
mod service;
mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;
use tracing::info;
use zk_registry::{Freshness, Registry, Snapshot, Zxid};

use crate::eventually::eventually;
use crate::fair_time::Stopwatch;
use crate::link_faults::{self, LinkFault};
use crate::proxy::{Proxy, hosts};
use crate::raw::{self, Raw};
use crate::servers::{Launch, Servers};
use crate::truth::{TestRecord, Truth};
use crate::zookeeper::Chroot;
use ledger::Ledger;
use registrant::Registrant;
pub use report::SoakReport;
use server_faults::ServerFault;
use service::{MANY, T, one_of_many, open, path, service};
use watcher::CheckedReader;

/// Within what a quiet fleet is as it should be: the longest pause between two attempts to connect, two sessions, and
/// what a busy machine adds.
const CONVERGED: Duration = Duration::from_secs(20);

/// The id of the instance of each of the many services that needs no session.
const STANDING: &str = "standing";

const REGISTRANTS: usize = 8;
const READERS: usize = 4;

/// Runs for about `lasting`, stalls of the machine apart, and tells what happened.
///
/// # Panics
///
/// At the first violation, and when the servers do not do as they are told.
pub async fn run(lasting: Duration, rng: &mut StdRng) -> Arc<SoakReport> {
    let watch = Stopwatch::start();
    let zk = Launch::ensemble().start().await;
    let chroot = zk.chroot("soak").await;
    let (ledger, report) = (Arc::new(Ledger::default()), Arc::new(SoakReport::default()));
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
        let registry = open(&chroot.through(hosts(&proxies)));
        readers.push(CheckedReader::new(&registry, [service()].into_iter(), &ledger, &report));
        links.push(proxies);
    }
    let proxies = zk.proxies().await;
    let many = settle_many(&chroot, &chroot.through(hosts(&proxies)), &ledger).await;
    readers.push(CheckedReader::new(&many, (0..MANY).map(one_of_many), &ledger, &report));
    assert!(many.sessions() > 1, "one session is enough for {MANY} services");
    links.push(proxies);
    while watch.fair() < lasting {
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
        let link_faults = links.iter().enumerate();
        let link_faults =
            link_faults.map(|(client, proxies)| break_links(client, proxies, seeds(), &quiet, &report));
        tokio::join!(join_all(link_faults), servers, calm);
        registrants = Vec::new();
        for one in changing {
            registrants.push(one.await.expect("a registrant does not panic"));
        }
        let took = converge(&chroot, &ledger, &mut readers).await;
        report.quiet(took);
    }
    report
}

/// Creates the many services, with an instance each that needs no session, and opens the registry that is to watch them.
async fn settle_many(chroot: &Chroot, to: &str, ledger: &Ledger) -> Registry {
    let raw = chroot.raw().await;
    let services = || (0..MANY).map(one_of_many);
    let instance = |service| format!("{}/{STANDING}", path(&service));
    raw.mkdir("/services").await.expect("the chroot is ours");
    raw.create_many(services().map(|service| (path(&service), Vec::new())))
        .await
        .expect("the chroot is ours");
    let record = TestRecord::Instance(1).bytes();
    raw.create_many(services().map(|service| (instance(service), record.clone()))).await.expect("it is ours");
    for services in services().collect::<Vec<_>>().chunks(500) {
        let paths: Vec<_> = services.iter().cloned().map(instance).collect();
        for (service, node) in services.iter().zip(raw.get_many(&paths).await.expect("it serves")) {
            let (_, stat) = node.expect("it was created");
            ledger.stands(service, STANDING, Zxid(stat.czxid));
        }
    }
    raw.close().await;
    open(to)
}

/// One fault after the other on the links of one client, with pauses.
async fn break_links(
    client: usize,
    links: &[Proxy],
    mut rng: StdRng,
    quiet: &AtomicBool,
    report: &SoakReport,
) {
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
async fn break_servers(zk: &Servers, mut rng: StdRng, quiet: &AtomicBool, report: &SoakReport) {
    while pause(&mut rng, 1_000..3_000, quiet).await {
        let fault = ServerFault::draw(&mut rng, T);
        let node = rng.random_range(1..=zk.addresses().len());
        info!(node, ?fault, "begins");
        report.fault(&fault.to_string());
        fault.strike(zk, node).await;
        zk.wait().await;
        info!("all servers serve again");
    }
}

/// Waits a moment, of that many milliseconds, and says whether to go on.
async fn pause(rng: &mut StdRng, millis: std::ops::Range<u64>, quiet: &AtomicBool) -> bool {
    sleep(Duration::from_millis(rng.random_range(millis))).await;
    !quiet.load(Ordering::Relaxed)
}

/// Waits until what is registered, what ZooKeeper holds and what every reader sees are the same.
async fn converge(chroot: &Chroot, ledger: &Ledger, readers: &mut [CheckedReader]) -> Duration {
    let start = Instant::now();
    let raw = chroot.raw().await;
    eventually(CONVERGED, "the quiet fleet agrees", async || disagreement(&raw, ledger, readers).await).await;
    ledger.bury();
    start.elapsed()
}

async fn disagreement(raw: &Raw, ledger: &Ledger, readers: &mut [CheckedReader]) -> Result<(), String> {
    let read_failed = |error: raw::Error| format!("reading the truth: {error}");
    let (service, expected) = (service(), ledger.all_registered(&service())?);
    let truth = Truth::read(raw, &path(&service)).await.map_err(read_failed)?;
    let held: Vec<_> = truth.names().collect();
    if held != expected {
        return Err(format!("registered are {expected:?}, but ZooKeeper holds {held:?}"));
    }
    let many: Vec<_> = (0..MANY).map(one_of_many).collect();
    let listings = join_all(many.iter().map(|service| async { raw.list(&path(service)).await })).await;
    for (service, held) in many.iter().zip(listings) {
        let (held, expected) = (held.map_err(read_failed)?, ledger.all_registered(service)?);
        if held.as_ref() != Some(&expected) {
            return Err(format!("of {service}, registered are {expected:?}, but ZooKeeper holds {held:?}"));
        }
    }
    for (number, reader) in readers.iter_mut().enumerate() {
        for watch in reader.watches() {
            let snapshot = watch.current();
            let of = snapshot.service();
            if snapshot.freshness() != Freshness::Live {
                return Err(format!("reader {number} of {of} is {:?}", snapshot.freshness()));
            }
            let found =
                if *of == service { truth.differences(snapshot) } else { unlisted(ledger, snapshot)? };
            if !found.is_empty() {
                return Err(format!("reader {number} of {of}: {found:?}"));
            }
        }
    }
    Ok(())
}

/// In what a snapshot differs from what is registered.
fn unlisted(ledger: &Ledger, snapshot: &Snapshot) -> Result<Vec<String>, String> {
    let expected = ledger.all_registered(snapshot.service())?;
    let listed: Vec<_> = snapshot.instances().map(|member| member.id().to_string()).collect();
    Ok(if listed == expected { Vec::new() } else { vec![format!("{listed:?} instead of {expected:?}")] })
}
