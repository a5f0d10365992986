//! A set of candidates: never empty, never changing, in the order of their ids.

use std::ops::Index as At;
use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::{Endpoint, Index};
use super::health::Health;
use super::options::{BalancerOptions, Tracking};
use super::phase::Gate;
use super::pick::Pick;
use super::roster::Roster;
use crate::snapshot::Snapshot;

/// The endpoints that a [`Picker`](super::Picker) chooses from. There is at least one.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Arc<[Endpoint]>,
    equal_weights: bool,
    pub(super) health: Arc<Health>,
}

impl EndpointSet {
    /// The candidates of a snapshot, as a new balancer would see them; `None` when there are none. For trying a strategy out.
    pub fn of(snapshot: &Snapshot) -> Option<Arc<Self>> {
        let health = Arc::new(Health::new(BalancerOptions::default(), Tracking::default(), Instant::now()));
        Self::new(Roster::default().adopt(snapshot, &health.clock, 0).listed, health)
    }

    pub(super) fn new(endpoints: Vec<Endpoint>, health: Arc<Health>) -> Option<Arc<Self>> {
        let weight = endpoints.first()?.weight();
        let equal_weights = endpoints.iter().all(|endpoint| endpoint.weight() == weight);
        Some(Arc::new(Self { endpoints: endpoints.into(), equal_weights, health }))
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

    /// Whether the balancer would accept this endpoint of the set now, retries and slow start apart.
    #[inline]
    pub(super) fn takes_calls(&self, endpoint: &Endpoint, pick: &Pick<'_>) -> bool {
        endpoint.vitals.gate() == Gate::OPEN || self.takes_a_probe(endpoint, pick)
    }

    #[cold]
    fn takes_a_probe(&self, endpoint: &Endpoint, pick: &Pick<'_>) -> bool {
        self.health.is_panic() || endpoint.vitals.is_due(pick.at(*self.health.clock))
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
