//! A load balancer of pingora over a watched service. `cargo run -- 127.0.0.1:2181 time`, in this directory.
//!
//! The pitfall: pingora asks its discovery now and then, and a discovery that asks ZooKeeper each time is late by that period, and fails
//! while ZooKeeper is away. Here asking reads the view's last snapshot, which is at most milliseconds old and stays when ZooKeeper goes:
//! ask often.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use async_trait::async_trait;
use http::Extensions;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_load_balancing::discovery::ServiceDiscovery;
use pingora_load_balancing::{Backend, Backends, LoadBalancer, selection::RoundRobin};
use zk_registry::{Options, Registry, Resolve, ServiceWatch, Status};

/// A watched service, as pingora discovers backends. Instances whose host is a name, not an address, are left out.
struct Watched(ServiceWatch);

#[async_trait]
impl ServiceDiscovery for Watched {
    async fn discover(&self) -> pingora_error::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let (mut backends, mut enabled) = (BTreeSet::new(), HashMap::new());
        for member in self.0.clone().current().instances() {
            let Ok(address) = member.address().parse::<SocketAddr>() else { continue };
            let weight = usize::from(member.weight().get());
            let backend = Backend { addr: Address::Inet(address), weight, ext: Extensions::new() };
            // One that drains keeps its connections, and gets no new ones.
            let mut hasher = DefaultHasher::new();
            backend.hash(&mut hasher);
            enabled.insert(hasher.finish(), member.status() == Status::Up);
            backends.insert(backend);
        }
        Ok((backends, enabled))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: zk-registry-pingora ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    let mut watch = registry.watch(&service.parse()?);
    watch.ready().await?;
    // In a pingora server this is a background service, with `update_frequency` of some 100 ms.
    let balancer = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(Watched(watch))));
    balancer.update().await?;
    for _ in 0..10 {
        println!("{:?}", balancer.select(b"", 16).map(|backend| backend.addr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_registry::{Attributes, Instance, Snapshot};

    #[tokio::test]
    async fn what_is_up_is_selected_and_what_drains_is_not() {
        let up = Instance::new("10.0.0.1", 80);
        let mut drains = Attributes::default();
        drains.status = Status::Draining;
        let draining = Instance::new("10.0.0.2", 80).with_attributes(drains);
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [up, draining]);
        let (_sender, watch) = ServiceWatch::channel(snapshot);
        let balancer = LoadBalancer::<RoundRobin>::from_backends(Backends::new(Box::new(Watched(watch))));
        balancer.update().await.unwrap();
        for _ in 0..10 {
            assert_eq!(balancer.select(b"", 16).unwrap().addr.to_string(), "10.0.0.1:80");
        }
    }
}
