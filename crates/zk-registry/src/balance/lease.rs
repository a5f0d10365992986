//! One call to one instance, from its pick to its outcome.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::{Endpoint, Index};
use super::pick::Pick;
use super::set::EndpointSet;
use super::tier::{Candidates, Choice};
use super::vitals::Claim;
use crate::instance::Instance;
use crate::snapshot::Member;

/// How a call went, seen from the caller.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The caller gave up or does not care any more. Blames nobody; that it took so long is remembered if it is news.
    Cancelled,
    /// The instance failed: an error, a broken connection, no answer in time. Part of the work may have been done.
    Failure,
    /// The instance did nothing: the dial failed, or it said at once that it cannot. Counts as a failure; safe to retry
    /// elsewhere; drops a suspect.
    Refused,
    /// The answer came. An answer that says no (not found, not allowed) is one.
    Success,
}

/// Why an instance was picked, which decides what the call's failure means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// It was not available, but nothing better was left. Its success speaks for it; its failure is no news.
    LastResort,
    /// It is available.
    Plain,
    /// It may return: this one call finds out.
    Probe(Claim),
}

/// The permission to make one call. Finish it with the outcome; dropping it counts as [`Outcome::Cancelled`].
///
/// It holds on to the set that it was picked from: keep it for a call, not for a connection's life.
#[must_use = "dropping a lease at once is a cancelled call"]
pub struct Lease {
    candidates: Arc<Candidates>,
    index: Index,
    kind: Kind,
    over: bool,
    began: Instant,
    /// `began` by the balancer's clock; 0 unless latency is tracked.
    at: u64,
}

impl Lease {
    /// A call to one of the candidates begins.
    #[inline]
    pub(super) fn new(candidates: Arc<Candidates>, choice: Choice, pick: &Pick<'_>) -> Self {
        let Choice { index, kind } = choice;
        candidates.set.shared.begin(&candidates.set[index]);
        Self { candidates, index, kind, over: false, began: pick.now, at: pick.at }
    }

    /// The instance to call.
    pub fn instance(&self) -> &Instance {
        self.endpoint()
    }

    /// The instance to call and what ZooKeeper knows of its node.
    pub fn member(&self) -> &Arc<Member> {
        self.endpoint().member()
    }

    /// The instance to call, its load and its health.
    pub fn endpoint(&self) -> &Endpoint {
        &self.set()[self.index]
    }

    /// Whether this call finds out whether an ejected instance is well again.
    pub fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe(_))
    }

    /// How many instances it was picked from: those of its rank, whatever their health.
    pub fn candidates(&self) -> usize {
        self.set().len()
    }

    /// When it was picked.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Ends the call now, by tokio's clock. The time since the pick is the latency that is learned.
    pub fn finish(self, outcome: Outcome) {
        self.finish_at(outcome, Instant::now());
    }

    /// Ends the call at `now`.
    pub fn finish_at(mut self, outcome: Outcome, now: Instant) {
        self.end(outcome, now);
    }

    #[inline]
    fn end(&mut self, outcome: Outcome, now: Instant) {
        self.over = true;
        let set = self.set();
        set.shared.end(&set[self.index], outcome, self.kind, self.at, now);
    }

    #[inline]
    fn set(&self) -> &EndpointSet {
        &self.candidates.set
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.over {
            self.end(Outcome::Cancelled, Instant::now());
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("instance", self.instance())
            .field("kind", &self.kind)
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}
