//! A pool of qorb over a watched service. `cargo run -- 127.0.0.1:2181 time`, in this directory.
//!
//! The pitfall: a resolver that says "there is nothing" while its source is away makes the pool close every connection. A snapshot
//! that is stale keeps its instances, so the pool keeps its connections; before the first one the resolver says nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use qorb::backend::{Backend, Name};
use qorb::resolver::{AllBackends, Resolver};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zk_registry::{Options, Registry, Resolve, ServiceWatch, Status};

/// A watched service, as qorb resolves backends. Instances whose host is a name, not an address, are left out.
struct Watched {
    watch: ServiceWatch,
    task: Option<JoinHandle<()>>,
}

impl Resolver for Watched {
    fn monitor(&mut self) -> watch::Receiver<AllBackends> {
        let (sender, receiver) = watch::channel(AllBackends::default());
        let mut watch = self.watch.clone();
        self.task = Some(tokio::spawn(async move {
            let mut is_known = watch.ready().await.is_ok();
            while is_known && !sender.is_closed() {
                let up = watch.current().instances().filter(|member| member.status() == Status::Up);
                let backends: BTreeMap<_, _> = up
                    .filter_map(|member| {
                        let address: SocketAddr = member.address().parse().ok()?;
                        Some((Name::new(member.id()), Backend { address }))
                    })
                    .collect();
                sender.send_replace(Arc::new(backends));
                is_known = watch.changed().await.is_ok();
            }
        }));
        receiver
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [_, zookeeper, service] = &*std::env::args().collect::<Vec<_>>() else {
        return Err("usage: zk-registry-qorb ZOOKEEPER SERVICE".into());
    };
    let registry = Registry::open(zookeeper.parse()?, Options::default());
    let mut resolver = Watched { watch: registry.watch(&service.parse()?), task: None };
    // `Pool::new(name, Box::new(resolver), connector, policy)` takes it from here.
    let mut backends = resolver.monitor();
    while backends.changed().await.is_ok() {
        println!("{:?}", backends.borrow_and_update());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_registry::{Instance, Snapshot};

    #[tokio::test]
    async fn the_pool_is_told_of_what_comes_and_goes() {
        let service = "time".parse().unwrap();
        let of = |ports: &[u16]| {
            Snapshot::fixed(&service, ports.iter().map(|port| Instance::new("10.0.0.1", *port)))
        };
        let (sender, watch) = ServiceWatch::channel(of(&[1, 2]));
        let mut resolver = Watched { watch, task: None };
        let mut backends = resolver.monitor();
        backends.wait_for(|all| all.len() == 2).await.unwrap();
        sender.send(of(&[2]));
        let all = backends.wait_for(|all| all.len() == 1).await.unwrap();
        assert_eq!(all.values().next().unwrap().address, "10.0.0.1:2".parse().unwrap());
    }
}
