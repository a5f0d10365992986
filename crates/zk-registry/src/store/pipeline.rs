//! Requests that are sent without waiting for each other's answers: what takes one round trip each would take the longer the
//! farther the server is.

use std::collections::VecDeque;

use super::{Fault, Reply};

/// The most requests about one node under way at once: fewer than the 1,000 at which a server stops reading, by default.
pub(crate) const SINGLES: usize = 500;

/// The answers of requests that are sent as they are drawn, at most so many at once, each with its own outcome, in their order.
pub(crate) async fn settled<T>(
    requests: impl Iterator<Item = Reply<T>> + Send,
    at_once: usize,
) -> Vec<Result<T, Fault>> {
    let mut requests = requests.fuse();
    let (mut in_flight, mut answers) = (VecDeque::new(), Vec::new());
    loop {
        in_flight.extend(requests.by_ref().take(at_once - in_flight.len()));
        let Some(reply) = in_flight.pop_front() else { return answers };
        answers.push(reply.await);
    }
}
