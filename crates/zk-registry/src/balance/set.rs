//! A set of candidates: never empty, never changing; and the draft from which sets are made, one change after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index as At;
use std::sync::Arc;

use super::clock::nanos;
use super::endpoint::{Endpoint, Index};
use super::health::Health;
use super::phase::Gate;
use super::places::{Places, PlacesMut};
use crate::instance::InstanceId;
use crate::sorted::{Keyed, Sorted};

/// The endpoints that a [`Picker`](super::Picker) chooses from. There is at least one.
///
/// From one set to the next an endpoint keeps its place, but that the last one takes the place of one that goes.
#[derive(Debug)]
pub struct EndpointSet {
    endpoints: Places<Endpoint>,
    by_id: Sorted<Entry>,
    equal_weights: bool,
    total_weight: u64,
    /// When the first of its slow starts ends; 0 = one has none.
    first_ramp_end: u64,
    pub(super) health: Arc<Health>,
}

/// The entry of an endpoint among the ids of its set.
#[derive(Clone, Debug)]
struct Entry {
    id: InstanceId,
    place: Index,
    /// When its slow start ends, as it was when it came.
    ramp_end: u64,
}

impl Keyed for Entry {
    fn key(&self) -> &InstanceId {
        &self.id
    }
}

impl EndpointSet {
    /// The endpoints for which `keep` is true, and where they stand in this set; `None` when there are none. The part shares
    /// load and health with the whole.
    pub fn part(&self, keep: impl Fn(&Endpoint) -> bool) -> Option<(Arc<Self>, Vec<Index>)> {
        let mut endpoints = PlacesMut::default();
        let mut indices = Vec::new();
        let mut places = vec![Index::NOWHERE; self.len()];
        let (mut total_weight, mut equal_weights, mut first_ramp_end) = (0, true, u64::MAX);
        let mut weight = None;
        for (place, endpoint) in self.iter().enumerate().filter(|(_, endpoint)| keep(endpoint)) {
            total_weight += u64::from(endpoint.weight().get());
            equal_weights &= *weight.get_or_insert_with(|| endpoint.weight()) == endpoint.weight();
            first_ramp_end = first_ramp_end.min(endpoint.vitals.ramp_end());
            places[place] = Index::new(endpoints.push(endpoint.clone()));
            indices.push(Index::new(place));
        }
        if indices.is_empty() {
            return None;
        }
        // The ids are in order already: none is looked for.
        let entries =
            self.by_id.iter().map(|entry| Entry { place: places[entry.place.get()], ..entry.clone() });
        let part = Self {
            endpoints: endpoints.share(),
            by_id: Sorted::from_sorted(entries.filter(|entry| entry.place != Index::NOWHERE).collect()),
            equal_weights,
            total_weight,
            first_ramp_end,
            health: Arc::clone(&self.health),
        };
        Some((Arc::new(part), indices))
    }

    /// The endpoints, to be held apart from the set: a pick is on its way to them in one step less.
    pub(super) fn endpoints(&self) -> &Places<Endpoint> {
        &self.endpoints
    }

    /// The number of endpoints: at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoints in the order of their places, from 0 on.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Endpoint> + Clone {
        (0..self.len()).map(|place| &self.endpoints[Index::new(place)])
    }

    /// The places of the endpoints in the order of their ids, which is the same for every client.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = Index> + Clone {
        self.by_id.iter().map(|entry| entry.place)
    }

    /// The endpoint at `index`, if it is within the set.
    #[inline]
    pub fn get(&self, index: Index) -> Option<&Endpoint> {
        self.endpoints.get(index)
    }

    /// The place of this instance, if it is within the set as the process that it is.
    pub(super) fn place_of(&self, endpoint: &Endpoint) -> Option<Index> {
        self.place_of_id(endpoint).filter(|&index| self[index].life == endpoint.life)
    }

    /// The place of the instance that has the id of `endpoint` without a break since, though its process may be another.
    pub(super) fn place_of_id(&self, endpoint: &Endpoint) -> Option<Index> {
        let place = self.by_id.get(endpoint.id())?.place;
        Arc::ptr_eq(&self[place].vitals, &endpoint.vitals).then_some(place)
    }

    /// The endpoint with this id.
    pub fn by_id(&self, id: &InstanceId) -> Option<&Endpoint> {
        self.get(self.by_id.get(id)?.place)
    }

    /// Those that came, went, or have another weight than in `old`; endpoints that both sets share cost nothing.
    pub(super) fn changes_since(&self, old: &Self) -> BTreeSet<InstanceId> {
        let mut changes = BTreeSet::new();
        for (one, other) in [(self, old), (old, self)] {
            let is_same = |endpoint: &&Endpoint| {
                other.by_id(endpoint.id()).is_some_and(|other| other.weight() == endpoint.weight())
            };
            let apart = one.endpoints.not_shared_with(&other.endpoints);
            changes.extend(apart.filter(|endpoint| !is_same(endpoint)).map(|endpoint| endpoint.id().clone()));
        }
        changes
    }

    /// The share of its calls that an endpoint takes at `at` in its slow start, relative to the one of the set that is
    /// furthest: where all are new, none starts slowly.
    pub(super) fn warmth(&self, endpoint: &Endpoint, at: u64) -> f64 {
        let (span, depth) = match endpoint.warm_up() {
            // Not below a weight of 1.
            Some(warm_up) => (warm_up.span(), 1.0 - 1.0 / f64::from(endpoint.weight().get())),
            None => (self.health.options.slow_start, 0.9),
        };
        let span = nanos(span).max(1) as f64;
        let share = |end: u64| 1.0 - depth * (end.saturating_sub(at) as f64 / span).min(1.0);
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
        self.total_weight
    }

    /// The number of calls that the balancer has under way to these endpoints; counting reads each of them. 0 when calls in flight are not
    /// [tracked](super::Tracking).
    pub fn total_in_flight(&self) -> u64 {
        self.iter().map(|endpoint| u64::from(endpoint.in_flight())).sum()
    }
}

