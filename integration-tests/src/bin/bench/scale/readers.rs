//! The readers of one service, each with a registry and a session of its own, on the runtime of the benchmark.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use zk_registry::{Freshness, Options, Registry, Resolve, ServiceWatch};

use crate::fleet::{SOON, open_with, time};

/// So many connect at a time.
const AT_ONCE: usize = 100;

pub(super) struct Readers {
    registries: Vec<Registry>,
    watches: Vec<ServiceWatch>,
    goal: watch::Sender<i64>,
    reached: mpsc::UnboundedReceiver<i64>,
}

impl Readers {
    /// All of them, once each has seen the whole service.
    pub(super) async fn open(to: &str, readers: usize, session_timeout: Duration) -> Self {
        let options =
            Options::default().with_session_timeout(session_timeout).with_runtime(Handle::current());
        let (goal, _) = watch::channel(i64::MAX);
        let (said, reached) = mpsc::unbounded_channel();
        let opened = stream::iter(0..readers)
            .map(|_| async {
                let registry = open_with(to, options.clone()).await;
                let mut watch = registry.watch(&time());
                watch.live().await.expect("the registry is open");
                (registry, watch)
            })
            .buffer_unordered(AT_ONCE);
        let (registries, watches): (Vec<_>, Vec<_>) = opened.unzip::<_, _, Vec<_>, Vec<_>>().await;
        for watch in &watches {
            tokio::spawn(follow(watch.clone(), goal.subscribe(), said.clone()));
        }
        Self { registries, watches, goal, reached }
    }

    /// From now until the last reader has seen this change.
    pub(super) async fn have_seen(&mut self, zxid: i64) -> Duration {
        let began = Instant::now();
        self.goal.send_replace(zxid);
        let mut missing = self.watches.len();
        while missing > 0 {
            let reached = tokio::time::timeout(SOON * 4, self.reached.recv()).await;
            missing -= usize::from(reached.expect("they see it soon") == Some(zxid));
        }
        began.elapsed()
    }

    /// How many say that they know everything.
    pub(super) fn live(&mut self) -> usize {
        let freshness = self.watches.iter_mut().map(|watch| watch.current().freshness());
        freshness.filter(|freshness| *freshness == Freshness::Live).count()
    }

    pub(super) fn len(&self) -> usize {
        self.watches.len()
    }

    pub(super) async fn close(self) {
        drop((self.watches, self.goal));
        join_all(self.registries.into_iter().map(|registry| registry.close(SOON))).await;
    }
}

/// Says of each goal when it is reached, until the readers are closed.
async fn follow(mut watch: ServiceWatch, mut goal: watch::Receiver<i64>, said: mpsc::UnboundedSender<i64>) {
    let mut reached = i64::MAX;
    loop {
        let (wanted, seen) = (*goal.borrow_and_update(), watch.current().watermark().0);
        if wanted != reached && seen >= wanted {
            reached = wanted;
            // Nobody listens any more: the readers are being closed.
            let _ = said.send(wanted);
        }
        tokio::select! {
            changed = watch.changed() => if changed.is_err() { return },
            changed = goal.changed() => if changed.is_err() { return },
        }
    }
}
