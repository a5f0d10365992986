//! A set of candidates: never empty, never changing, in the order of their ids.

use std::ops::Index as At;
use std::sync::Arc;

use tokio::time::Instant;

use super::clock::nanos;
use super::endpoint::{Endpoint, Index};
use super::health::Health;
use super::options::{BalancerOptions, Tracking};
use super::phase::Gate;
use super::roster::Roster;
use crate::instance::InstanceId;
use crate::snapshot::Snapshot;

/// The endpoints that a [`Picker`](super::Picker) chooses from. There is at least one.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Arc<[Endpoint]>,
    equal_weights: bool,
    /// When the first of its slow starts ends; 0 = one has none.
    first_ramp_end: u64,
    pub(super) health: Arc<Health>,
}

impl EndpointSet {
    /// The candidates of a snapshot, as a new balancer would see them; `None` when there are none. For trying a strategy out.
    pub fn of(snapshot: &Snapshot) -> Option<Arc<Self>> {
        let health = Arc::new(Health::new(BalancerOptions::default(), Tracking::default(), Instant::now()));
        let adopt = |sites: &mut _, changes: &mut _| {
            Roster::default().adopt(snapshot, &health.clock, 0, sites, changes).listed
        };
        Self::new(health.adopt(Instant::now(), adopt), Arc::clone(&health))
    }

    pub(super) fn new(endpoints: Vec<Endpoint>, health: Arc<Health>) -> Option<Arc<Self>> {
        let weight = endpoints.first()?.weight();
        let equal_weights = endpoints.iter().all(|endpoint| endpoint.weight() == weight);
        let ramp_ends = endpoints.iter().map(|endpoint| endpoint.vitals.ramp_end());
        let first_ramp_end = ramp_ends.min().unwrap_or(0); // a set is never empty
        Some(Arc::new(Self { endpoints: endpoints.into(), equal_weights, first_ramp_end, health }))
    }

    /// The endpoints for which `keep` is true, and where they stand in this set; `None` when there are none. The part shares
    /// load and health with the whole.
    pub fn part(&self, keep: impl Fn(&Endpoint) -> bool) -> Option<(Arc<Self>, Vec<Index>)> {
        let (indices, endpoints): (Vec<_>, Vec<_>) = self
            .iter()
            .enumerate()
            .filter(|(_, endpoint)| keep(endpoint))
            .map(|(place, endpoint)| (Index::new(place), endpoint.clone()))
            .unzip();
        Self::new(endpoints, Arc::clone(&self.health)).map(|part| (part, indices))
    }

    /// The endpoints, to be held apart from the set.
    pub(super) fn endpoints(&self) -> &Arc<[Endpoint]> {
        &self.endpoints
    }

    /// The number of endpoints: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoints in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Endpoint> + Clone {
        self.endpoints.iter()
    }

    /// The endpoint at `index`, if it is within the set.
    pub fn get(&self, index: Index) -> Option<&Endpoint> {
        self.endpoints.get(index.get())
    }

    /// The place of this instance, if it is within the set as the process that it is.
    pub(super) fn place_of(&self, endpoint: &Endpoint) -> Option<Index> {
        let place = self.endpoints.binary_search_by(|other| other.id().cmp(endpoint.id())).ok()?;
        let is_it = |one: &&Endpoint| Arc::ptr_eq(&one.vitals, &endpoint.vitals) && one.life == endpoint.life;
        self.endpoints.get(place).filter(is_it).map(|_| Index::new(place))
    }

    /// The endpoint with this id.
    pub(super) fn by_id(&self, id: &InstanceId) -> Option<&Endpoint> {
        let place = self.endpoints.binary_search_by(|other| other.id().cmp(id)).ok()?;
        self.endpoints.get(place)
    }

    /// The share of its calls that an endpoint takes at `at` in its slow start, relative to the one of the set that is
    /// furthest: where all are new, none starts slowly.
    pub(super) fn warmth(&self, endpoint: &Endpoint, at: u64) -> f64 {
        let span = nanos(self.health.options.slow_start).max(1) as f64;
        let share = |end: u64| 1.0 - 0.9 * end.saturating_sub(at) as f64 / span;
        share(endpoint.vitals.ramp_end()) / share(self.first_ramp_end)
    }

    /// Whether the balancer would accept this endpoint of the set now, retries and slow start apart.
    #[inline]
    pub(super) fn takes_calls(&self, endpoint: &Endpoint) -> bool {
        endpoint.vitals.gate() == Gate::OPEN || self.health.is_panic()
    }

    /// Whether all weights are the same, so that a strategy may ignore them.
    pub fn has_equal_weights(&self) -> bool {
        self.equal_weights
    }

    /// The sum of all weights.
    pub fn total_weight(&self) -> u64 {
        self.iter().map(|endpoint| u64::from(endpoint.weight().get())).sum()
    }

    /// The number of calls that the balancer has under way to these endpoints; counting reads each of them. 0 when calls in flight are not
    /// [tracked](Tracking).
    pub fn total_in_flight(&self) -> u64 {
        self.iter().map(|endpoint| u64::from(endpoint.in_flight())).sum()
    }
}

/// # Panics
///
/// When the index is outside the set.
impl At<Index> for EndpointSet {
    type Output = Endpoint;

    fn index(&self, index: Index) -> &Endpoint {
        &self.endpoints[index.get()]
    }
}
