//! The resolver: ready -> pick -> connect -> ask -> record, in one place and with one deadline.
//!
//! It never asks ZooKeeper anything: a task of its own feeds each new snapshot to the balancer, and a query costs one pick.
//! What went wrong with one instance is the balancer's to learn and another instance's to answer; a caller hears of it
//! only when nobody could.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use time_server::protocol::{Reply, Request};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::balance::{
    Attempts, Balancer, Budget, BudgetOptions, Decision, GiveUp, Key, Lease, Outcome, Pick, PickError, Retry,
    Safety,
};
use zk_registry::{Freshness, Instance, InstanceId, Member, Resolve, ServiceName, ServiceWatch, Snapshot};

use crate::connect::Connection;
use crate::fault::{AskError, FailedAttempt, Fault};
use crate::pool::Pool;

/// How a [`TimeClient`] asks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How long a query may take, all its attempts together. Defaults to 2 seconds.
    pub timeout: Duration,
    /// Whether and when a query that failed is tried again. Each attempt gets an equal share of the time that is left, so
    /// that one which hangs leaves time for the next instance. Defaults to [`Retry::default`]: 3 attempts.
    pub retry: Retry,
    /// How many retries all queries together may cost. Defaults to [`BudgetOptions::default`].
    pub budget: BudgetOptions,
    /// How long connecting may take within an attempt. Defaults to 1 second.
    pub connect_timeout: Duration,
    /// How long an answer may take within an attempt. Defaults to all the time that the attempt has.
    pub read_timeout: Option<Duration>,
    /// How many idle connections are kept to each instance. Defaults to 64.
    pub kept_per_instance: usize,
    /// For how long an idle connection is kept; should be less than the servers' own limit (60 seconds by default).
    /// Defaults to 30 seconds.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            retry: Retry::default(),
            budget: BudgetOptions::default(),
            connect_timeout: Duration::from_secs(1),
            read_timeout: None,
            kept_per_instance: 64,
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// Finds the instances of a time service, and asks one that answers.
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
/// let answer = client.ask(Request::Now, None).await?; // from whoever answers
/// println!("{} says {:?} after {:?}", answer.instance.id(), answer.said, answer.rtt);
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
    _follow: AbortOnDropHandle<()>,
}

/// An answer and how it was come by.
#[derive(Debug)]
pub struct Answer {
    /// Who answered.
    pub instance: Arc<Member>,
    /// What it answered.
    pub said: Said,
    /// How long the attempt that succeeded took: connecting, if there was no kept connection, asking and answering.
    pub rtt: Duration,
    /// The attempts that failed before.
    pub failed: Vec<FailedAttempt>,
    /// Whether a kept connection was used before that turned out to have died: not an attempt that failed.
    pub met_dead_connection: bool,
}

/// What an instance said of the time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// To [`Request::Sync`].
    Stamps(Stamps),
    /// To [`Request::Now`] and [`Request::Timestamp`].
    Time(Timestamp),
}

/// When a request left us, reached the server, and left it again as a reply, each by the clock of its place; nanoseconds
/// since the epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamps {
    /// What we sent.
    pub t1: u64,
    /// The server's clock when it had received the request.
    pub t2: u64,
    /// The server's clock when it was about to send the reply.
    pub t3: u64,
}

