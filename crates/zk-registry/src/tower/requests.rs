//! What a [`Balance`](super::Balance) knows of requests: their keys, and which of them can be sent again.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::balance::{Attempts, Budget, Key, Retry, Safety};

/// The rules for requests: sealed, [`AnyRequest`] and [`Requests`] are the two.
pub trait RequestRules<Request>: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The key by which a hashing strategy chooses the instance.
    #[doc(hidden)]
    fn key(&self, request: &Request) -> Option<Key>;

    /// Whether a request may be sent again.
    #[doc(hidden)]
    fn replays(&self) -> bool;

    /// The attempts that a call has and the request for the next one; `None` if it has only one.
    #[doc(hidden)]
    fn begin(&self, request: &Request, now: Instant) -> Option<(Attempts, Request)>;

    /// The request once more.
    #[doc(hidden)]
    fn replay(&self, request: &Request) -> Option<Request>;
}

/// No request has a key, and none is sent again.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyRequest;

/// The keys of requests, and how they are sent again.
pub struct Requests<Request> {
    key: Option<KeyOf<Request>>,
    retry: Option<(Retry, Arc<Budget>, Replay<Request>)>,
}

type KeyOf<Request> = Arc<dyn Fn(&Request) -> Option<Key> + Send + Sync>;
type Replay<Request> = Arc<dyn Fn(&Request) -> Option<Request> + Send + Sync>;

impl<Request> Requests<Request> {
    pub(super) fn with_key(self, key: impl Fn(&Request) -> Option<Key> + Send + Sync + 'static) -> Self {
        Self { key: Some(Arc::new(key)), ..self }
    }

    pub(super) fn with_retry(
        self,
        rules: Retry,
        budget: Arc<Budget>,
        replay: impl Fn(&Request) -> Option<Request> + Send + Sync + 'static,
    ) -> Self {
        Self { retry: Some((rules, budget, Arc::new(replay))), ..self }
    }
}

impl<Request> RequestRules<Request> for AnyRequest {
    fn key(&self, _: &Request) -> Option<Key> {
        None
    }

    fn replays(&self) -> bool {
        false
    }

    fn begin(&self, _: &Request, _: Instant) -> Option<(Attempts, Request)> {
        None
    }

    fn replay(&self, _: &Request) -> Option<Request> {
        None
    }
}

impl<Request: 'static> RequestRules<Request> for Requests<Request> {
    fn key(&self, request: &Request) -> Option<Key> {
        self.key.as_ref().and_then(|key| key(request))
    }

    fn replays(&self) -> bool {
        self.retry.is_some()
    }

    fn begin(&self, request: &Request, now: Instant) -> Option<(Attempts, Request)> {
        let (rules, budget, replay) = self.retry.as_ref()?;
        let again = replay(request);
        // A call that cannot be replayed pays into the budget as well.
        let attempts = rules.begin_at(budget, Safety::Idempotent, None, now);
        Some((attempts, again?))
    }

    fn replay(&self, request: &Request) -> Option<Request> {
        self.retry.as_ref().and_then(|(_, _, replay)| replay(request))
    }
}

impl<Request> From<AnyRequest> for Requests<Request> {
    fn from(_: AnyRequest) -> Self {
        Self { key: None, retry: None }
    }
}

impl<Request> Clone for Requests<Request> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), retry: self.retry.clone() }
    }
}

impl<Request> fmt::Debug for Requests<Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("key", &self.key.is_some())
            .field("retry", &self.retry.as_ref().map(|(rules, ..)| rules))
            .finish()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AnyRequest {}
    impl<Request> Sealed for super::Requests<Request> {}
}
