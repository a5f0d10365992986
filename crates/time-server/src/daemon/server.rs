//! Accepts connections and serves them, until told to stop; knows nothing of ZooKeeper.
//!
//! Stopping has three steps: the accept queues are emptied and the listeners closed, connections finish what is under
//! way, and after a while those that have not are dropped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::MAX_DURATION;

use crate::daemon::acceptor::{Acceptor, LAST_WORDS};
use crate::daemon::admission::Admission;
use crate::daemon::clock::{Clock, SystemClock};
use crate::daemon::limits::Limits;
use crate::daemon::listener_context::ListenerContext;
use crate::daemon::metrics::Metrics;
use crate::daemon::tasks::Tasks;

pub use crate::daemon::listener::listen;

/// Serves the time on any number of listeners.
#[derive(Debug)]
pub struct Server {
    clock: Arc<dyn Clock>,
    limits: Limits,
    metrics: Metrics,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Finished {
    /// Connections that were dropped because they had not ended in time.
    pub dropped: usize,
}

impl Server {
    /// A server with these limits and the system's clock.
    pub fn new(limits: Limits) -> Self {
        Self { clock: Arc::new(SystemClock), limits: limits.bounded(), metrics: Metrics::default() }
    }

    /// Counts in these instead.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// Tells the time of this clock instead.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    /// What the server counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves these listeners until `stop` completes; then closes them, after every connection that the system had
    /// already accepted on their behalf, and waits at most `patience` for connections to finish what is under way.
    ///
    /// # Errors
    ///
    /// A listener that has no address. Nothing has been accepted then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the listeners and drops all connections.
    pub async fn run(
        self,
        listeners: Vec<TcpListener>,
        stop: impl Future<Output = ()>,
        patience: Duration,
    ) -> io::Result<Finished> {
        let stopping = CancellationToken::new();
        let draining = CancellationToken::new();
        let admission = Arc::new(Admission::new(&self.limits));
        let last_words = Arc::new(Semaphore::new(LAST_WORDS));

        let mut contexts = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let address = listener.local_addr()?;
            let specified = !address.ip().is_unspecified();
            let context = ListenerContext {
                address: specified.then(|| address.to_string().into()),
                clock: Arc::clone(&self.clock),
                limits: self.limits.clone(),
                metrics: self.metrics.clone(),
                admission: Arc::clone(&admission),
                draining: draining.clone(),
            };
            contexts.push((listener, Arc::new(context)));
        }
        let mut accepting = JoinSet::new();
        for (listener, context) in contexts {
            let last_words = Arc::clone(&last_words);
            let acceptor = Acceptor { context, tasks: Tasks::default(), last_words };
            accepting.spawn(acceptor.accept_until(listener, stopping.clone()));
        }

        stop.await;
        stopping.cancel();
        let accepted = accepting.join_all().await;
        draining.cancel();
        let deadline = Instant::now() + patience.min(MAX_DURATION);
        let mut dropped = 0;
        for tasks in accepted {
            dropped += tasks.finish(deadline).await;
        }
        Ok(Finished { dropped })
    }
}
