//! What the end of a call says of the instance.

use std::error::Error as StdError;
use std::io::ErrorKind;

use super::BoxError;
use crate::balance::{Lease, Outcome};

/// The judge of a call's end. Any `Fn(Result<&Response, &BoxError>) -> Outcome` is one.
pub trait Classify<Response>: Send + Sync + 'static {
    /// The response that the caller gets: the client's, or one that holds on to the call until it has ended.
    type Answer;

    /// Says what the end of a call, or the head of its response, means for the instance.
    fn classify(&self, ended: Result<&Response, &BoxError>) -> Outcome;

    /// Hands the response over to the caller, and ends the call with `outcome`, at once or with the response's body.
    fn deliver(&self, response: Response, outcome: Outcome, lease: Lease) -> Self::Answer;
}

/// The default judge. A response is a success. An error in whose chain an [`io::Error`](std::io::Error) says that the instance
/// was not reached (connection refused, host or network unreachable) is [`Outcome::Unreachable`]; every other one a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByResult;

impl<Response> Classify<Response> for ByResult {
    type Answer = Response;

    fn classify(&self, ended: Result<&Response, &BoxError>) -> Outcome {
        ended.map_or_else(of_error, |_| Outcome::Success)
    }

    fn deliver(&self, response: Response, outcome: Outcome, lease: Lease) -> Response {
        lease.finish(outcome);
        response
    }
}

impl<F, Response> Classify<Response> for F
where
    F: Fn(Result<&Response, &BoxError>) -> Outcome + Send + Sync + 'static,
{
    type Answer = Response;

    fn classify(&self, ended: Result<&Response, &BoxError>) -> Outcome {
        self(ended)
    }

    fn deliver(&self, response: Response, outcome: Outcome, lease: Lease) -> Response {
        lease.finish(outcome);
        response
    }
}

/// What an error of a client means.
pub(super) fn of_error(error: &BoxError) -> Outcome {
    let mut next: Option<&(dyn StdError + 'static)> = Some(&**error);
    while let Some(error) = next {
        if error.downcast_ref::<std::io::Error>().is_some_and(is_unreached) {
            return Outcome::Unreachable;
        }
        next = error.source();
    }
    Outcome::Failure
}

fn is_unreached(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
    )
}
