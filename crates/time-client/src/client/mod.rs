//! The resolver: ready -> pick -> dial -> ask -> record, in one place and with one deadline.
//!
//! A query never asks ZooKeeper anything: a task feeds each new snapshot to the balancer, and a query costs one pick. A
//! failure of one instance is reported to the balancer and answered by another instance; the caller hears of it only when no
//! instance answered.

mod answer;
mod exchange;
mod options;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use time_server::protocol::Request;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::balance::{
    Attempts, Balancer, Budget, Decision, GiveUp, Key, Lease, Outcome, Pick, PickError, Safety,
};
use zk_registry::{Freshness, Instance, InstanceId, Resolve, ServiceName, ServiceWatch, Snapshot};

use self::exchange::{Exchange, Reuse, Unanswered};
use crate::fault::{AskError, FailedAttempt, Fault};
use crate::pool::Pool;

pub use self::answer::{Answer, Reading, Stamps};
pub use self::options::Options;

/// The probe that a query may have to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Probe {
    /// The first instance that is to be probed is probed beside the query.
    Due,
    /// A further one is asked as any other: there may be no better one.
    Made,
}

/// A resolver for a time service: it follows the instances, asks one of them, and another one if that fails.
///
/// Share it behind an [`Arc`]; every method takes `&self`. Dropping it stops following the service and closes the
/// connections that it keeps.
///
/// ```no_run
/// use time_client::client::{Options, TimeClient};
/// use time_server::protocol::Request;
/// use zk_registry::balance::{Balancer, strategy::LeastLoaded};
/// use zk_registry::Registry;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::open("127.0.0.1:2181".parse()?, Default::default());
/// let balancer = Balancer::new(LeastLoaded); // or a strategy of your own
/// let client = TimeClient::new(&registry, &"time".parse()?, balancer, Options::default());
/// let answer = client.ask(Request::Now, None).await?; // from the first instance that answers
/// println!("{} says {:?} after {:?}", answer.instance.id(), answer.reading, answer.rtt);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TimeClient {
    service: ServiceName,
    options: Options,
    balancer: Arc<Balancer>,
    budget: Arc<Budget>,
    /// The snapshot that the balancer has adopted.
    adopted: watch::Receiver<Snapshot>,
    pool: Arc<Pool>,
    /// The probes under way, which end with the client.
    probes: Mutex<JoinSet<()>>,
    _follow: AbortOnDropHandle<()>,
}

impl TimeClient {
    /// A client that follows `service` as `resolve` sees it, and chooses with `balancer`.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, which runs the task that follows the service.
    pub fn new(resolve: &dyn Resolve, service: &ServiceName, balancer: Balancer, options: Options) -> Self {
        let mut watch = resolve.watch(service);
        let (adopt, adopted) = watch::channel(watch.current().clone());
        let balancer = Arc::new(balancer);
        balancer.update(watch.current());
        let pool = Arc::new(Pool::new(options.kept_per_instance, options.idle_timeout));
        let follow = follow(watch, balancer.clone(), adopt, pool.clone());
        let follow = AbortOnDropHandle::new(tokio::spawn(follow));
        let budget = Arc::new(Budget::new(options.budget));
        let probes = Mutex::default();
        Self { service: service.clone(), options, balancer, budget, adopted, pool, probes, _follow: follow }
    }

    /// The service that is followed.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The balancer, to look at its endpoints and their health.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The snapshot that the balancer chooses from.
    pub fn snapshot(&self) -> Snapshot {
        self.adopted.borrow().clone()
    }

