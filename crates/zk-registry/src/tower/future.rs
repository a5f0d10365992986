//! The future of a call. Where the instance's client is ready, which is nearly always, nothing is allocated for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::{Span, debug_span};

use super::BoxError;
use super::call::{Answered, Attempt, Call, Called, Failed, Inner};
use super::classify::Classify;
use super::clients::Dialled;
use super::connect::Connect;
use super::error::BalanceError;
use super::requests::RequestRules;

// Of types that are known, and without a bound: where a request has a lifetime, the compiler could not tell that a task may hold one
// whose parts are written as those of a service.
pin_project! {
    /// The future of a call through a [`Balance`](super::Balance): of what the client's own future is, and of what the call answers.
    ///
    /// Dropping it before its end counts as [`Outcome::Cancelled`](crate::balance::Outcome::Cancelled).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<Called, Answer, Call> {
        #[pin]
        stage: Stage<Called, Answer, Call>,
        span: MaybeSpan,
    }
}

pin_project! {
    #[project = StagePinned]
    enum Stage<Called, Answer, Call> {
        /// The first attempt is under way.
        First {
            #[pin]
            called: Called,
            span: MaybeSpan,
            // `None`: it has ended.
            attempt: Option<Attempt>,
            call: Call,
        },
        /// Something has to be waited for first: a dial, an instance, the time of the next attempt.
        Rest { rest: Pin<Box<dyn Future<Output = Result<Answer, BalanceError>> + Send>> },
    }
}

/// What a call is judged by while its first attempt is under way. It is small, because it is moved with the future.
pub struct Begun<C: Connect, K, R, Request> {
    inner: Arc<Inner<C, K, R>>,
    /// How it goes on, if there may be another attempt.
    again: Option<Box<Call<C, K, R, Request>>>,
}

impl<C, K, R, Request> ResponseFuture<Called<C, Request>, K::Answer, Begun<C, K, R, Request>>
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
    /// The call, which has been picked for when this returns.
    #[inline]
    pub(super) fn new(inner: &Arc<Inner<C, K, R>>, request: Request) -> Self {
        let span = debug_span!("call", zk_registry.service = %inner.service);
        let entered = span.enter();
        let mut call = Call::new(inner, &request);
        let picked = call.pick();
        let ready = picked.as_ref().ok().and_then(|lease| call.ready(lease));
        let stage = match (picked, ready) {
            (Ok(lease), Some(Dialled { mut client, dial })) => {
                let span = call.attempt_span(&lease);
                let called = span.in_scope(|| client.call(request));
                let attempt = Some(Attempt { lease, dial });
                let call = if call.may_go_on() {
                    Begun { inner: Arc::clone(inner), again: Some(Box::new(call)) }
                } else {
                    Begun { inner: call.inner, again: None }
                };
                Stage::First { called, span: MaybeSpan::of(span), attempt, call }
            }
            (picked, _) => {
                call.begin_to_wait();
                Stage::Rest { rest: Box::pin(call.run(picked, request)) }
            }
        };
        drop(entered);
        Self { stage, span: MaybeSpan::of(span) }
    }
}

impl<C, K, R, Request> Future for ResponseFuture<Called<C, Request>, K::Answer, Begun<C, K, R, Request>>
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
    type Output = Result<K::Answer, BalanceError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project();
        let _in_it = future.span.get().enter();
        let mut stage = future.stage;
        loop {
            let rest = match stage.as_mut().project() {
                StagePinned::Rest { rest } => return rest.as_mut().poll(cx),
                StagePinned::First { called, span, attempt, call } => {
                    if attempt.is_none() {
                        // Polled again after its end it is never ready.
                        return Poll::Pending;
                    }
                    let span = span.get();
                    let Poll::Ready(ended) = span.in_scope(|| called.poll(cx)) else { return Poll::Pending };
                    let ended = ended.map_err(Into::into);
                    let Some(attempt) = attempt.take() else { return Poll::Pending };
                    let outcome = call.inner.judge(&attempt, span, &ended);
                    let next = call.again.as_mut().and_then(|again| again.retry(&attempt.lease, outcome));
                    match next.zip(call.again.take()) {
                        Some(((after, request), again)) => {
                            attempt.lease.finish(outcome);
                            again.go_on(after, request)
                        }
                        None => return Poll::Ready(call.inner.close(attempt.lease, outcome, ended)),
                    }
                }
            };
            stage.set(Stage::Rest { rest: Box::pin(rest) });
        }
    }
}

/// A span, in the room of a pointer: it is moved with the future, and most calls have none.
struct MaybeSpan(Option<Box<Span>>);

impl MaybeSpan {
    #[inline]
    fn of(span: Span) -> Self {
        Self(if span.is_disabled() { None } else { Some(Box::new(span)) })
    }

    #[inline]
    fn get(&self) -> &Span {
        static NONE: Span = Span::none();
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl<Called, Answer, Call> fmt::Debug for ResponseFuture<Called, Answer, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = match &self.stage {
            Stage::First { attempt, .. } => attempt.as_ref().map(|attempt| attempt.lease.endpoint().id()),
            Stage::Rest { .. } => None,
        };
        f.debug_struct("ResponseFuture").field("instance", &instance).finish_non_exhaustive()
    }
}

impl<C: Connect, K, R, Request> fmt::Debug for Begun<C, K, R, Request> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("service", &self.inner.service).finish_non_exhaustive()
    }
}
