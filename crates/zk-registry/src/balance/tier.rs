//! A tier: candidates of one rank with the picker that was built for them, and the judgement of its proposals.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::built::Built;
use super::endpoint::{Endpoint, Index};
use super::hash;
use super::health::{Call, Health};
use super::outcome::{Outcome, PickedAs};
use super::phase::Gate;
use super::pick::Pick;
use super::places::Places;
use super::set::EndpointSet;
use super::strategy::Picker;
use super::stripe::{STRIPES, stripe};
use super::why::{Reason, Refusal, Why};
use crate::instance::InstanceId;

/// Candidates of the same rank. Each stripe has a handle of its own, so that threads which pick at the same time do not count
/// references on the same cache line.
pub(super) struct Tier {
    /// No other tier, of any balancer, has the same; never 0.
    pub(super) stamp: u64,
    handles: Box<[Arc<Candidates>]>,
    built: Built,
}

/// A set and the picker that was built for it, always together.
#[repr(align(128))] // as `CachePadded` is
pub(super) struct Candidates {
    pub(super) set: Arc<EndpointSet>,
    /// Those of the set, and its health: a pick is on its way to them in one step less.
    endpoints: Places<Endpoint>,
    /// The first of them.
    first: Endpoint,
    health: Arc<Health>,
    /// The rule by which calls to an instance are limited.
    limit: Limit,
    picker: Arc<dyn Picker>,
}

/// The rule by which calls to an instance are limited, as a pick must know it.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Limit {
    /// There is none.
    Nothing,
    /// Each begins only if it may.
    PerInstance,
}

/// The place of the endpoint that is to be called, and the reason.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) index: Index,
    pub(super) kind: PickedAs,
    pub(super) why: Why,
}

/// What becomes of a proposal.
enum Verdict {
    Refused(Refusal),
    Taken(PickedAs),
    /// It would be taken, but for its slow start.
    Warming,
}

/// The instances that a call tried, and their addresses: what else has one of these is tried too.
struct Tried<'a> {
    ids: &'a [InstanceId],
    at: [Option<&'a Endpoint>; ADDRESSES],
}

/// Of so many instances that were tried the addresses are excluded, of further ones the ids.
const ADDRESSES: usize = 16;

impl<'a> Tried<'a> {
    fn of(ids: &'a [InstanceId], set: &'a EndpointSet) -> Self {
        let mut at = [None; ADDRESSES];
        let known = ids.iter().filter_map(|id| set.by_id(id));
        at.iter_mut().zip(known).for_each(|(place, endpoint)| *place = Some(endpoint));
        Self { ids, at }
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        let is_there = |tried: &&Endpoint| (tried.port(), tried.host()) == (endpoint.port(), endpoint.host());
        self.ids.contains(endpoint.id()) || self.at.iter().map_while(Option::as_ref).any(is_there)
    }
}

impl Tier {
    /// The tier of `set`, for which the picker of `built` serves.
    pub(super) fn new(built: Built, set: &Arc<EndpointSet>) -> Self {
        let picker = built.picker(set);
        let handle = |_| {
            Arc::new(Candidates {
                set: Arc::clone(set),
                endpoints: set.endpoints().clone(),
                first: set[Index::new(0)].clone(),
                health: Arc::clone(&set.health),
                limit: match set.health.options.max_in_flight {
                    None => Limit::Nothing,
                    Some(_) => Limit::PerInstance,
                },
                picker: Arc::clone(&picker),
            })
        };
        static STAMP: AtomicU64 = AtomicU64::new(1);
        let stamp = STAMP.fetch_add(1, Relaxed);
        Self { stamp, handles: (0..STRIPES).map(handle).collect(), built }
    }

    /// What its picker was built for.
    pub(super) fn built(&self) -> &Built {
        &self.built
    }

    /// Whether its picker was built for another set.
    pub(super) fn is_stale(&self) -> bool {
        !Arc::ptr_eq(&self.built.set, self.set())
    }

    /// The candidates, by the handle of this thread.
    pub(super) fn candidates(&self) -> Arc<Candidates> {
        Arc::clone(&self.handles[stripe()])
    }

    pub(super) fn set(&self) -> &Arc<EndpointSet> {
        &self.handles[0].set
    }
}

impl Candidates {
    /// Picks what is available: as the strategy says, else the next one; or an ejected instance whose probe is due, whatever
    /// the strategy thinks of it. The call has begun.
    pub(super) fn choose(&self, pick: &mut Pick<'_>) -> Option<Choice> {
        if self.health.next_due() != u64::MAX
            && let Some(probe) = self.due_probe(pick)
        {
            return Some(probe);
        }
        let index = self.first_proposal(pick);
        match self.endpoints.get(index) {
            Some(endpoint)
                if pick.avoid.is_empty() && self.limit == Limit::Nothing && endpoint.vitals.is_plain() =>
            {
                Some(self.begin(index, endpoint, PickedAs::Plain, Why::PROPOSED))
            }
            _ => self.choose_closely(index, pick),
        }
    }

