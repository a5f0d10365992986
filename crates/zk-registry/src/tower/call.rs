//! One call: pick, dial, hand over, judge, and perhaps again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;
use tracing::{Instrument, Span, debug_span, field};

use super::BoxError;
use super::classify::Classify;
use super::clients::{Clients, DialId, Dialled};
use super::connect::Connect;
use super::error::BalanceError;
use super::requests::RequestRules;
use crate::balance::{Attempts, Balancer, Decision, Key, Lease, Outcome, Pick, PickError};
use crate::error::Error;
use crate::instance::{InstanceId, ServiceName};

/// What the clones of a [`Balance`](super::Balance) share.
pub(super) struct Inner<C: Connect, K, R> {
    pub(super) service: ServiceName,
    pub(super) balancer: Arc<Balancer>,
    pub(super) clients: Arc<Clients<C>>,
    pub(super) following: Following,
    pub(super) classify: Arc<K>,
    pub(super) rules: R,
    pub(super) wait: Duration,
    pub(super) dial_timeout: Duration,
}

/// What the follower says, and the follower itself if it is ours.
#[derive(Clone)]
pub(super) struct Following {
    pub(super) cause: Arc<ArcSwapOption<Error>>,
    /// Closed when nothing is followed any more.
    pub(super) alive: watch::Receiver<()>,
    pub(super) _task: Option<Arc<AbortOnDropHandle<()>>>,
}

pub(super) type Called<C, Request> = <<C as Connect>::Client as Service<Request>>::Future;
pub(super) type Answered<C, Request> = <<C as Connect>::Client as Service<Request>>::Response;
pub(super) type Ended<C, Request> = Result<Answered<C, Request>, BoxError>;
pub(super) type Failed<C, Request> = <<C as Connect>::Client as Service<Request>>::Error;

/// One call.
pub(super) struct Call<C: Connect, K, R, Request> {
    pub(super) inner: Arc<Inner<C, K, R>>,
    /// The time of its beginning, where that matters: it may be tried again, or has to wait. A look at the clock costs as much
    /// as the pick.
    began: Option<Instant>,
    key: Option<Key>,
    /// The instances that failed it.
    avoid: Vec<InstanceId>,
    /// Those of them that were not reached.
    unreached: Vec<(InstanceId, BoxError)>,
    /// The attempts that are left, and the request for the next one.
    again: Option<(Attempts, Request)>,
    attempts: u32,
}

/// An instance whose client is ready for the request.
pub(super) struct Reached<C: Connect> {
    pub(super) lease: Lease,
    pub(super) dialled: Dialled<C::Client>,
}

/// A request that was handed to an instance.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) dial: DialId,
}

/// What follows from the end of an attempt.
enum Next<Answer, Request> {
    Over(Result<Answer, BalanceError>),
    Again { after: Duration, request: Request },
}