impl TimeClient {
    /// Follows `service` as `resolve` sees it, and chooses with `balancer`.
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
        Self { service: service.clone(), options, balancer, budget, adopted, pool, _follow: follow }
    }

    /// The service that is asked.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The balancer, to look at its endpoints and their health.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// The snapshot that is chosen from.
    pub fn snapshot(&self) -> Snapshot {
        self.adopted.borrow().clone()
    }

    /// Asks one instance, and others if it does not answer.
    ///
    /// `key` is what strategies that hash go by: queries of the same key go to the same instance.
    ///
    /// # Errors
    ///
    /// See [`AskError`]; it names every attempt.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future blames nobody; the connection that was in use is closed.
    pub async fn ask(&self, request: Request, key: Option<Key>) -> Result<Answer, AskError> {
        // The clock is read twice in a query that goes well: here, and when the answer has come.
        let mut began = Instant::now();
        let deadline = began + self.options.timeout;
        // Asking for the time twice does no harm.
        let mut attempts =
            self.options.retry.begin_at(&self.budget, Safety::Idempotent, Some(deadline), began);
        let mut failed = Vec::new();
        let mut over = Over::Kept;
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
            let left = deadline.saturating_duration_since(began);
            let until = began + left / self.shares(&lease, &attempts);
            let fault = match self.attempt(lease.instance(), request, over, began, until).await {
                Ok((said, ended)) => {
                    let (instance, rtt) = (lease.member().clone(), ended - began);
                    lease.finish_at(Outcome::Success, ended);
                    let met_dead_connection = over == Over::New;
                    return Ok(Answer { instance, said, rtt, failed, met_dead_connection });
                }
                // Nobody was asked, nobody is to blame: dropping the lease says so.
                Err(Attempt::DiedIdle) => {
                    over = Over::New;
                    began = Instant::now();
                    continue;
                }
                Err(Attempt::Failed(fault)) => fault,
            };
            let (instance, outcome) = (lease.member().id().clone(), fault.outcome());
            lease.finish(outcome);
            let decision =
                attempts.ended(instance.clone(), outcome, Instant::now(), &mut rand::random::<u64>);
            failed.push(FailedAttempt { instance, fault });
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

    /// Asks this instance once, whatever the balancer thinks of it.
    ///
    /// # Errors
    ///
    /// What went wrong, within the time for a query.
    pub async fn ask_instance(&self, instance: &Instance, request: Request) -> Result<Said, Fault> {
        let mut began = Instant::now();
        let until = began + self.options.timeout;
        let mut over = Over::Kept;
        loop {
            match self.attempt(instance, request, over, began, until).await {
                Ok((said, _)) => return Ok(said),
                Err(Attempt::DiedIdle) => (over, began) = (Over::New, Instant::now()),
                Err(Attempt::Failed(fault)) => return Err(fault),
            }
        }
    }

    /// What to do where there is nothing to pick that was not tried: when all were tried, any; when nothing is known yet, wait
    /// until something is.
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
                let known = adopted.wait_for(|snapshot| snapshot.freshness() != Freshness::Pending);
                // Nothing more is coming, or not in time: the pick says the same again.
                let _ = timeout_at(until, known).await;
            }
            _ => return Err(why),
        }
        self.pick(key, attempts.tried())
    }

    /// Among how many attempts the time is shared: time that is set aside for asking the same instances once more would
    /// only be taken from the first time.
    fn shares(&self, lease: &Lease, attempts: &Attempts) -> u32 {
        let allowed = self.options.retry.attempts.saturating_sub(attempts.made());
        let untried = lease.candidates().saturating_sub(attempts.tried().len());
        allowed.min(u32::try_from(untried).unwrap_or(u32::MAX)).max(1)
    }

    /// Picks an instance, now, that is not among those `tried`. Costs less than a microsecond and never waits.
    ///
    /// # Errors
    ///
    /// Why there is nothing to pick.
    pub fn pick(&self, key: Option<Key>, tried: &[InstanceId]) -> Result<Lease, PickError> {
        self.pick_at(Instant::now(), key, tried)
    }

    fn pick_at(&self, now: Instant, key: Option<Key>, tried: &[InstanceId]) -> Result<Lease, PickError> {
        let mut words = rand::random::<u64>;
        let mut pick = Pick::new(now, &mut words).avoiding(tried);
        pick.key = key;
        self.balancer.pick_with(&mut pick)
    }

    /// One instance, one request: over a kept connection if there is one and it may be used, over a new one if not. Tells what
    /// was answered, and when.
    async fn attempt(
        &self,
        instance: &Instance,
        request: Request,
        over: Over,
        began: Instant,
        until: Instant,
    ) -> Result<(Said, Instant), Attempt> {
        if request == Request::Timestamp {
            let connection = self.dial(instance, until).await?;
            let reply = self.read(Instant::now(), until, connection.ask_last()).await??;
            return Ok((checked(request, reply)?, Instant::now()));
        }
        let address = instance.address();
        let kept = match over {
            Over::Kept => self.pool.take(&address, began),
            Over::New => None,
        };
        let was_kept = kept.is_some();
        let (mut connection, asked) = match kept {
            Some(connection) => (connection, began),
            None => (self.dial(instance, until).await?, Instant::now()),
        };
        let (fault, said_nothing) = match self.read(asked, until, connection.ask(request)).await? {
            Ok(reply) => match checked(request, reply) {
                Ok(said) => {
                    let ended = Instant::now();
                    // A line too many would be taken for the next answer.
                    if connection.has_heard_nothing() {
                        self.pool.put(&address, connection, ended);
                    }
                    return Ok((said, ended));
                }
                // A server that closes an idle connection may say so, and it may say so while we ask.
                Err(fault) => {
                    let refused = matches!(fault, Fault::Refused(_));
                    (fault, refused)
                }
            },
            Err(error) => (error.into(), connection.has_heard_nothing()),
        };
        if was_kept && said_nothing && began.elapsed() <= connection.round_trip().max(PROMPTLY) {
            self.pool.forget(&address);
            return Err(Attempt::DiedIdle);
        }
        Err(Attempt::Failed(fault))
    }

    async fn dial(&self, instance: &Instance, until: Instant) -> Result<Connection, Fault> {
        let began = Instant::now();
        let until = until.min(began + self.options.connect_timeout);
        match timeout_at(until, Connection::open(instance.host(), instance.port())).await {
            Ok(dialled) => dialled.map_err(Fault::Dial),
            Err(_) => Err(Fault::DialTimeout(began.elapsed())),
        }
    }

    async fn read<T>(
        &self,
        asked: Instant,
        until: Instant,
        answer: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let until = self.options.read_timeout.map_or(until, |within| until.min(asked + within));
        timeout_at(until, answer).await.map_err(|_| Fault::Silent(asked.elapsed()))
    }
}

