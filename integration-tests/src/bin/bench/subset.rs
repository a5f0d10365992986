//! Subsets of 10,000 clients over 1,000 servers: how evenly the servers are used, and what moves when they change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use futures_util::FutureExt;
use integration_tests::bench::{Bound, Row, Subject, Unit, World};
use zk_registry::balance::strategy::{Random, Rank, Subset};
use zk_registry::balance::{EndpointSet, Strategy};
use zk_registry::{Instance, InstanceId, ServiceName, Snapshot};

pub(crate) const SUBJECT: Subject = Subject {
    name: "subset",
    title: "10,000 clients, each with a subset of 12 of 1,000 servers",
    run: |_: &World| async { rows() }.boxed_local(),
};

const CLIENTS: u32 = 10_000;
const SERVERS: u32 = 1_000;
const SIZE: usize = 12;
/// So many servers, one after the other, are restarted, and then replaced.
const SOME: u32 = 10;

struct Clients(Vec<Subset<Random>>);

impl Clients {
    /// All adopt the servers. Returns the connections that were begun.
    fn adopt(&self, servers: impl IntoIterator<Item = u32>) -> usize {
        let set = set(servers);
        let some = self.0.len().div_ceil(thread::available_parallelism().map_or(1, usize::from));
        thread::scope(|scope| {
            let adopt =
                |clients: &[Subset<Random>]| clients.iter().map(|client| begun(client, &set)).sum::<usize>();
            let threads: Vec<_> =
                self.0.chunks(some).map(|clients| scope.spawn(move || adopt(clients))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a client does not panic")).sum()
        })
    }

    fn connections(&self) -> BTreeMap<InstanceId, u32> {
        let mut connections = BTreeMap::new();
        for id in self.0.iter().flat_map(Subset::instances) {
            *connections.entry(id).or_default() += 1;
        }
        connections
    }

    fn spread(&self) -> f64 {
        let connections = self.connections();
        let (most, least) = (connections.values().max(), connections.values().min());
        f64::from(most.copied().unwrap_or(0) - least.copied().unwrap_or(0))
    }

    fn own(&self, server: u32) -> f64 {
        f64::from(self.connections().get(&id(server)).copied().unwrap_or(0))
    }
}

/// The connections that a client begins when it adopts the set.
fn begun(client: &Subset<Random>, set: &Arc<EndpointSet>) -> usize {
    let before = client.instances();
    let _ = client.picker(set);
    client.instances().iter().filter(|id| !before.contains(id)).count()
}

fn id(server: u32) -> InstanceId {
    format!("server-{server:05}").parse().expect("it is an id")
}

fn set(servers: impl IntoIterator<Item = u32>) -> Arc<EndpointSet> {
    let service: ServiceName = "simulated".parse().expect("it is a name");
    let instance = |n: u32| Instance::new(format!("10.0.{}.{}", n / 256, n % 256), 80).with_id(id(n));
    EndpointSet::of(&Snapshot::fixed(&service, servers.into_iter().map(instance))).expect("there are servers")
}

fn rows() -> Vec<Row> {
    let clients = Clients((0..CLIENTS).map(|rank| Subset::new(SIZE, Rank::new(rank), Random)).collect());
    let count = |what: &str, value: f64| Row::new(what, Unit::Count, [value].into_iter().collect());
    let mut rows = Vec::new();
    clients.adopt(0..SERVERS);
    rows.push(count("connections per server, most less least", clients.spread()).bound(Bound::AtMost(1.0)));

    let without = |gone: u32| (0..SERVERS).filter(move |server| *server != gone);
    let own = clients.own(500);
    let moved = clients.adopt(without(500)) as f64 / own;
    rows.push(count("a server goes: moved for each connection of its own", moved).bound(Bound::AtMost(1.1)));
    rows.push(count("a server went: connections per server, most less least", clients.spread()));
    let moved = clients.adopt(0..SERVERS) as f64 / clients.own(500);
    rows.push(count("it is back: moved for each connection of its own", moved).bound(Bound::AtMost(1.1)));
    rows.push(
        count("it is back: connections per server, most less least", clients.spread())
            .bound(Bound::AtMost(1.0)),
    );

    for server in 0..SOME {
        clients.adopt(without(server));
        clients.adopt(0..SERVERS);
    }
    rows.push(
        count("ten restarted, one after the other: most less least", clients.spread())
            .bound(Bound::AtMost(1.0)),
    );
    for server in 0..SOME {
        clients.adopt(server + 1..SERVERS + server);
        clients.adopt(server + 1..SERVERS + server + 1);
    }
    rows.push(count("ten replaced by new ones, one after the other: most less least", clients.spread()));
    rows
}
