//! The world of the registry for tests.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{Network, Process, World};
use crate::instance::ServiceName;
use crate::options::Options;
use crate::testing::{self, Registry};

/// A ZooKeeper in memory.
pub(super) struct Memory {
    operator: Registry,
    names: AtomicU32,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { operator: testing::registry(), names: AtomicU32::new(0) }
    }
}

impl World for Memory {
    fn process(&self) -> LocalBoxFuture<'_, Process> {
        let options = Options::default().with_session_timeout(Duration::from_secs(4));
        let process = self.operator.sibling_with(options);
        let registry = crate::Registry::clone(&process);
        async { Process { registry, network: Box::new(process) } }.boxed_local()
    }

    fn service(&self) -> ServiceName {
        format!("service-{}", self.names.fetch_add(1, Relaxed)).parse().unwrap()
    }

    fn put<'a>(&'a self, path: &'a str, data: &'a [u8]) -> LocalBoxFuture<'a, ()> {
        async { self.operator.put(path, data) }.boxed_local()
    }

    fn delete<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, ()> {
        async move { assert!(self.operator.delete(path), "{path} is there and has no children") }
            .boxed_local()
    }
}

impl Network for Registry {
    fn cut(&self) -> LocalBoxFuture<'_, ()> {
        async { self.disconnect() }.boxed_local()
    }

    fn heal(&self) -> LocalBoxFuture<'_, ()> {
        async { self.reconnect() }.boxed_local()
    }

    fn expire(&self) -> LocalBoxFuture<'_, ()> {
        async { self.expire_session() }.boxed_local()
    }
}