/// # Panics
///
/// When the index is outside the set.
impl At<Index> for EndpointSet {
    type Output = Endpoint;

    #[inline]
    fn index(&self, index: Index) -> &Endpoint {
        &self.endpoints[index]
    }
}

/// The draft of the next set: each change costs the same however large the set is, and publishing it copies a pointer for every
/// 64 endpoints.
#[derive(Debug, Default)]
pub(super) struct Draft {
    places: PlacesMut<Endpoint>,
    by_id: Sorted<Entry>,
    /// How many have each weight.
    weights: BTreeMap<u16, usize>,
    /// How many slow starts end at each time.
    ramp_ends: BTreeMap<u64, usize>,
    total_weight: u64,
    /// The set as it was last published, if nothing changed since.
    published: Option<Arc<EndpointSet>>,
}

impl Draft {
    /// Adds an endpoint, or puts it in the place of the one with its id.
    pub(super) fn put(&mut self, endpoint: Endpoint) {
        self.published = None;
        let (id, ramp_end) = (endpoint.id().clone(), endpoint.vitals.ramp_end());
        self.count(&endpoint, ramp_end);
        let before = self.by_id.get(&id).map(|entry| (entry.place, entry.ramp_end));
        let place = match before {
            Some((place, ramp_end)) => {
                if let Some(stood) = self.places.get_mut(place.get()) {
                    let stood = std::mem::replace(stood, endpoint);
                    self.discount(&stood, ramp_end);
                }
                place
            }
            None => Index::new(self.places.push(endpoint)),
        };
        if before != Some((place, ramp_end)) {
            self.by_id.insert(Entry { id, place, ramp_end });
        }
    }

    /// Takes an endpoint out.
    pub(super) fn take(&mut self, endpoint: &Endpoint) {
        let Some(entry) = self.by_id.remove(endpoint.id()) else { return };
        self.published = None;
        self.discount(endpoint, entry.ramp_end);
        let moved = self.places.swap_remove(entry.place.get()).map(|moved| moved.id().clone());
        if let Some(moved) = moved.and_then(|id| self.by_id.get(&id).cloned()) {
            self.by_id.insert(Entry { place: entry.place, ..moved });
        }
    }

    /// The set; `None` while it would be empty.
    pub(super) fn publish(&mut self, health: &Arc<Health>) -> Option<Arc<EndpointSet>> {
        if self.places.len() > 0 && self.published.is_none() {
            self.published = Some(Arc::new(EndpointSet {
                endpoints: self.places.share(),
                by_id: self.by_id.clone(),
                equal_weights: self.weights.len() == 1,
                total_weight: self.total_weight,
                first_ramp_end: self.ramp_ends.keys().next().copied().unwrap_or(0),
                health: Arc::clone(health),
            }));
        }
        self.published.clone()
    }

    fn count(&mut self, endpoint: &Endpoint, ramp_end: u64) {
        *self.weights.entry(endpoint.weight().get()).or_default() += 1;
        *self.ramp_ends.entry(ramp_end).or_default() += 1;
        self.total_weight += u64::from(endpoint.weight().get());
    }

    fn discount(&mut self, endpoint: &Endpoint, ramp_end: u64) {
        one_less(&mut self.weights, endpoint.weight().get());
        one_less(&mut self.ramp_ends, ramp_end);
        self.total_weight -= u64::from(endpoint.weight().get());
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;
    use crate::instance::{Attributes, Instance};
    use crate::snapshot::Snapshot;

    #[test]
    fn a_part_is_what_a_draft_of_its_endpoints_would_be() {
        let instance = |n: u16| {
            let weight = NonZeroU16::new(1 + n % 3).unwrap();
            Instance::new(format!("10.0.0.{n}"), 80)
                .with_attributes(Attributes { weight, ..Attributes::default() })
        };
        let whole =
            EndpointSet::of(&Snapshot::fixed(&"time".parse().unwrap(), (0..200).map(instance))).unwrap();
        for modulus in [1, 2, 3, 7, 199] {
            let keep = |endpoint: &Endpoint| {
                endpoint.host().ends_with('7') || endpoint.weight().get().is_multiple_of(modulus)
            };
            let (part, places) = whole.part(keep).unwrap();
            let mut draft = Draft::default();
            whole.iter().filter(|endpoint| keep(endpoint)).for_each(|endpoint| draft.put(endpoint.clone()));
            let drafted = draft.publish(&whole.health).unwrap();
            let ids =
                |set: &EndpointSet| set.iter().map(|endpoint| endpoint.id().clone()).collect::<Vec<_>>();
            assert_eq!(ids(&part), ids(&drafted));
            assert!(part.in_order().eq(drafted.in_order()));
            assert!(ids(&part).iter().eq(places.iter().map(|&place| whole[place].id())));
            assert!(ids(&part).iter().all(|id| part.by_id(id).is_some_and(|endpoint| endpoint.id() == id)));
            let figures = |set: &EndpointSet| (set.total_weight, set.equal_weights, set.first_ramp_end);
            assert_eq!(figures(&part), figures(&drafted));
        }
        assert!(whole.part(|_| false).is_none());
    }
}