    /// Asks one instance, and further ones if it does not answer.
    ///
    /// With a strategy that hashes, queries of the same `key` go to the same instance.
    ///
    /// # Errors
    ///
    /// [`AskError`], which names every attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection in use and counts neither as success nor as failure of the instance.
    pub async fn ask(&self, request: Request, key: Option<Key>) -> Result<Answer, AskError> {
        // The clock is read twice in a query that goes well: here, and when the answer has come.
        let mut began = Instant::now();
        let deadline = began + self.options.timeout;
        // Asking for the time twice does no harm.
        let mut attempts =
            self.options.retry.begin_at(&self.budget, Safety::Idempotent, Some(deadline), began);
        let mut failed = Vec::new();
        let mut reuse = Reuse::Allowed;
        let mut probe = Probe::Due;
        loop {
            let mut picked = self.pick_at(began, key, attempts.tried());
            if let Err(why) = picked {
                picked = self.pick_otherwise(why, key, &mut attempts, deadline).await;
                began = Instant::now();
            }
            let lease = match picked {
                Ok(lease) => lease,
                Err(why) => return Err(AskError::Nothing { service: self.service.clone(), why, failed }),
            };
            if lease.is_probe() && probe == Probe::Due {
                self.probe(lease);
                (probe, began) = (Probe::Made, Instant::now());
                continue;
            }
            let left = deadline.saturating_duration_since(began);
            if left < self.options.retry.least {
                // No instance was asked: the dropped lease counts as neither success nor failure.
                return Err(AskError::Deadline { within: self.options.timeout, failed });
            }
            let time = left / self.shares(&lease, &attempts);
            let until = began + time;
            let fault = match self.exchange(lease.instance(), request, reuse, began, until).run().await {
                Ok((reading, ended)) => {
                    let (instance, rtt) = (lease.member().clone(), ended - began);
                    lease.finish_at(Outcome::Success, ended);
                    let met_dead_connection = reuse == Reuse::Forbidden;
                    return Ok(Answer { instance, reading, rtt, failed, met_dead_connection });
                }
                // No instance was asked: the dropped lease counts as neither success nor failure.
                Err(Unanswered::DiedIdle) => {
                    reuse = Reuse::Forbidden;
                    began = Instant::now();
                    continue;
                }
                Err(Unanswered::Failed(fault)) => fault,
            };
            let (instance, address) = (lease.member().id().clone(), lease.instance().address());
            let outcome = if self.is_hurried(time, &fault) { Outcome::Cancelled } else { fault.outcome() };
            lease.finish(outcome);
            // An attempt that says nothing of its instance is followed by another one all the same.
            let ended = if outcome == Outcome::Cancelled { Outcome::Refused } else { outcome };
            let decision = attempts.ended(instance.clone(), ended, Instant::now(), &mut rand::random::<u64>);
            failed.push(FailedAttempt { instance, address, fault });
            match decision {
                Decision::Retry { after } => sleep(after).await,
                Decision::GiveUp(why) if why == GiveUp::Deadline || Instant::now() >= deadline => {
                    return Err(AskError::Deadline { within: self.options.timeout, failed });
                }
                Decision::GiveUp(why) => return Err(AskError::Exhausted { failed, why }),
                // A fault is neither a success nor cancelled, so that this is never said of one.
                Decision::Done => return Err(AskError::Exhausted { failed, why: GiveUp::Attempts }),
            }
            began = Instant::now();
        }
    }

