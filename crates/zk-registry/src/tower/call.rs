//! One call: pick, dial, hand over, judge, and perhaps again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;
use tracing::{Instrument, Span, debug_span, field};

use super::BoxError;
use super::classify::Classify;
use super::clients::{Clients, Dialled};
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
pub(super) type Failed<C, Request> = <<C as Connect>::Client as Service<Request>>::Error;

/// What one call has seen so far. Allocates only when something went wrong.
struct Progress {
    began: Instant,
    /// The time of the next pick, if the clock was read just now.
    now: Option<Instant>,
    key: Option<Key>,
    /// The instances that failed it.
    avoid: Vec<InstanceId>,
    /// Those of them that were not reached.
    unreached: Vec<(InstanceId, BoxError)>,
}

/// An instance that is ready for the request.
struct Reached<C: Connect> {
    lease: Lease,
    dialled: Dialled<C::Client>,
}

pub(super) async fn call<C, K, R, Request>(
    inner: Arc<Inner<C, K, R>>,
    mut request: Request,
) -> Result<K::Answer, BalanceError>
where
    C: Connect,
    C::Client: Service<Request>,
    Failed<C, Request>: Into<BoxError>,
    K: Classify<Answered<C, Request>>,
    R: RequestRules<Request>,
{
    let began = Instant::now();
    let key = inner.rules.key(&request);
    let mut again = inner.rules.begin(&request, began);
    let mut progress = Progress { began, now: Some(began), key, avoid: Vec::new(), unreached: Vec::new() };
    let mut made = 0_u32;
    loop {
        let Reached { lease, dialled: Dialled { mut client, dial } } =
            inner.reach::<Request>(&mut progress).await?;
        made += 1;
        let span = attempt_span(&lease, made);
        let ended = client.call(request).instrument(span.clone()).await.map_err(Into::into);
        let outcome = inner.classify.classify(ended.as_ref());
        let is_over = matches!(outcome, Outcome::Cancelled | Outcome::Success);
        if !is_over {
            span.record("error.type", field::debug(outcome));
            if ended.is_err() {
                // Its connection may be broken.
                inner.clients.forget(lease.member(), dial);
            }
        }
        if !is_over
            && let Some((attempts, next)) = again.take()
            && let Some(retry) = inner.retry(attempts, next, &lease, outcome, &mut progress)
        {
            lease.finish(outcome);
            drop(ended);
            Box::pin(tokio::time::sleep(retry.after)).await;
            again = inner.rules.replay(&retry.request).map(|next| (retry.attempts, next));
            request = retry.request;
            continue;
        }
        return match ended {
            Ok(response) => Ok(inner.classify.deliver(response, outcome, lease)),
            Err(error) => {
                lease.finish(outcome);
                Err(BalanceError::Call(error))
            }
        };
    }
}

/// The next attempt of a call.
struct Again<Request> {
    after: Duration,
    attempts: Attempts,
    request: Request,
}

impl<C: Connect, K, R> Inner<C, K, R> {
    /// Whether the call is tried again after an attempt that failed.
    fn retry<Request>(
        &self,
        mut attempts: Attempts,
        request: Request,
        lease: &Lease,
        outcome: Outcome,
        progress: &mut Progress,
    ) -> Option<Again<Request>> {
        let decision = attempts.judge(lease, outcome, Instant::now(), &mut rand::random::<u64>);
        let Decision::Retry { after } = decision else { return None };
        progress.avoid.push(lease.endpoint().id().clone());
        Some(Again { after, attempts, request })
    }

    /// An instance with a client that is ready, of those that have not failed this call.
    async fn reach<Request>(&self, progress: &mut Progress) -> Result<Reached<C>, BalanceError>
    where
        C::Client: Service<Request>,
        Failed<C, Request>: Into<BoxError>,
    {
        loop {
            let lease = match self.pick(progress) {
                Ok(lease) => lease,
                Err(why) => Box::pin(self.wait_for_one(progress, why)).await?,
            };
            let (error, outcome) = match self.client::<Request>(&lease).await {
                Ok(dialled) => return Ok(Reached { lease, dialled }),
                Err(unready) => unready,
            };
            let instance = lease.endpoint().id().clone();
            progress.avoid.push(instance.clone());
            progress.unreached.push((instance, error));
            lease.finish(outcome);
        }
    }

    fn pick(&self, progress: &mut Progress) -> Result<Lease, PickError> {
        let now = progress.now.take().unwrap_or_else(Instant::now);
        let mut chance = rand::random::<u64>;
        let mut pick = Pick::new(now, &mut chance).avoiding(&progress.avoid);
        pick.key = progress.key;
        self.balancer.pick_with(&mut pick)
    }

    /// Nothing was picked: waits for an instance, or says why there is none.
    async fn wait_for_one(&self, progress: &mut Progress, why: PickError) -> Result<Lease, BalanceError> {
        if why == PickError::AllExcluded {
            return self.start_over(progress);
        }
        let mut alive = self.following.alive.clone();
        let usable = async {
            tokio::select! {
                biased;
                () = self.balancer.usable() => {}
                // Nothing is ever sent: the follower has ended.
                _ = alive.changed() => {}
            }
        };
        let _ = tokio::time::timeout_at(progress.began + self.wait, usable).await;
        match self.pick(progress) {
            Ok(lease) => Ok(lease),
            Err(PickError::AllExcluded) => self.start_over(progress),
            Err(why) if self.following.alive.has_changed().is_err() => Err(BalanceError::Unfollowed { why }),
            Err(why) => {
                let cause = self.following.cause.load().as_deref().cloned();
                Err(BalanceError::Pick { why, cause })
            }
        }
    }

    /// Every instance has failed this call: those that were reached may be tried again, if there are any.
    fn start_over(&self, progress: &mut Progress) -> Result<Lease, BalanceError> {
        progress.avoid.retain(|id| progress.unreached.iter().any(|(unreached, _)| unreached == id));
        self.pick(progress).map_err(|why| match std::mem::take(&mut progress.unreached) {
            tried if tried.is_empty() => BalanceError::Pick { why, cause: None },
            tried => BalanceError::Dial { tried },
        })
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

fn attempt_span(lease: &Lease, made: u32) -> Span {
    debug_span!(
        "attempt",
        otel.kind = "client",
        server.address = lease.instance().host(),
        server.port = lease.instance().port(),
        zk_registry.instance = %lease.endpoint().id(),
        zk_registry.attempt = made,
        error.type = field::Empty,
    )
}