    /// The probe that is due, if it is the turn of one. A retry is never a probe: the first attempt may have been.
    #[cold]
    fn due_probe(&self, pick: &mut Pick<'_>) -> Option<Choice> {
        let health = &self.health;
        let at = health.clock.at(pick.now());
        if !pick.avoid.is_empty() || at < health.next_due() {
            return None;
        }
        let place_of =
            |endpoint: &Endpoint| self.set.place_of(endpoint).filter(|_| !health.is_full(endpoint));
        let index = health.claim_due(place_of, at, pick.now())?;
        pick.at = at; // that of a probe matters
        Some(self.begin(index, &self.endpoints[index], PickedAs::Probe, Why::DUE))
    }

    /// Picks with a close look at each proposal, of which `index` is the first. If all are refused the last that was refused
    /// for its slow start alone is taken, else any other.
    #[cold]
    fn choose_closely(&self, mut index: Index, pick: &mut Pick<'_>) -> Option<Choice> {
        let tried = Tried::of(pick.avoid, &self.set);
        let (mut warming, mut why) = (None, Why::PROPOSED);
        loop {
            let refusal = match self.endpoints.get(index) {
                None => Refusal::Unknown,
                Some(endpoint) => match self.judge(endpoint, pick, &tried) {
                    Verdict::Taken(kind) => match self.begin_if_free(index, endpoint, kind, why) {
                        Some(choice) => return Some(choice),
                        None => Refusal::Full,
                    },
                    Verdict::Warming => {
                        warming = Some((index, endpoint));
                        Refusal::Warming
                    }
                    Verdict::Refused(refusal) => refusal,
                },
            };
            why = why.after(refusal);
            if pick.is_last_try() {
                return warming
                    .and_then(|(index, endpoint)| {
                        self.begin_if_free(index, endpoint, PickedAs::Plain, why.because(Reason::Warming))
                    })
                    .or_else(|| self.choose_at_last(index, pick, &tried, why));
            }
            pick.attempt += 1;
            index = self.picker.pick(pick);
        }
    }

    /// Picks whatever was not tried. The call has begun.
    pub(super) fn choose_any(&self, pick: &mut Pick<'_>) -> Option<Choice> {
        let tried = Tried::of(pick.avoid, &self.set);
        let first = self.first_proposal(pick);
        let why = Why::PROPOSED.because(Reason::NothingBetter);
        self.scan(first, pick, why, |endpoint, _| (!tried.has(endpoint)).then_some(PickedAs::LastResort))
    }

    #[inline]
    fn first_proposal(&self, pick: &mut Pick<'_>) -> Index {
        pick.at = self.health.beginning(|| pick.now());
        pick.attempt = 0;
        self.picker.pick(pick)
    }

    /// A call begins.
    #[inline]
    fn begin(&self, index: Index, endpoint: &Endpoint, kind: PickedAs, why: Why) -> Choice {
        self.health.begin(endpoint);
        Choice { index, kind, why }
    }

    /// A call begins, unless the endpoint is full.
    fn begin_if_free(&self, index: Index, endpoint: &Endpoint, kind: PickedAs, why: Why) -> Option<Choice> {
        self.health.begin_if_free(endpoint).then_some(Choice { index, kind, why })
    }

    /// The endpoint that is called.
    #[inline]
    pub(super) fn endpoint(&self, choice: Choice) -> &Endpoint {
        // A choice is one of these. An index that could panic would keep the lease in memory, for the unwinding.
        self.endpoints.get(choice.index).unwrap_or(&self.first)
    }

    /// Whether there are candidates that this call tried.
    pub(super) fn has_tried(&self, pick: &Pick<'_>) -> bool {
        pick.avoid.iter().any(|tried| self.set.by_id(tried).is_some())
    }

    /// Whether nothing is picked because all that are available, and that this call has not tried, are full.
    pub(super) fn are_full(&self, pick: &Pick<'_>) -> bool {
        let tried = Tried::of(pick.avoid, &self.set);
        self.limit != Limit::Nothing
            && self.set.iter().any(|endpoint| {
                self.set.takes_calls(endpoint) && self.health.is_full(endpoint) && !tried.has(endpoint)
            })
    }

