//! One call to one instance, from its pick to its outcome.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outcome::{Outcome, PickedAs};
use super::set::EndpointSet;
use super::tier::{Candidates, Choice};
use crate::instance::Instance;
use crate::snapshot::Member;

/// The permission to make one call. Finish it with the outcome; dropping it counts as [`Outcome::Cancelled`].
///
/// It holds on to the set that it was picked from: keep it for a call, not for a connection's life.
#[must_use = "dropping a lease at once is a cancelled call"]
pub struct Lease {
    // Flat, and inlined where it is picked and finished: a processor that copies in one piece what it has just written in
    // several waits for them, as long as for the rest of a pick.
    candidates: Arc<Candidates>,
    choice: Choice,
    began: Instant,
    /// `began` by the balancer's clock; 0 if that does not matter.
    at: u64,
    over: bool,
}

impl Lease {
    /// The lease of a call to one of the candidates, which began at `began`.
    #[inline]
    pub(super) fn new(candidates: Arc<Candidates>, choice: Choice, began: Instant, at: u64) -> Self {
        Self { candidates, choice, began, at, over: false }
    }

    /// The instance to call.
    #[inline]
    pub fn instance(&self) -> &Instance {
        self.endpoint()
    }

    /// The instance to call and what ZooKeeper knows of its node.
    pub fn member(&self) -> &Arc<Member> {
        self.endpoint().member()
    }

    /// The instance to call, its load and its health.
    #[inline]
    pub fn endpoint(&self) -> &Endpoint {
        &self.set()[self.choice.index]
    }

    /// Whether this call finds out whether an ejected instance is well again.
    pub fn is_probe(&self) -> bool {
        self.choice.kind == PickedAs::Probe
    }

    /// The number of instances it was picked from: those of its rank, whatever their health.
    pub fn candidates(&self) -> usize {
        self.set().len()
    }

    /// The time of the pick.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Ends the call now, by tokio's clock. The time since the pick is the latency that is learned.
    pub fn finish(self, outcome: Outcome) {
        self.finish_at(outcome, Instant::now());
    }

    /// Ends the call at `now`.
    #[inline]
    pub fn finish_at(mut self, outcome: Outcome, now: Instant) {
        self.over = true;
        self.candidates.end(self.choice, self.at, outcome, now);
    }

    #[inline]
    fn set(&self) -> &EndpointSet {
        &self.candidates.set
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        if !self.over {
            self.candidates.cancel(self.choice, self.at);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("instance", self.instance())
            .field("kind", &self.choice.kind)
            .field("began", &self.began)
            .finish_non_exhaustive()
    }
}
