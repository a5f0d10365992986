//! A body that keeps its call in flight until it has ended.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::grpc::of_grpc_status;
use crate::balance::{Lease, Outcome};

/// The body of a response, with the call that it belongs to. The call ends with the body: an error is a failure; dropping the
/// body before its end is neither success nor failure.
pub struct LeaseBody<B> {
    inner: B,
    lease: Option<Lease>,
    /// The arrival of the head. What is learned later is learned as of then: a stream's length is no latency.
    head: Instant,
    trailers: Trailers,
    progress: Progress,
}

/// What the trailers say of the instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trailers {
    /// A `grpc-status`.
    GrpcStatus,
    /// Nothing.
    Ignored,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Progress {
    /// Data came.
    Begun,
    /// The head alone.
    Head,
}

impl<B: Body> LeaseBody<B> {
    pub(super) fn new(inner: B, lease: Lease, trailers: Trailers) -> Self {
        let is_over = inner.is_end_stream();
        let (lease, head) = (Some(lease), Instant::now());
        let mut body = Self { inner, lease, head, trailers, progress: Progress::Head };
        if is_over {
            body.end(Outcome::Success);
        }
        body
    }
}

impl<B> LeaseBody<B> {
    fn end(&mut self, outcome: Outcome) {
        if let Some(lease) = self.lease.take() {
            lease.finish_at(outcome, self.head);
        }
    }
}

impl<B: Body + Unpin> Body for LeaseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let body = self.get_mut();
        let frame = std::task::ready!(Pin::new(&mut body.inner).poll_frame(cx));
        match &frame {
            None => body.end(Outcome::Success),
            Some(Err(_)) => body.end(Outcome::Failure),
            Some(Ok(frame)) => {
                body.progress = Progress::Begun;
                if let (Trailers::GrpcStatus, Some(trailers)) = (body.trailers, frame.trailers_ref()) {
                    body.end(of_grpc_status(trailers).unwrap_or(Outcome::Failure));
                } else if body.trailers == Trailers::Ignored && body.inner.is_end_stream() {
                    body.end(Outcome::Success);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for LeaseBody<B> {
    fn drop(&mut self) {
        // What was read of it came in time.
        self.end(if self.progress == Progress::Begun { Outcome::Success } else { Outcome::Cancelled });
    }
}

impl<B: fmt::Debug> fmt::Debug for LeaseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseBody")
            .field("inner", &self.inner)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