    /// Finds out whether an ejected instance is well, beside the query that was to: over a new connection, on a task of its
    /// own, so that no query waits for an instance that may not answer.
    fn probe(&self, lease: Lease) {
        let (options, pool) = (self.options.clone(), Arc::clone(&self.pool));
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner); // a set is always whole
        while probes.try_join_next().is_some() {}
        probes.spawn(async move {
            let (began, instance) = (Instant::now(), lease.instance());
            let (options, pool, until) = (&options, &*pool, began + options.timeout);
            let (request, reuse) = (Request::Now, Reuse::Forbidden);
            let outcome =
                match (Exchange { options, pool, instance, request, reuse, began, until }).run().await {
                    Ok(_) => Outcome::Success,
                    Err(Unanswered::DiedIdle) => Outcome::Cancelled,
                    Err(Unanswered::Failed(fault)) => fault.outcome(),
                };
            lease.finish(outcome);
        });
    }

    /// Asks this instance once, whatever the balancer thinks of it.
    ///
    /// # Errors
    ///
    /// The fault of the exchange, at the latest after [`Options::timeout`].
    pub async fn ask_instance(&self, instance: &Instance, request: Request) -> Result<Reading, Fault> {
        let mut began = Instant::now();
        let until = began + self.options.timeout;
        let mut reuse = Reuse::Allowed;
        loop {
            match self.exchange(instance, request, reuse, began, until).run().await {
                Ok((reading, _)) => return Ok(reading),
                Err(Unanswered::DiedIdle) => (reuse, began) = (Reuse::Forbidden, Instant::now()),
                Err(Unanswered::Failed(fault)) => return Err(fault),
            }
        }
    }

    /// A pick after the first one found nothing: all instances were tried, and may be tried again; or none is known yet, and
    /// the first snapshot is awaited.
    #[cold]
    async fn pick_otherwise(
        &self,
        why: PickError,
        key: Option<Key>,
        attempts: &mut Attempts,
        until: Instant,
    ) -> Result<Lease, PickError> {
        match why {
            PickError::AllExcluded => attempts.start_over(),
            PickError::Pending => {
                let mut adopted = self.adopted.clone();
                // A snapshot file that says "none" is not believed: that an instance came since is likely.
                let is_known = |snapshot: &Snapshot| match snapshot.freshness() {
                    Freshness::Pending => false,
                    Freshness::Disk { .. } => !snapshot.is_empty(),
                    _ => true,
                };
                let known = adopted.wait_for(is_known);
                // Nothing more is coming, or not in time: the pick says the same again.
                let _ = timeout_at(until, known).await;
            }
            _ => return Err(why),
        }
        self.pick(key, attempts.tried())
    }

    /// Whether an attempt timed out that was only given the rest of a query's time: less than a quarter of an equal share. A
    /// healthy instance may take longer than that.
    fn is_hurried(&self, time: Duration, fault: &Fault) -> bool {
        let share = self.options.timeout / self.options.retry.attempts.max(1);
        time < share / 4 && matches!(fault, Fault::DialTimeout(_) | Fault::Silent(_))
    }

    /// The number of attempts that the remaining time is shared among: those allowed, but no more than there are untried
    /// instances, because time set aside for asking an instance again is taken from asking it the first time.
    fn shares(&self, lease: &Lease, attempts: &Attempts) -> u32 {
        let allowed = self.options.retry.attempts.saturating_sub(attempts.made());
        let untried = lease.candidates().saturating_sub(attempts.tried().len());
        allowed.min(u32::try_from(untried).unwrap_or(u32::MAX)).max(1)
    }

    /// Picks an instance, now, that is not among those `tried`. Costs less than a microsecond and never waits.
    ///
    /// # Errors
    ///
    /// The reason why there is nothing to pick.
    pub fn pick(&self, key: Option<Key>, tried: &[InstanceId]) -> Result<Lease, PickError> {
        self.pick_at(Instant::now(), key, tried)
    }

    fn exchange<'a>(
        &'a self,
        instance: &'a Instance,
        request: Request,
        reuse: Reuse,
        began: Instant,
        until: Instant,
    ) -> Exchange<'a> {
        Exchange { options: &self.options, pool: &self.pool, instance, request, reuse, began, until }
    }

    fn pick_at(&self, now: Instant, key: Option<Key>, tried: &[InstanceId]) -> Result<Lease, PickError> {
        let mut words = rand::random::<u64>;
        let mut pick = Pick::new(now, &mut words).avoiding(tried);
        pick.key = key;
        self.balancer.pick_with(&mut pick)
    }
}

/// Feeds the balancer until the registry is closed, and closes connections that are not used.
async fn follow(
    mut watch: ServiceWatch,
    balancer: Arc<Balancer>,
    adopt: watch::Sender<Snapshot>,
    pool: Arc<Pool>,
) {
    // The sender goes with the block: queries that wait for a snapshot hear that none will come.
    let adopt = async move {
        loop {
            balancer.update(watch.current());
            adopt.send_replace(watch.current().clone());
            if watch.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::join!(adopt, pool.tidy());
}
