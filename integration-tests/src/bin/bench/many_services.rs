//! One process that watches 20,000 services: what a cut within the session timeout costs it, and the server.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{join_all, try_join_all};
use integration_tests::bench::{Bound, Row, Runs, Subject, Unit, World};
use integration_tests::eventually::eventually;
use integration_tests::proxy::Proxy;
use integration_tests::raw::{Error, Raw};
use integration_tests::zookeeper::Chroot;
use tokio::time::sleep;
use zk_registry::{Freshness, Instance, RegistrationState, Registry, Resolve, ServiceName, ServiceWatch};
use zookeeper_client::AddWatchMode;

use crate::fleet::{SOON, open};
use crate::grouped::grouped;

pub(crate) const SUBJECT: Subject = Subject {
    name: "many-services",
    title: "to watch many services from one process",
    run: |world| run(world).boxed_local(),
};

const SERVICES: usize = 20_000;
const RECORD: &[u8] = br#"{"address":"10.0.0.1","port":80}"#;

async fn run(world: &World) -> Vec<Row> {
    let link = ManyServices::new(world).await;
    let registry = open(&link.chroot.through(link.proxy.address())).await;
    let mut own = registry.register(&"own".parse().expect("it is a name"), Instance::new("10.0.0.1", 80));
    own.registered().await.expect("nothing is in the way");
    let states = own.states();
    let start = Instant::now();
    let mut watches: Vec<_> = (0..SERVICES).map(|n| registry.watch(&service(n))).collect();
    for watch in &mut watches {
        watch.live().await.expect("the registry is open");
    }
    let sessions = registry.sessions();
    println!("{} services are live after {:?}, over {sessions} sessions", grouped(SERVICES), start.elapsed());

    let runs = Runs(world.runs.0.min(3));
    let mut writes = Vec::new();
    let ours = async || {
        let (took, written) = link.cut(&mut watches, &registry).await;
        assert!(matches!(*states.borrow(), RegistrationState::Registered { .. }), "{states:?}");
        writes.push(written);
        took
    };
    let (ours, raw) = runs.beside(ours, async || link.raw(sessions).await).await;
    drop(watches);
    registry.close(SOON).await;
    link.disband().await;
    let size = grouped(SERVICES);
    vec![
        Row::new(
            format!("cut, {size} watched services: from the first connection until all are live"),
            Unit::Time,
            ours.into_iter().collect(),
        )
        .beside("raw, the same requests over as many sessions", raw.into_iter().collect())
        .bound(Bound::RatioAtMost(1.5)),
        Row::new(
            format!("cut, {size} watched services: writes on the server"),
            Unit::Count,
            writes.into_iter().collect(),
        )
        .bound(Bound::AtMost(0.0)),
    ]
}

fn service(n: usize) -> ServiceName {
    format!("service-{n:05}").parse().expect("it is a name")
}

fn path(n: usize) -> String {
    format!("/services/{}", service(n))
}

/// The services, with an instance each, and the link to them.
struct ManyServices {
    chroot: Chroot,
    proxy: Proxy,
    near: Raw,
}

impl ManyServices {
    async fn new(world: &World) -> Self {
        let zookeeper = world.zookeeper().await;
        let chroot = zookeeper.chroot("many").await;
        let (proxy, near) = (Proxy::to(zookeeper.address(1)).await, chroot.raw().await);
        near.mkdir("/services").await.expect("the chroot is ours");
        near.mkdir("/marker").await.expect("the chroot is ours");
        near.create_many((0..SERVICES).map(|n| (path(n), Vec::new()))).await.expect("the chroot is ours");
        let instances = (0..SERVICES).map(|n| (format!("{}/one", path(n)), RECORD.to_vec()));
        near.create_many(instances).await.expect("the chroot is ours");
        Self { chroot, proxy, near }
    }

    /// Cuts the link until every watch knows, and returns how long it takes from the first connection until all are live, and
    /// how many writes that made.
    async fn cut(&self, watches: &mut [ServiceWatch], registry: &Registry) -> (f64, f64) {
        let first = self.mark().await;
        self.proxy.refuse().await;
        self.proxy.cut_rst().await;
        eventually(SOON, "every watch knows of the cut", async || count(watches, Freshness::Live) == 0).await;
        let accepted = self.proxy.accepted();
        self.proxy.accept().await;
        while self.proxy.accepted() == accepted {
            sleep(Duration::from_millis(1)).await;
        }
        let start = Instant::now();
        // Not more often: a look costs as much as a thousand requests.
        for watch in watches.iter_mut() {
            watch.live().await.expect("the registry is open");
        }
        let took = start.elapsed();
        registry.connected().await.expect("the server is up");
        assert_eq!(count(watches, Freshness::Live), SERVICES, "one cut, one gap");
        (took.as_nanos() as f64, (self.mark().await - first - 1) as f64)
    }

    /// The same requests by the client crate alone, sent without waiting: connect, catch up, and of every service arm the watch,
    /// list the instances and read them.
    async fn raw(&self, sessions: usize) -> f64 {
        let to = self.chroot.through(self.proxy.address());
        let start = Instant::now();
        let raws = join_all((0..sessions).map(|_| Raw::connect(&to))).await;
        let shares = raws.iter().enumerate().map(|(session, raw)| async move {
            raw.sync("/").await?;
            raw.get("/").await?;
            try_join_all((session..SERVICES).step_by(sessions).map(|n| read(raw, n))).await
        });
        let watchers = try_join_all(shares).await.expect("the server is up");
        let took = start.elapsed();
        assert_eq!(watchers.iter().map(Vec::len).sum::<usize>(), SERVICES);
        drop(watchers);
        join_all(raws.into_iter().map(Raw::close)).await;
        took.as_nanos() as f64
    }

    /// Every write of any client counts one up, this one too.
    async fn mark(&self) -> i64 {
        self.near.set("/marker", b"").await.expect("the server is up").mzxid
    }

    async fn disband(self) {
        let instances = (0..SERVICES).map(|n| format!("{}/one", path(n)));
        self.near.delete_many(instances).await.expect("they are there");
        self.near.delete_many((0..SERVICES).map(path)).await.expect("they are there");
        self.near.close().await;
    }
}

fn count(watches: &mut [ServiceWatch], freshness: Freshness) -> usize {
    let current = watches.iter_mut().map(|watch| watch.current().freshness());
    current.filter(|one| *one == freshness).count()
}

async fn read(raw: &Raw, n: usize) -> Result<zookeeper_client::PersistentWatcher, Error> {
    let path = path(n);
    let watcher = raw.client().watch(&path, AddWatchMode::PersistentRecursive).await?;
    let names = raw.list(&path).await?.unwrap_or_default();
    let paths: Vec<_> = names.iter().map(|name| format!("{path}/{name}")).collect();
    let nodes = raw.get_many(&paths).await?;
    assert_eq!(nodes.len(), 1, "{path}");
    Ok(watcher)
}
