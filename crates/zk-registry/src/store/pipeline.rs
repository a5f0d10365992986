//! Requests that are sent without waiting for each other's answers: what takes one round trip each would take the longer the
//! farther the server is.

use std::collections::VecDeque;

use super::{Fault, Node, Reply, Store, limits};

/// The most reads of many nodes under way at once: 32 requests of 500 nodes with 100 bytes each are 2 MB in the server's queue.
const READS: usize = 32;
/// The most requests about one node under way at once: fewer than the 1,000 at which a server stops reading, by default.
pub(crate) const SINGLES: usize = 500;

/// The requests that read these paths, each sent when it is drawn.
pub(crate) fn read_all<'a>(
    store: &'a dyn Store,
    paths: &'a [String],
) -> impl Iterator<Item = Reply<Vec<Result<Node, Fault>>>> + Send + 'a {
    limits::reads(paths).map(|paths| store.read(paths))
}

/// The answers of requests that are sent as they are drawn, in their order; the first failure ends it.
pub(crate) async fn in_order<T>(requests: impl Iterator<Item = Reply<T>> + Send) -> Result<Vec<T>, Fault> {
    let mut answers = Vec::new();
    for answer in settled(requests, READS).await {
        answers.push(answer?);
    }
    Ok(answers)
}

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
