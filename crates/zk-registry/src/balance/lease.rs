//! One call to one instance, from its pick to its outcome.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::outcome::{Outcome, PickedAs};
use super::set::EndpointSet;
use super::tier::{Candidates, Choice};
use super::why::Why;
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
    /// The time of the pick; `None`: it was not looked at.
    began: Option<Instant>,
    /// `began` by the balancer's clock; 0 if that does not matter.
    at: u64,
    stage: Stage,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Its outcome is known, and it is still under way.
    Answered,
    /// It is over.
    Over,
    /// Nothing is known yet.
    UnderWay,
}

impl Lease {
    /// The lease of a call to one of the candidates, which began at `began` where that is known.
    #[inline]
    pub(super) fn new(candidates: Arc<Candidates>, choice: Choice, began: Option<Instant>, at: u64) -> Self {
        Self { candidates, choice, began, at, stage: Stage::UnderWay }
    }

    /// The instance to call.
    #[inline]
    pub fn instance(&self) -> &Instance {
        self.endpoint()
    }

    /// The instance to call and what ZooKeeper knows of its node.
    #[inline]
    pub fn member(&self) -> &Arc<Member> {
        self.endpoint().member()
    }

    /// The instance to call, its load and its health.
    #[inline]
    pub fn endpoint(&self) -> &Endpoint {
        self.candidates.endpoint(self.choice)
    }

    /// Whether this call finds out whether an ejected instance is well again.
    pub fn is_probe(&self) -> bool {
        self.choice.kind == PickedAs::Probe
    }

    /// The reason why this instance was picked, and those before it were not: words when displayed.
    pub fn why(&self) -> Why {
        self.choice.why
    }

    /// The number of instances it was picked from: those of its rank, whatever their health.
    pub fn candidates(&self) -> usize {
        self.set().len()
    }

    /// The time of the pick. `None` where neither the caller told it nor the strategy, nor an ejection, asked for it: a look at the
    /// clock costs as much as a pick.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// Ends the call now, by tokio's clock. The time since the pick is the latency that is learned.
    #[inline]
    pub fn finish(mut self, outcome: Outcome) {
        // The clock costs as much as a pick, and most strategies learn nothing from the time of a success.
        if self.stage == Stage::UnderWay && !self.candidates.learns_time(self.choice, outcome) {
            self.stage = Stage::Over;
            self.candidates.succeed(self.choice);
        } else {
            self.finish_at(outcome, Instant::now());
        }
    }

    /// Ends the call at `now`.
    #[inline]
    pub fn finish_at(mut self, outcome: Outcome, now: Instant) {
        if self.stage == Stage::UnderWay {
            self.stage = Stage::Over;
            self.candidates.end(self.choice, self.at, outcome, now);
        } else {
            self.finish_answered(outcome, now);
        }
    }

    #[cold]
    #[inline(never)]
    fn finish_answered(mut self, outcome: Outcome, now: Instant) {
        self.stage = Stage::Over;
        self.candidates.end_answered(self.choice, self.at, outcome, now);
    }

    /// The head of the answer came, now, by tokio's clock: see [`answered_at`](Self::answered_at).
    pub fn answered(&mut self, outcome: Outcome) {
        self.answered_at(outcome, Instant::now());
    }

    /// The head of the answer came at `now`: its outcome and its time are learned from that, and the call counts as in flight
    /// until it is finished or dropped. A failure with which it is then finished is learned too, a success is not learned twice.
    /// Does nothing the second time.
    pub fn answered_at(&mut self, outcome: Outcome, now: Instant) {
        if self.stage == Stage::UnderWay {
            self.stage = Stage::Answered;
            self.candidates.learn(self.choice, self.at, outcome, now);
        }
    }

    #[inline]
    fn set(&self) -> &EndpointSet {
        &self.candidates.set
    }
}

impl Drop for Lease {
    #[inline]
    fn drop(&mut self) {
        match self.stage {
            Stage::Over => {}
            Stage::Answered => self.candidates.leave(self.choice),
            Stage::UnderWay => self.candidates.cancel(self.choice, self.at),
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
