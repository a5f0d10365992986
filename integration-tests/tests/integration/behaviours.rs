//! The behaviours that a user relies on, asked of a real ZooKeeper: the same suite that the registry for tests passes.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use integration_tests::proxy::Proxy;
use integration_tests::raw::{CreateMode, Error, Raw};
use integration_tests::registries::open;
use integration_tests::zookeeper::{Chroot, ZooKeeper};
use zk_registry::testing::internal::behaviours::{ALL, Network, Process, World};
use zk_registry::{ConnectionState, Registry, ServiceName};

#[tokio::test]
async fn what_a_user_relies_on_holds_on_zookeeper() {
    let zk = ZooKeeper::shared();
    let chroot = zk.chroot("behaviours").await;
    let world = Real { operator: chroot.raw().await, zk, chroot, names: AtomicU32::new(0) };
    // Side by side: most of them wait for timeouts.
    let outcomes = join_all(ALL.iter().map(|(name, behaviour)| {
        let asked = AssertUnwindSafe(behaviour(&world)).catch_unwind();
        asked.map(move |outcome| outcome.is_err().then_some(*name))
    }))
    .await;
    let failed: Vec<_> = outcomes.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} of {} behaviours failed: {failed:?}", failed.len(), ALL.len());
}

/// A subtree of a ZooKeeper.
struct Real {
    zk: ZooKeeper,
    chroot: Chroot,
    operator: Raw,
    names: AtomicU32,
}

impl World for Real {
    fn process(&self) -> LocalBoxFuture<'_, Process> {
        async {
            let proxy = Proxy::zookeeper(self.zk.address(1)).await;
            let registry = open(&self.chroot.through(proxy.address()));
            let network = Box::new(ClientLink { proxy, registry: registry.clone() });
            Process { registry, network }
        }
        .boxed_local()
    }

    fn service(&self) -> ServiceName {
        format!("service-{}", self.names.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
    }

    fn put<'a>(&'a self, path: &'a str, data: &'a [u8]) -> LocalBoxFuture<'a, ()> {
        async move {
            match self.operator.create(path, data, CreateMode::Persistent).await {
                Err(Error::NodeExists) => drop(self.operator.set(path, data).await.unwrap()),
                created => drop(created.unwrap()),
            }
        }
        .boxed_local()
    }

    fn delete<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, ()> {
        async move { self.operator.delete(path).await.unwrap() }.boxed_local()
    }
}

/// One process's way to the servers.
struct ClientLink {
    proxy: Proxy,
    registry: Registry,
}

impl Network for ClientLink {
    fn cut(&self) -> LocalBoxFuture<'_, ()> {
        async {
            self.proxy.refuse().await;
            self.proxy.cut_rst().await;
        }
        .boxed_local()
    }

    fn heal(&self) -> LocalBoxFuture<'_, ()> {
        self.proxy.accept().boxed_local()
    }

    fn expire(&self) -> LocalBoxFuture<'_, ()> {
        async {
            self.cut().await;
            let given_up = |state: &ConnectionState| matches!(state, ConnectionState::Connecting { .. });
            self.registry.connection().wait_for(given_up).await.unwrap();
            self.heal().await;
        }
        .boxed_local()
    }
}
