//! The strategies. A [`Strategy`] builds a [`Picker`] for one set of candidates, the picker picks.
//!
//! Building happens once per change of the set, beside the calls if it [takes long](Strategy::has_table); picking is O(1),
//! allocates nothing, locks nothing, and reads neither clock nor generator: both come with the [`Pick`]. Picker and candidates
//! are published together, so a table never disagrees with its set.
//!
//! A strategy need not know about ejection, slow start or retries: the balancer rejects a proposal that must not be used and
//! asks again. Nor about suspects, draining or dead addresses: those are not in the set.
//!
//! | name | use it when | pick |
//! |---|---|---|
//! | [`consistent-hash`](ConsistentHash) | calls with the same key should meet the same instance | one look |
//! | [`least-loaded`](LeastLoaded) | nothing speaks for another: the default | one random number, two counters |
//! | [`peak-ewma`](PeakEwma) | instances differ in speed, or one may turn slow | the same and some arithmetic |
//! | [`random`](Random) | all instances are alike and calls are short | one random number |
//! | [`round-robin`](RoundRobin) | the same, with few clients and calls of equal cost | the next number |
//! | [`sticky`](Sticky) | an instance keeps something for this client | one look |
//! | [`weighted-random`](WeightedRandom) | instances differ in size, calls are short | one random number, one look |
//! | [`weighted-round-robin`](WeightedRoundRobin) | the same, with few clients and calls of equal cost | the next number, one look |
//! | [`zone:<zone>/<name>`](Zone) | calls across zones are slow or cost money | a coin, then as the other |
//!
//! [`Subset`] uses only a few instances of a large set, and lets one of these choose among them.
//!
//! # Your own
//!
//! ```
//! use std::sync::Arc;
//! use zk_registry::balance::{Balancer, EndpointSet, Index, Pick, Picker, Strategy};
//! use zk_registry::{Instance, ServiceName, Snapshot};
//!
//! /// Always the first one that can be used.
//! #[derive(Debug)]
//! struct First;
//!
//! impl Strategy for First {
//!     fn picker(&self, _: &Arc<EndpointSet>) -> Box<dyn Picker> {
//!         Box::new(FirstOf)
//!     }
//! }
//!
//! struct FirstOf;
//!
//! impl Picker for FirstOf {
//!     fn pick(&self, pick: &mut Pick<'_>) -> Index {
//!         Index::new(pick.attempt() as usize)
//!     }
//! }
//!
//! let service: ServiceName = "time".parse()?;
//! let balancer = Balancer::new(First);
//! balancer.update(&Snapshot::fixed(&service, [Instance::new("10.0.0.2", 80), Instance::new("10.0.0.1", 80)]));
//! assert_eq!(balancer.pick()?.instance().host(), "10.0.0.1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alias;
mod board;
mod consistent_hash;
mod least_loaded;
mod load;
mod named;
mod owner_table;
mod part;
mod peak_ewma;
mod random;
mod round_robin;
mod sticky;
mod subset;
mod turns;
mod weighted_random;
mod weighted_round_robin;
mod zone;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

pub use consistent_hash::ConsistentHash;
pub use least_loaded::LeastLoaded;
pub use named::Named;
pub use peak_ewma::PeakEwma;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use sticky::Sticky;
pub use subset::{Rank, Subset};
pub use weighted_random::WeightedRandom;
pub use weighted_round_robin::WeightedRoundRobin;
pub use zone::Zone;

use super::endpoint::Index;
use super::options::Tracking;
use super::pick::Pick;
use super::set::EndpointSet;

/// A way to choose: it builds the picker for each new set of candidates.
pub trait Strategy: fmt::Debug + Send + Sync + 'static {
    /// A picker for `set`. Called once per change of the set, one call at a time; what must outlive a set (a cursor, a
    /// seed) belongs to the strategy.
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker>;

    /// A picker for `set` that proposes the same as a [new one](Self::picker) would, made out of one that this strategy made for an
    /// earlier set, if that is quicker. Defaults to a new one.
    fn renewed(&self, set: &Arc<EndpointSet>, _earlier: &dyn Picker) -> Box<dyn Picker> {
        self.picker(set)
    }

    /// Whether a picker for `set` has a table that takes long to build: then it is built beside the calls, see
    /// [`Balancer::update`](super::Balancer::update). Until it is there the old one's proposals are looked up in the new set.
    /// Defaults to `false`: each update builds the picker.
    fn has_table(&self, _: &EndpointSet) -> bool {
        false
    }

    /// The figures that the balancer must learn of each call for this strategy. Defaults to those tracked anyway, see
    /// [`BalancerOptions::tracking`](super::BalancerOptions).
    fn tracking(&self) -> Tracking {
        Tracking::NOTHING
    }
}

/// A picker proposes endpoints of the one set it was built for.
pub trait Picker: Any + Send + Sync {
    /// The next proposal. It may be rejected; [`Pick::attempt`] counts.
    fn pick(&self, pick: &mut Pick<'_>) -> Index;

    /// The number that groups this call with others: calls with the same number share every random decision, as instance, slow
    /// start, and leaving the zone. `None`: each call is drawn alone. Defaults to `None`.
    fn affinity(&self, _: &Pick<'_>) -> Option<u64> {
        None
    }
}

fn _object_safe(_: &dyn Strategy, _: &dyn Picker) {}

impl<S: Strategy + ?Sized> Strategy for Arc<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        (**self).picker(set)
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        (**self).renewed(set, earlier)
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        (**self).has_table(set)
    }

    fn tracking(&self) -> Tracking {
        (**self).tracking()
    }
}

impl<S: Strategy + ?Sized> Strategy for Box<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        (**self).picker(set)
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        (**self).renewed(set, earlier)
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        (**self).has_table(set)
    }

    fn tracking(&self) -> Tracking {
        (**self).tracking()
    }
}
