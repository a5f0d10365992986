//! The service, and how it is set up.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tower_service::Service;

use super::BoxError;
use super::call::{Answered, Called, Failed, Following, Inner};
use super::classify::{ByResult, Classify};
use super::clients::Clients;
use super::connect::Connect;
use super::error::BalanceError;
use super::follow::{Follow, News};
use super::future::{Begun, ResponseFuture};
use super::requests::{AnyRequest, RequestRules, Requests};
use crate::balance::{Balancer, Budget, Key, Retry};
use crate::resolve::ServiceWatch;

/// A service that sends each request to one instance of a watched service. Clones share everything.
///
/// See the [module](super) for what it does and when.
pub struct Balance<C: Connect, K = ByResult, R = AnyRequest> {
    inner: Arc<Inner<C, K, R>>,
}

/// As long as linkerd's outbound proxy waits for an endpoint before it fails fast.
const WAIT: Duration = Duration::from_secs(3);
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);

impl<C: Connect> Balance<C> {
    /// A balance over a watch. Snapshots are adopted by a task on the current runtime, which ends with the last clone.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(watch: ServiceWatch, balancer: Balancer, connect: C) -> Self {
        let (balance, follow) = Self::pair(watch, balancer, connect);
        let task = tokio::spawn(async move {
            follow.run().await;
        });
        let task = Some(Arc::new(AbortOnDropHandle::new(task)));
        balance.rebuilt(|inner| Inner { following: Following { _task: task, ..inner.following }, ..inner })
    }

    /// A balance over a watch, and its follower, to be [run](Follow::run) where you like.
    pub fn pair(mut watch: ServiceWatch, balancer: Balancer, connect: C) -> (Self, Follow<C>) {
        let (following, alive) = watch::channel(());
        let cause = Arc::new(ArcSwapOption::empty());
        balancer.update(watch.current());
        let inner = Inner {
            service: watch.current().service().clone(),
            balancer: Arc::new(balancer),
            clients: Arc::new(Clients::new(connect)),
            following: Following { cause: Arc::clone(&cause), alive, _task: None },
            classify: Arc::new(ByResult),
            rules: AnyRequest,
            wait: WAIT,
            dial_timeout: DIAL_TIMEOUT,
        };
        let follow = Follow {
            watch,
            balancer: Arc::clone(&inner.balancer),
            clients: Arc::clone(&inner.clients),
            news: News { cause, _following: following },
        };
        (Self { inner: Arc::new(inner) }, follow)
    }
}

impl<C: Connect, K, R: Clone> Balance<C, K, R> {
    /// Sets for how long a call waits for a first instance to pick; zero: not at all. Defaults to 3 seconds.
    #[must_use]
    pub fn with_wait(self, wait: Duration) -> Self {
        self.rebuilt(|inner| Inner { wait, ..inner })
    }

    /// Sets for how long an instance may take to be dialled, or to become ready for a call. Defaults to 1 second.
    #[must_use]
    pub fn with_dial_timeout(self, dial_timeout: Duration) -> Self {
        self.rebuilt(|inner| Inner { dial_timeout, ..inner })
    }

    /// Sets what the end of a call says of the instance. Defaults to [`ByResult`].
    #[must_use]
    pub fn with_classify<Classify>(self, classify: Classify) -> Balance<C, Classify, R> {
        self.rebuilt(|inner| inner.with(Arc::new(classify), |rules| rules))
    }

    /// Sets the key by which a hashing strategy chooses the instance of a request. Defaults to none.
    #[must_use]
    pub fn with_key<Request>(
        self,
        key: impl Fn(&Request) -> Option<Key> + Send + Sync + 'static,
    ) -> Balance<C, K, Requests<Request>>
    where
        R: Into<Requests<Request>>,
    {
        self.rebuilt(|inner| {
            let classify = Arc::clone(&inner.classify);
            inner.with(classify, |rules| rules.into().with_key(key))
        })
    }

    /// Tries calls again after failures, by these rules and while the budget allows. `replay` makes the request for the next
    /// attempt before each attempt, or says with `None` that this request must not be sent twice: then only a dial that failed
    /// is tried elsewhere. Defaults to no retry.
    #[must_use]
    pub fn with_retry<Request>(
        self,
        rules: Retry,
        budget: Arc<Budget>,
        replay: impl Fn(&Request) -> Option<Request> + Send + Sync + 'static,
    ) -> Balance<C, K, Requests<Request>>
    where
        R: Into<Requests<Request>>,
    {
        self.rebuilt(|inner| {
            let classify = Arc::clone(&inner.classify);
            inner.with(classify, |requests| requests.into().with_retry(rules, budget, replay))
        })
    }

    fn rebuilt<K2, R2>(self, change: impl FnOnce(Inner<C, K, R>) -> Inner<C, K2, R2>) -> Balance<C, K2, R2> {
        Balance { inner: Arc::new(change(Inner::clone(&self.inner))) }
    }
}

impl<C: Connect, K, R> Balance<C, K, R> {
    /// The balancer: its endpoints, their load and health.
    pub fn balancer(&self) -> &Arc<Balancer> {
        &self.inner.balancer
    }

    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.inner.clients.len()
    }
}

impl<C: Connect, K, R> Inner<C, K, R> {
    fn with<K2, R2>(self, classify: Arc<K2>, rules: impl FnOnce(R) -> R2) -> Inner<C, K2, R2> {
        let Self { service, balancer, clients, following, classify: _, rules: old, wait, dial_timeout } =
            self;
        Inner { service, balancer, clients, following, classify, rules: rules(old), wait, dial_timeout }
    }
}

impl<C, K, R, Request> Service<Request> for Balance<C, K, R>
where
    C: Connect,
    C::Client: Service<Request>,
    Called<C, Request>: Send,
    Failed<C, Request>: Into<BoxError>,
    Answered<C, Request>: Send,
    K: Classify<Answered<C, Request>>,
    R: RequestRules<Request>,
    Request: Send + 'static,
{
    type Response = K::Answer;
    type Error = BalanceError;
    type Future = ResponseFuture<Called<C, Request>, K::Answer, Begun<C, K, R, Request>>;

    /// Always ready: the instance is chosen in the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BalanceError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        ResponseFuture::new(&self.inner, request)
    }
}

impl<C: Connect, K, R: Clone> Clone for Inner<C, K, R> {
    fn clone(&self) -> Self {
        Self {
            service: self.service.clone(),
            balancer: Arc::clone(&self.balancer),
            clients: Arc::clone(&self.clients),
            following: self.following.clone(),
            classify: Arc::clone(&self.classify),
            rules: self.rules.clone(),
            wait: self.wait,
            dial_timeout: self.dial_timeout,
        }
    }
}

impl<C: Connect, K, R> Clone for Balance<C, K, R> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Connect, K, R> fmt::Debug for Balance<C, K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("service", &self.inner.service)
            .field("balancer", &self.inner.balancer)
            .field("clients", &self.inner.clients)
            .finish_non_exhaustive()
    }
}
