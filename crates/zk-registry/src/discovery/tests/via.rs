//! The way of a process to its ZooKeeper: replies that are taken up late, and another ZooKeeper behind the same name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::sleep;

use crate::options::Acl;
use crate::store::memory::Connector;
use crate::store::{Connect, ConnectFault, Fault, Kind, Node, Op, Reply, Stat, States, Store, Watch};

/// Connects to what it is told, and delays every reply by up to so much, as a driver that is polled late would.
#[derive(Clone, Debug)]
pub(super) struct Via {
    to: Arc<Mutex<Connector>>,
    late: Lateness,
}

/// How late replies are.
#[derive(Clone, Debug)]
struct Lateness {
    least: Duration,
    most: Duration,
    rng: Arc<Mutex<SmallRng>>,
}

impl Via {
    pub(super) fn new(to: &Connector, least: Duration, most: Duration, seed: u64) -> Self {
        let rng = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
        Self { to: Arc::new(Mutex::new(to.clone())), late: Lateness { least, most, rng } }
    }

    /// The next session is with another ZooKeeper.
    pub(super) fn switch(&self, to: &Connector) {
        *self.to.lock().unwrap() = to.clone();
    }
}

impl Lateness {
    fn delay<T: Send + 'static>(&self, reply: Reply<T>) -> Reply<T> {
        let late = self.rng.lock().unwrap().random_range(self.least..=self.most);
        Box::pin(async move {
            let answer = reply.await;
            sleep(late).await;
            answer
        })
    }
}

impl Connect for Via {
    fn cluster(&self) -> String {
        "memory".to_owned()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let (connecting, late) = (self.to.lock().unwrap().connect(), self.late.clone());
        Box::pin(async move {
            let store = connecting.await?;
            Ok(Arc::new(Late { store, late }) as Arc<dyn Store>)
        })
    }
}

#[derive(Debug)]
struct Late {
    store: Arc<dyn Store>,
    late: Lateness,
}

impl Store for Late {
    fn id(&self) -> i64 {
        self.store.id()
    }

    fn timeout(&self) -> Duration {
        self.store.timeout()
    }

    fn connection_timeout(&self) -> Duration {
        self.store.connection_timeout()
    }

    fn local(&self) -> Option<SocketAddr> {
        self.store.local()
    }

    fn states(&self) -> Box<dyn States> {
        self.store.states()
    }

    fn create(&self, path: &str, data: &[u8], kind: Kind, acl: Acl) -> Reply<Stat> {
        self.late.delay(self.store.create(path, data, kind, acl))
    }

    fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Reply<Stat> {
        self.late.delay(self.store.set(path, data, version))
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Reply<()> {
        self.late.delay(self.store.delete(path, version))
    }

    fn multi(&self, ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        self.late.delay(self.store.multi(ops))
    }

    fn list(&self, path: &str) -> Reply<(Vec<String>, Stat)> {
        self.late.delay(self.store.list(path))
    }

    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        self.late.delay(self.store.read(paths))
    }

    fn acl(&self, path: &str) -> Reply<Acl> {
        self.late.delay(self.store.acl(path))
    }

    fn sync(&self, path: &str) -> Reply<()> {
        self.late.delay(self.store.sync(path))
    }

    fn ephemerals(&self) -> Reply<Vec<String>> {
        self.late.delay(self.store.ephemerals())
    }

    fn auth_schemes(&self) -> Reply<Vec<String>> {
        self.late.delay(self.store.auth_schemes())
    }

    fn watch(&self, path: &str) -> Reply<Box<dyn Watch>> {
        self.late.delay(self.store.watch(path))
    }

    fn rearm(&self, path: &str) -> Reply<()> {
        self.late.delay(self.store.rearm(path))
    }

    fn make_chroot(&self, acl: Acl) -> Reply<()> {
        self.late.delay(self.store.make_chroot(acl))
    }

    fn close(&self, within: Duration) -> BoxFuture<'static, bool> {
        self.store.close(within)
    }

    fn abort(&self) {
        self.store.abort();
    }
}
