//! Registrations and watches that come and go while connections are cut, for `.ci/memory`, which runs this under valgrind.
//!
//! The client crate (0.11.2) reads freed memory when a watch is requested again before the server has forgotten the one
//! before it; our library orders its requests so that it does not come to that. What every reader sees in the end must be what
//! is registered, and much must have happened: a program that does nothing has no errors either.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use integration_tests::eventually::eventually;
use integration_tests::fair_time::Stopwatch;
use integration_tests::proxy::Proxy;
use integration_tests::raw::{CreateMode, Raw};
use integration_tests::replay::{init_tracing, seeded};
use integration_tests::truth::{TestRecord, Truth};
use integration_tests::zookeeper::ZooKeeper;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{sleep, timeout};
use zk_registry::{Freshness, Instance, Options, Registration, Registry, Resolve, ServiceName, Withdrawn};

const LASTING: Duration = Duration::from_secs(20);
/// For what takes as long as a busy machine and a slow program need.
const SOON: Duration = Duration::from_secs(60);
/// How long a packet to or from the reader takes: several changes of every service.
const DELAY: Duration = Duration::from_millis(10);
const SERVICES: [&str; 3] = ["kept", "one", "other"];
const REGISTRANTS: usize = 8;
const STIRRED: u16 = 10;

/// The numbers of acknowledged acts.
#[derive(Debug, Default)]
struct Tally {
    changes: Cell<u32>,
    cuts: Cell<u32>,
    sessions: Cell<u32>,
    views: Cell<u32>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, cuts, sessions, views } = self;
        let (changes, cuts, sessions, views) = (changes.get(), cuts.get(), sessions.get(), views.get());
        write!(f, "{changes} changes, {views} views opened, {sessions} sessions closed, {cuts} cuts")
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    init_tracing();
    let mut rng = seeded("churn");
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("churn").await;
    let links = [Proxy::to(zk.address(1)).await, Proxy::to(zk.address(1)).await];
    // Events of a watch that was given up are still on their way when the next request for one is.
    links[1].delay(DELAY);
    let [writing, reading] = links.each_ref().map(|link| chroot.through(link.address()));
    let (writer, reader, raw) = (open(&writing), open(&reading), chroot.raw().await);
    let kept = reader.watch(&service(SERVICES[0]));

    let tally = Tally::default();
    let clock = Stopwatch::start();
    let mut seeds = || StdRng::seed_from_u64(rng.random());
    let registrants = join_all((0..REGISTRANTS).map(|n| register(&writer, n, seeds(), clock, &tally)));
    let watchers = join_all(SERVICES[1..].iter().map(|name| watch(&reader, name, seeds(), clock, &tally)));
    let cuts = join_all(links.iter().map(|link| cut(link, seeds(), clock, &tally)));
    let guests = come_and_go(&reading, seeds(), clock, &tally);
    let (registrations, ..) = tokio::join!(registrants, watchers, cuts, guests, stir(&raw, clock));

    let ids: Vec<_> = registrations.iter().map(Registration::id).collect();
    for name in SERVICES {
        let mut watch = reader.watch(&service(name));
        eventually(SOON, &format!("{name} is seen as it is"), async || {
            let truth = truth(&raw, name).await?;
            let guest = truth.names().find(|id| is_ours(id) && ids.iter().all(|one| one.as_str() != *id));
            let snapshot = watch.current();
            match guest {
                Some(guest) => Err(format!("{guest} is still there")),
                None if snapshot.freshness() != Freshness::Live => Err(format!("{:?}", snapshot.freshness())),
                None => match truth.differences(snapshot) {
                    found if found.is_empty() => Ok(()),
                    found => Err(format!("{found:?}")),
                },
            }
        })
        .await;
    }
    for mut registration in registrations {
        registration.registered().await.expect("nobody else uses its id");
    }
    drop(kept);
    for registry in [writer, reader] {
        assert_eq!(registry.close(SOON).await, Withdrawn::Confirmed);
    }
    for name in SERVICES {
        let left = truth(&raw, name).await.expect("the server is up");
        assert!(!left.names().any(is_ours), "{left:?}");
    }
    println!("{LASTING:?}: {tally}");
    assert!(tally.changes.get() >= 100 && tally.cuts.get() >= 40 && tally.views.get() >= 100, "too calm");
}

