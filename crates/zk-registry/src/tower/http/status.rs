//! What the status of an HTTP or gRPC response says of the instance.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode, header};
use http_body::Body;

use super::body::{LeaseBody, Trailers};
use super::grpc::{GRPC_STATUS, number, of_grpc_status};
use crate::balance::{Lease, Outcome};
use crate::tower::BoxError;
use crate::tower::classify::{Classify, of_error};

/// The judge of HTTP statuses. 5xx and 429 are failures; 429 and 503 with a `Retry-After` in seconds are
/// [`Outcome::Overloaded`]; every other status is a success. Errors are judged as by [`ByResult`](crate::tower::ByResult).
#[derive(Clone, Copy, Debug, Default)]
pub struct ByStatus;

/// The judge of gRPC statuses, in the head or in the trailers. UNAVAILABLE, RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, INTERNAL and
/// UNKNOWN are failures; RESOURCE_EXHAUSTED and UNAVAILABLE with a `grpc-retry-pushback-ms` are [`Outcome::Overloaded`]. A head
/// without a gRPC status is judged by its HTTP status.
///
/// A response with trailers is judged by them; the time to its head is what is learned as its latency.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByGrpcStatus;

impl<B: Body + Unpin> Classify<Response<B>> for ByStatus {
    type Answer = Response<LeaseBody<B>>;

    fn classify(&self, ended: Result<&Response<B>, &BoxError>) -> Outcome {
        ended.map_or_else(of_error, |response| of_status(response.status(), response.headers()))
    }

    fn deliver(&self, response: Response<B>, outcome: Outcome, mut lease: Lease) -> Self::Answer {
        lease.answered(outcome);
        response.map(|body| LeaseBody::new(body, lease, Trailers::Ignored))
    }
}

impl<B: Body + Unpin> Classify<Response<B>> for ByGrpcStatus {
    type Answer = Response<LeaseBody<B>>;

    fn classify(&self, ended: Result<&Response<B>, &BoxError>) -> Outcome {
        ended.map_or_else(of_error, |response| {
            let of_head = of_grpc_status(response.headers());
            of_head.unwrap_or_else(|| of_status(response.status(), response.headers()))
        })
    }

    fn deliver(&self, response: Response<B>, outcome: Outcome, mut lease: Lease) -> Self::Answer {
        // Of a head without a verdict nothing is learned yet: a success now would hide the failure that follows.
        let is_judged = outcome != Outcome::Success || response.headers().contains_key(GRPC_STATUS);
        if is_judged {
            lease.answered(outcome);
        }
        let trailers = if is_judged { Trailers::Ignored } else { Trailers::GrpcStatus };
        response.map(|body| LeaseBody::new(body, lease, trailers))
    }
}

fn of_status(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let may_ask = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
    let asked = || number(headers, header::RETRY_AFTER.as_str()).filter(|_| may_ask);
    if let Some(seconds) = asked() {
        Outcome::Overloaded { retry_after: Duration::from_secs(seconds) }
    } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Outcome::Failure
    } else {
        Outcome::Success
    }
}