impl<C, K, R, Request> Call<C, K, R, Request>
where
    C: Connect,
    C::Client: Service<Request>,
    Failed<C, Request>: Into<BoxError>,
    K: Classify<Answered<C, Request>>,
    R: RequestRules<Request>,
{
    #[inline]
    pub(super) fn new(inner: &Arc<Inner<C, K, R>>, request: &Request) -> Self {
        let began = inner.rules.replays().then(Instant::now);
        Self {
            inner: Arc::clone(inner),
            began,
            key: inner.rules.key(request),
            avoid: Vec::new(),
            unreached: Vec::new(),
            again: began.and_then(|now| inner.rules.begin(request, now)),
            attempts: 0,
        }
    }

    /// Whether there may be another attempt after the next one.
    pub(super) fn may_go_on(&self) -> bool {
        self.again.is_some()
    }

    /// The client of a lease's instance if it is ready now.
    #[inline]
    pub(super) fn ready(&self, lease: &Lease) -> Option<Dialled<C::Client>> {
        let mut dialled = self.inner.clients.ready(lease.member())?;
        // Where it is not ready it is asked again, by a task that waits.
        match dialled.client.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => Some(dialled),
            _ => None,
        }
    }

    /// The call has to wait for something: the time of that counts from now on, unless it did before.
    pub(super) fn begin_to_wait(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Makes the call, and again as often as it may. `picked` is the instance of the next attempt, if there is one.
    pub(super) async fn run(
        mut self,
        mut picked: Result<Lease, PickError>,
        mut request: Request,
    ) -> Result<K::Answer, BalanceError> {
        loop {
            let Reached { lease, dialled: Dialled { mut client, dial } } = self.reach(picked).await?;
            let span = self.attempt_span(&lease);
            let ended = client.call(request).instrument(span.clone()).await.map_err(Into::into);
            let after = match self.end(Attempt { lease, dial }, &span, ended) {
                Next::Over(result) => return result,
                Next::Again { after, request: next } => {
                    request = next;
                    after
                }
            };
            tokio::time::sleep(after).await;
            picked = self.pick();
        }
    }

    /// Makes the next attempt after a pause, and goes on as [`run`](Self::run).
    pub(super) async fn go_on(self, after: Duration, request: Request) -> Result<K::Answer, BalanceError> {
        tokio::time::sleep(after).await;
        let picked = self.pick();
        self.run(picked, request).await
    }

    /// The span of the next attempt, which begins.
    #[inline]
    pub(super) fn attempt_span(&mut self, lease: &Lease) -> Span {
        self.attempts += 1;
        debug_span!(
            "attempt",
            otel.kind = "client",
            server.address = lease.instance().host(),
            server.port = lease.instance().port(),
            zk_registry.instance = %lease.endpoint().id(),
            zk_registry.attempt = self.attempts,
            error.type = field::Empty,
        )
    }

    /// The attempt has ended.
    fn end(&mut self, attempt: Attempt, span: &Span, ended: Ended<C, Request>) -> Next<K::Answer, Request> {
        let outcome = self.inner.judge(&attempt, span, &ended);
        match self.retry(&attempt.lease, outcome) {
            Some((after, request)) => {
                attempt.lease.finish(outcome);
                Next::Again { after, request }
            }
            None => Next::Over(self.inner.close(attempt.lease, outcome, ended)),
        }
    }

    /// The pause before the next attempt after one that ended so, and its request. `None`: there is no other.
    #[inline]
    pub(super) fn retry(&mut self, lease: &Lease, outcome: Outcome) -> Option<(Duration, Request)> {
        if is_over(outcome) { None } else { self.retry_failed(lease, outcome) }
    }

    #[cold]
    fn retry_failed(&mut self, lease: &Lease, outcome: Outcome) -> Option<(Duration, Request)> {
        let (attempts, _) = self.again.as_mut()?;
        let decision = attempts.judge(lease, outcome, Instant::now(), &mut rand::random::<u64>);
        let Decision::Retry { after } = decision else { return None };
        self.avoid.push(lease.endpoint().id().clone());
        let (attempts, request) = self.again.take()?;
        self.again = self.inner.rules.replay(&request).map(|next| (attempts, next));
        Some((after, request))
    }

    /// An instance with a client that is ready, of those that have not failed this call: the one that was picked, or another.
    async fn reach(&mut self, mut picked: Result<Lease, PickError>) -> Result<Reached<C>, BalanceError> {
        loop {
            let lease = match picked {
                Ok(lease) => lease,
                Err(why) => Box::pin(self.wait_for_one(why)).await?,
            };
            let (error, outcome) = match self.inner.client::<Request>(&lease).await {
                Ok(dialled) => return Ok(Reached { lease, dialled }),
                Err(unready) => unready,
            };
            let instance = lease.endpoint().id().clone();
            self.avoid.push(instance.clone());
            self.unreached.push((instance, error));
            lease.finish(outcome);
            picked = self.pick();
        }
    }

    /// Picks an instance that has not failed this call.
    #[inline]
    pub(super) fn pick(&self) -> Result<Lease, PickError> {
        let mut chance = rand::random::<u64>;
        let mut pick = Pick::by_clock(&mut chance).avoiding(&self.avoid);
        pick.key = self.key;
        self.inner.balancer.pick_with(&mut pick)
    }

    /// Nothing was picked: waits for an instance, or says why there is none.
    async fn wait_for_one(&mut self, why: PickError) -> Result<Lease, BalanceError> {
        if why == PickError::AllExcluded {
            return self.start_over();
        }
        let Following { cause, mut alive, .. } = self.inner.following.clone();
        let usable = async {
            tokio::select! {
                biased;
                () = self.inner.balancer.usable() => {}
                // Nothing is ever sent: the follower has ended.
                _ = alive.changed() => {}
            }
        };
        let until = self.began.unwrap_or_else(Instant::now) + self.inner.wait;
        let _ = tokio::time::timeout_at(until, usable).await;
        match self.pick() {
            Ok(lease) => Ok(lease),
            Err(PickError::AllExcluded) => self.start_over(),
            Err(why) if alive.has_changed().is_err() => Err(BalanceError::Unfollowed { why }),
            Err(why) => Err(BalanceError::Pick { why, cause: cause.load().as_deref().cloned() }),
        }
    }

    /// Every instance has failed this call: those that were reached may be tried again, if there are any.
    fn start_over(&mut self) -> Result<Lease, BalanceError> {
        self.avoid.retain(|id| self.unreached.iter().any(|(unreached, _)| unreached == id));
        self.pick().map_err(|why| match std::mem::take(&mut self.unreached) {
            tried if tried.is_empty() => BalanceError::Pick { why, cause: None },
            tried => BalanceError::Dial { tried },
        })
    }
}