/// Registers, updates and withdraws one instance after the other, acknowledged or not; the last one stays.
async fn register(
    registry: &Registry,
    number: usize,
    mut rng: StdRng,
    clock: Stopwatch,
    tally: &Tally,
) -> Registration {
    let mut port = 1;
    loop {
        let service = service(SERVICES[rng.random_range(0..SERVICES.len())]);
        let mut registration = registry.register(&service, Instance::new(format!("10.1.0.{number}"), port));
        let mut patience = || Duration::from_millis(rng.random_range(0..500));
        if let Ok(registered) = timeout(patience(), registration.registered()).await {
            registered.expect("nobody else uses its id");
            count(&tally.changes);
        }
        let update = registration.update(|attributes| attributes.zone = Some(format!("zone {port}")));
        if let Ok(updated) = timeout(patience(), update).await {
            updated.expect("nothing is wrong with a zone");
            count(&tally.changes);
        }
        if clock.fair() >= LASTING {
            return registration;
        }
        if registration.withdraw(patience()).await == Withdrawn::Confirmed {
            count(&tally.changes);
        }
        port += 1;
    }
}

/// Watches a service for a moment as its only watcher, over and over.
async fn watch(registry: &Registry, name: &str, mut rng: StdRng, clock: Stopwatch, tally: &Tally) {
    while clock.fair() < LASTING {
        let mut watch = registry.watch(&service(name));
        if timeout(DELAY * rng.random_range(0..30), watch.live()).await.is_ok() {
            count(&tally.views);
        }
        drop(watch);
        sleep(DELAY * rng.random_range(0..2)).await;
    }
}

/// A connection never lives for long.
async fn cut(link: &Proxy, mut rng: StdRng, clock: Stopwatch, tally: &Tally) {
    while clock.fair() < LASTING {
        sleep(Duration::from_millis(rng.random_range(100..500))).await;
        if rng.random() {
            link.cut_fin().await;
        } else {
            link.cut_rst().await;
        }
        count(&tally.cuts);
    }
}

/// One session after the other, each with an instance and a watch, closed at any moment.
async fn come_and_go(to: &str, mut rng: StdRng, clock: Stopwatch, tally: &Tally) {
    while clock.fair() < LASTING {
        let registry = open(to);
        let mut watch = registry.watch(&service(SERVICES[1]));
        let instance = Instance::new("10.1.1.0", 1)
            .with_id(format!("guest {}", tally.sessions.get()).parse().expect("an id"));
        let registration = registry.register(&service(SERVICES[1]), instance);
        // Whether or not it comes to that.
        let _ = timeout(Duration::from_millis(rng.random_range(0..1_000)), watch.live()).await;
        drop((watch, registration));
        registry.close(Duration::from_millis(rng.random_range(0..500))).await;
        count(&tally.sessions);
    }
}

/// Changes nodes of every service past the library, so that there is always an event under way.
async fn stir(raw: &Raw, clock: Stopwatch) {
    for name in SERVICES {
        raw.mkdir(&format!("/services/{name}")).await.expect("the server is up");
        for n in 0..STIRRED {
            let path = format!("/services/{name}/{n}");
            raw.create(&path, &TestRecord::Instance(1).bytes(), CreateMode::Persistent)
                .await
                .expect("it is new");
        }
    }
    let mut n = 0;
    while clock.fair() < LASTING {
        n += 1;
        for name in SERVICES {
            let path = format!("/services/{name}/{}", n % STIRRED);
            raw.set(&path, &TestRecord::Instance(n).bytes()).await.expect("the server is up");
        }
        sleep(Duration::from_millis(2)).await;
    }
}

async fn truth(raw: &Raw, name: &str) -> Result<Truth, String> {
    Truth::read(raw, &format!("/services/{name}")).await.map_err(|error| error.to_string())
}

/// Whether a registration made the node, and not [`stir`].
fn is_ours(id: &str) -> bool {
    id.parse::<u16>().is_err()
}

fn open(to: &str) -> Registry {
    Registry::open(to.parse().expect("the harness names hosts correctly"), Options::default())
}

fn service(name: &str) -> ServiceName {
    name.parse().expect("it is a name")
}

fn count(what: &Cell<u32>) {
    what.set(what.get() + 1);
}
