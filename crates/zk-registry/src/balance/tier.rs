//! A tier: candidates of one rank with the picker that was built for them, and the judgement of its proposals.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::clock::nanos;
use super::endpoint::{Endpoint, Index};
use super::hash;
use super::health::{Call, Health};
use super::outcome::{Outcome, PickedAs};
use super::phase::Gate;
use super::pick::Pick;
use super::set::EndpointSet;
use super::strategy::{Picker, Strategy};
use super::stripe::{STRIPES, stripe};

/// Candidates of the same rank. Each stripe has a handle of its own, so that threads which pick at the same time do not count
/// references on the same cache line.
pub(super) struct Tier {
    /// No other tier, of any balancer, has the same; never 0.
    pub(super) stamp: u64,
    handles: Box<[Arc<Candidates>]>,
}

/// A set and the picker that was built for it, always together.
#[repr(align(128))] // as `CachePadded` is
pub(super) struct Candidates {
    pub(super) set: Arc<EndpointSet>,
    picker: Arc<dyn Picker>,
}

/// The place of the endpoint that is to be called, and the reason.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) index: Index,
    pub(super) kind: PickedAs,
}

impl Tier {
    /// The tier for these endpoints: the old one if it has the same.
    pub(super) fn renew(
        old: Option<&Arc<Self>>,
        endpoints: Vec<Endpoint>,
        health: &Arc<Health>,
        strategy: &dyn Strategy,
    ) -> Option<Arc<Self>> {
        let same = |old: &&Arc<Self>| {
            old.set().len() == endpoints.len()
                && old.set().iter().zip(&endpoints).all(|(old, new)| {
                    Arc::ptr_eq(&old.member, &new.member)
                        && old.life == new.life
                        && Arc::ptr_eq(&old.vitals, &new.vitals)
                })
        };
        if let Some(old) = old.filter(same) {
            return Some(Arc::clone(old));
        }
        let set = EndpointSet::new(endpoints, Arc::clone(health))?;
        let picker: Arc<dyn Picker> = strategy.picker(&set).into();
        let handle = |_| Arc::new(Candidates { set: Arc::clone(&set), picker: Arc::clone(&picker) });
        static STAMP: AtomicU64 = AtomicU64::new(1);
        let stamp = STAMP.fetch_add(1, Relaxed);
        Some(Arc::new(Self { stamp, handles: (0..STRIPES).map(handle).collect() }))
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
    /// Picks what is available: as the strategy says, else the next one. The call has begun.
    pub(super) fn choose(&self, pick: &mut Pick<'_>) -> Option<Choice> {
        let index = self.first_proposal(pick);
        match self.set.get(index) {
            Some(endpoint) if pick.avoid.is_empty() && endpoint.vitals.is_plain() => {
                Some(self.begin(index, endpoint, PickedAs::Plain))
            }
            _ => self.choose_closely(index, pick),
        }
    }

    /// Picks with a close look at each proposal, of which `index` is the first.
    #[cold]
    fn choose_closely(&self, mut index: Index, pick: &mut Pick<'_>) -> Option<Choice> {
        loop {
            if let Some(endpoint) = self.set.get(index)
                && let Some(kind) = self.judge(endpoint, pick, true)
            {
                return Some(self.begin(index, endpoint, kind));
            }
            if pick.is_last_try() {
                return self.scan(index, pick, |endpoint, pick| self.judge(endpoint, pick, false));
            }
            pick.attempt += 1;
            index = self.picker.pick(pick);
        }
    }

    /// Picks whatever was not tried. The call has begun.
    pub(super) fn choose_any(&self, pick: &mut Pick<'_>) -> Option<Choice> {
        let first = self.first_proposal(pick);
        self.scan(first, pick, |endpoint, pick| {
            (!pick.avoid.contains(endpoint.id())).then_some(PickedAs::LastResort)
        })
    }

    #[inline]
    fn first_proposal(&self, pick: &mut Pick<'_>) -> Index {
        pick.at = self.set.health.beginning(pick.now);
        pick.attempt = 0;
        self.picker.pick(pick)
    }

    /// A call begins.
    #[inline]
    fn begin(&self, index: Index, endpoint: &Endpoint, kind: PickedAs) -> Choice {
        self.set.health.begin(endpoint);
        Choice { index, kind }
    }

    /// Whether there are candidates that this call tried.
    pub(super) fn has_tried(&self, pick: &Pick<'_>) -> bool {
        self.set.iter().any(|endpoint| pick.avoid.contains(endpoint.id()))
    }

    /// Any that is accepted. In steps of a random length, so that the neighbour of one that is not gets no more than the others;
    /// but always the same way for calls that stay together, from their `last` proposal on.
    #[cold]
    fn scan(
        &self,
        last: Index,
        pick: &mut Pick<'_>,
        judge: impl Fn(&Endpoint, &mut Pick<'_>) -> Option<PickedAs>,
    ) -> Option<Choice> {
        let len = self.set.len();
        let (start, stride) = match self.picker.affinity(pick) {
            Some(_) => (last.get().min(len - 1), 1), // a set is never empty
            None => (pick.below(len), hash::stride(pick.rng, len)),
        };
        (0..len).map(|n| Index::new((start + n * stride) % len)).find_map(|index| {
            let endpoint = &self.set[index];
            let kind = judge(endpoint, pick)?;
            Some(self.begin(index, endpoint, kind))
        })
    }

    /// As what the endpoint is picked, if it is accepted.
    fn judge(&self, endpoint: &Endpoint, pick: &mut Pick<'_>, slow_start: bool) -> Option<PickedAs> {
        if pick.avoid.contains(endpoint.id()) {
            return None;
        }
        let health = &self.set.health;
        let (vitals, at) = (&endpoint.vitals, pick.at(*health.clock));
        pick.at = at; // that of a probe matters
        match vitals.gate() {
            Gate::OPEN => {
                let end = vitals.ramp_end();
                if end != 0 && at >= end {
                    vitals.ramp_over(end); // the next pick need not look closely
                }
                let left = end.saturating_sub(at) as f64;
                let share = 1.0 - 0.9 * left / nanos(health.options.slow_start).max(1) as f64;
                if slow_start && left > 0.0 && hash::unit(self.coin(endpoint, pick)) > share {
                    return None;
                }
                Some(PickedAs::Plain)
            }
            Gate::DROPPED => None,
            _ if health.is_panic() => Some(PickedAs::LastResort),
            word if vitals.claim_probe(word, at, health.claim(at)) => {
                health.probing(endpoint, pick.now);
                Some(PickedAs::Probe)
            }
            _ => None,
        }
    }

    /// A random word for this endpoint and this call; always the same one if the choice does not follow from chance.
    fn coin(&self, endpoint: &Endpoint, pick: &mut Pick<'_>) -> u64 {
        match self.picker.affinity(pick) {
            Some(word) => hash::mix(word ^ hash::bytes(endpoint.id().as_str().as_bytes())),
            None => pick.rng.next_u64(),
        }
    }

    /// A call was given up, now.
    #[cold]
    pub(super) fn cancel(&self, choice: Choice, at: u64) {
        self.end(choice, at, Outcome::Cancelled, Instant::now());
    }

    /// A call is over.
    pub(super) fn end(&self, choice: Choice, at: u64, outcome: Outcome, now: Instant) {
        self.set.health.end(&self.set[choice.index], Call { kind: choice.kind, at }, outcome, now);
    }
}

impl fmt::Debug for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tier").field(self.set()).finish()
    }
}