    /// Any that is accepted. In steps of a random length, so that the neighbour of one that is not gets no more than the others;
    /// but always the same way for calls that stay together, from their `last` proposal on.
    #[cold]
    fn scan(
        &self,
        last: Index,
        pick: &mut Pick<'_>,
        why: Why,
        judge: impl Fn(&Endpoint, &mut Pick<'_>) -> Option<PickedAs>,
    ) -> Option<Choice> {
        let len = self.set.len();
        let (start, stride) = match self.picker.affinity(pick) {
            Some(_) if last.get() < len => (last.get(), 1),
            Some(word) => (hash::below(hash::halves(hash::mix(word)).0, len), 1),
            None => (pick.below(len), hash::stride(pick.rng, len)),
        };
        (0..len).map(|n| Index::new((start + n * stride) % len)).find_map(|index| {
            let endpoint = &self.endpoints[index];
            let kind = judge(endpoint, pick)?;
            self.begin_if_free(index, endpoint, kind, why)
        })
    }

    /// What becomes of a proposal.
    fn judge(&self, endpoint: &Endpoint, pick: &mut Pick<'_>, tried: &Tried<'_>) -> Verdict {
        if tried.has(endpoint) {
            return Verdict::Refused(Refusal::Tried);
        }
        match endpoint.vitals.gate() {
            Gate::OPEN if self.is_warm(endpoint, pick) => Verdict::Taken(PickedAs::Plain),
            Gate::OPEN => Verdict::Warming,
            Gate::DROPPED => Verdict::Refused(Refusal::Dropped),
            _ if self.health.is_panic() => Verdict::Taken(PickedAs::LastResort),
            _ => Verdict::Refused(Refusal::Ejected),
        }
    }

    /// Picks any that is available, else one that may be probed: none of those proposed, of which `last` was the last, is.
    #[cold]
    fn choose_at_last(
        &self,
        last: Index,
        pick: &mut Pick<'_>,
        tried: &Tried<'_>,
        why: Why,
    ) -> Option<Choice> {
        let any = why.because(Reason::AnyOther);
        let available =
            self.scan(last, pick, any, |endpoint, pick| match self.judge(endpoint, pick, tried) {
                Verdict::Taken(kind) => Some(kind),
                Verdict::Warming => Some(PickedAs::Plain),
                Verdict::Refused(_) => None,
            });
        let health = &self.health;
        available.or_else(|| {
            let at = pick.at(*health.clock);
            pick.at = at; // that of a probe matters
            let is_due = |endpoint: &Endpoint| {
                !tried.has(endpoint) && Gate::is_due(endpoint.vitals.gate(), at) && !health.is_full(endpoint)
            };
            self.scan(last, pick, why.because(Reason::MayProbe), |endpoint, pick| {
                (is_due(endpoint) && health.claim_probe(endpoint, at, pick.now())).then_some(PickedAs::Probe)
            })
        })
    }

    /// Whether an available endpoint takes this call, which in its slow start is a matter of chance.
    fn is_warm(&self, endpoint: &Endpoint, pick: &mut Pick<'_>) -> bool {
        let end = endpoint.vitals.ramp_end();
        if end == 0 {
            return true;
        }
        let at = pick.at(*self.health.clock);
        if at >= end {
            endpoint.vitals.ramp_over(end); // the next pick need not look closely
            return true;
        }
        let share = self.set.warmth(endpoint, at);
        share >= 1.0 || hash::unit(self.coin(endpoint, pick)) <= share
    }

    /// A random word for this endpoint and this call; always the same one if the choice does not follow from chance.
    fn coin(&self, endpoint: &Endpoint, pick: &mut Pick<'_>) -> u64 {
        match self.picker.affinity(pick) {
            Some(word) => hash::mix(word ^ hash::bytes(endpoint.id().as_str().as_bytes())),
            None => pick.rng.next_u64(),
        }
    }

    /// Ends a plain call that succeeded, and learns no time from it.
    #[inline]
    pub(super) fn succeed(&self, choice: Choice) {
        self.health.succeed(self.endpoint(choice));
    }

    /// A call was given up, now.
    #[cold]
    pub(super) fn cancel(&self, choice: Choice, at: u64) {
        self.end(choice, at, Outcome::Cancelled, Instant::now());
    }

    /// What a call says of its instance is known; it is still under way.
    #[cold]
    pub(super) fn learn(&self, choice: Choice, at: u64, outcome: Outcome, now: Instant) {
        self.health.learn(self.endpoint(choice), Call { kind: choice.kind, at }, outcome, now);
    }

    /// A call is over of which the outcome was known.
    pub(super) fn leave(&self, choice: Choice) {
        self.health.leave(self.endpoint(choice));
    }

    /// A call is over that was answered, and went wrong afterwards if its outcome is a failure.
    #[cold]
    pub(super) fn end_answered(&self, choice: Choice, at: u64, outcome: Outcome, now: Instant) {
        self.leave(choice);
        if !matches!(outcome, Outcome::Cancelled | Outcome::Success) {
            self.learn(choice, at, outcome, now);
        }
    }

    /// Whether it matters at which time a call ends with this outcome.
    #[inline]
    pub(super) fn learns_time(&self, choice: Choice, outcome: Outcome) -> bool {
        self.health.learns_time(choice.kind, outcome)
    }

    /// A call is over.
    pub(super) fn end(&self, choice: Choice, at: u64, outcome: Outcome, now: Instant) {
        self.health.end(self.endpoint(choice), Call { kind: choice.kind, at }, outcome, now);
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tier").field(self.set()).finish()
    }
}
