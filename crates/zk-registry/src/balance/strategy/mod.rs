//! Which one of many: a [`Strategy`] builds a [`Picker`] for one set of candidates, the picker picks.
//!
//! Building may take its time, since it happens once per change of the set; picking is O(1), allocates nothing, locks
//! nothing, and asks nobody for the time or for randomness: both come with the [`Pick`]. Picker and candidates are published
//! together, so a table never disagrees with its set.
//!
//! A strategy need not know about ejection, slow start or retries: the balancer rejects a proposal that must not be used and
//! asks again. Nor about suspects, draining or dead addresses: those are not in the set.
//!
//! | name | use it when | pick |
//! |---|---|---|
//! | [`random`](Random) | all instances are alike and calls are short | one random number |
//! | [`round-robin`](RoundRobin) | the same, with few clients and calls of equal cost | one shared counter |

mod random;
mod round_robin;

use std::fmt;
use std::sync::Arc;

pub use random::Random;
pub use round_robin::RoundRobin;

use super::endpoint::Index;
use super::pick::Pick;
use super::set::EndpointSet;

/// A way to choose: builds the picker for each new set of candidates.
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// A picker for `set`. Called once per change of the set, one call at a time; what must outlive a set (a cursor, a
    /// seed) belongs to the strategy.
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker>;

    /// What the balancer must learn of each call for this strategy. Defaults to what is tracked anyway, see
    /// [`Options::tracking`](super::Options).
    fn tracking(&self) -> Tracking {
        Tracking::NOTHING
    }
}

/// Picks from the one set it was built for.
pub trait Picker: Send + Sync + 'static {
    /// The next proposal. It may be rejected; [`Pick::attempt`] counts.
    fn pick(&self, pick: &mut Pick<'_>) -> Index;
}

fn _object_safe(_: &dyn Strategy, _: &dyn Picker) {}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        (**self).picker(set)
    }

    fn tracking(&self) -> Tracking {
        (**self).tracking()
    }
}

impl<S: Strategy + ?Sized> Strategy for Box<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        (**self).picker(set)
    }

    fn tracking(&self) -> Tracking {
        (**self).tracking()
    }
}

/// What is learned of each call. Each costs a few nanoseconds, and a write that other threads may wait for.
///
/// Failures are always learned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tracking {
    /// How many calls are under way to each instance.
    pub in_flight: bool,
    /// How long each instance takes to answer.
    pub latency: bool,
    /// How many calls are under way to all instances together.
    pub total: bool,
}

impl Tracking {
    /// Nothing but failures: threads that pick at the same time do not touch each other.
    pub const NOTHING: Self = Self { in_flight: false, latency: false, total: false };

    /// What either of the two asks for.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            in_flight: self.in_flight | other.in_flight,
            latency: self.latency | other.latency,
            total: self.total | other.total,
        }
    }
}

/// Calls in flight and latency.
impl Default for Tracking {
    fn default() -> Self {
        Self { in_flight: true, latency: true, total: false }
    }
}