impl Answer {
    /// How often an instance was asked, the time that brought the answer included.
    pub fn attempts(&self) -> usize {
        self.failed.len() + 1
    }
}

impl Said {
    /// The time, by the instance's clock.
    pub fn time(self) -> Timestamp {
        match self {
            Self::Stamps(Stamps { t3, .. }) => {
                Timestamp::from_nanosecond(t3.into()).unwrap_or(Timestamp::MAX)
            }
            Self::Time(time) => time,
        }
    }
}

/// What an attempt may use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Over {
    /// A kept connection, if there is one.
    Kept,
    /// A new connection only: a query that met a dead one does not look for further ones, so that nothing which happens to
    /// it afterwards can pass for bad luck.
    New,
}

/// Why an attempt brought no reply.
enum Attempt {
    /// The kept connection was dead before it was asked: not a failure of the instance.
    DiedIdle,
    Failed(Fault),
}

impl<E: Into<Fault>> From<E> for Attempt {
    fn from(fault: E) -> Self {
        Self::Failed(fault.into())
    }
}

/// A server closed an idle connection just before our request reached it: we hear of that a round trip after asking. Who
/// takes longer had the request and failed. On a busy machine hearing takes a moment more than the round trip.
const PROMPTLY: Duration = Duration::from_millis(10);

/// What the reply says, if it answers the request.
fn checked(request: Request, reply: Reply) -> Result<Said, Fault> {
    match (request, reply) {
        (_, Reply::Error(what)) => Err(Fault::Refused(what.into_owned())),
        (Request::Now, Reply::Now(time)) | (Request::Timestamp, Reply::Timestamp { time, .. }) => {
            Ok(Said::Time(time))
        }
        (Request::Sync { t1: sent }, Reply::Sync { t1, t2, t3 }) if t1 == sent => {
            Ok(Said::Stamps(Stamps { t1, t2, t3 }))
        }
        (_, other) => Err(Fault::Garbage(format!("{other:?} to {request:?}"))),
    }
}

/// Feeds the balancer until the registry is closed, and closes connections that nobody uses.
async fn follow(
    mut watch: ServiceWatch,
    balancer: Arc<Balancer>,
    adopt: watch::Sender<Snapshot>,
    pool: Arc<Pool>,
) {
    let adopt = async {
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