/// Whether a call that ended so is over, however many attempts are left.
fn is_over(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Cancelled | Outcome::Success)
}

impl<C: Connect, K, R> Inner<C, K, R> {
    /// What the end of an attempt means. A client whose call failed is dropped.
    #[inline]
    pub(super) fn judge<Request>(&self, attempt: &Attempt, span: &Span, ended: &Ended<C, Request>) -> Outcome
    where
        C::Client: Service<Request>,
        K: Classify<Answered<C, Request>>,
    {
        let outcome = self.classify.classify(ended.as_ref());
        if !is_over(outcome) {
            span.record("error.type", field::debug(outcome));
            if ended.is_err() {
                // Its connection may be broken.
                self.clients.forget(attempt.lease.member(), attempt.dial);
            }
        }
        outcome
    }

    /// What the call answers, of which this was the last attempt.
    #[inline]
    pub(super) fn close<Request>(
        &self,
        lease: Lease,
        outcome: Outcome,
        ended: Ended<C, Request>,
    ) -> Result<K::Answer, BalanceError>
    where
        C::Client: Service<Request>,
        K: Classify<Answered<C, Request>>,
    {
        match ended {
            Ok(response) => Ok(self.classify.deliver(response, outcome, lease)),
            Err(error) => {
                lease.finish(outcome);
                Err(BalanceError::Call(error))
            }
        }
    }

    /// The client of an instance, dialled if need be, and ready.
    async fn client<Request>(&self, lease: &Lease) -> Result<Dialled<C::Client>, (BoxError, Outcome)>
    where
        C::Client: Service<Request>,
        Failed<C, Request>: Into<BoxError>,
    {
        if let Some(mut ready) = self.clients.ready(lease.member()) {
            match self.until_ready::<Request>(&mut ready.client).await {
                Ok(()) => return Ok(ready),
                // It may have been closed while it was idle, which says nothing of the instance now.
                Err(Unready::Broken(_)) => self.clients.forget(lease.member(), ready.dial),
                Err(Unready::Late) => return Err((LATE.into(), Outcome::Refused)),
            }
        }
        Box::pin(self.dialled::<Request>(lease)).await
    }

    /// The client of an instance, dialled now, and ready.
    async fn dialled<Request>(&self, lease: &Lease) -> Result<Dialled<C::Client>, (BoxError, Outcome)>
    where
        C::Client: Service<Request>,
        Failed<C, Request>: Into<BoxError>,
    {
        let dialled = self.clients.dial(lease.member(), self.dial_timeout).await;
        let mut dialled = dialled.map_err(|error| (error, Outcome::Unreachable))?;
        match self.until_ready::<Request>(&mut dialled.client).await {
            Ok(()) => Ok(dialled),
            Err(Unready::Broken(error)) => {
                self.clients.forget(lease.member(), dialled.dial);
                Err((error, Outcome::Refused))
            }
            Err(Unready::Late) => Err((LATE.into(), Outcome::Refused)),
        }
    }

    async fn until_ready<Request>(&self, client: &mut C::Client) -> Result<(), Unready>
    where
        C::Client: Service<Request>,
        Failed<C, Request>: Into<BoxError>,
    {
        let mut ready = poll_fn(|cx| client.poll_ready(cx).map_err(|error| Unready::Broken(error.into())));
        // Most clients are ready at once, and a timer costs a look at the clock.
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut ready).poll(cx))).await {
            Poll::Ready(ready) => ready,
            Poll::Pending => {
                let ready = Box::pin(tokio::time::timeout(self.dial_timeout, ready)).await;
                ready.unwrap_or(Err(Unready::Late))
            }
        }
    }
}

const LATE: &str = "its client did not become ready in time";

/// The reason for which a client takes no request.
enum Unready {
    Broken(BoxError),
    Late,
}
