//! The balancer: it adopts snapshots and gives out leases.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::core::{Core, State};
use super::health::Health;
use super::lease::Lease;
use super::options::{BalancerOptions, Tracking};
use super::pick::{Key, Pick, PickError};
use super::roster::{Moment, Roster};
use super::set::EndpointSet;
use super::strategy::Strategy;
use super::thread_cache::ThreadCache;
use super::tier::{Candidates, Choice, Tier};
use crate::instance::InstanceId;
use crate::resolve::{Closed, ServiceWatch};
use crate::snapshot::Snapshot;

/// A balancer chooses one instance per call.
///
/// Give it every snapshot with [`update`](Self::update), or let [`follow`](Self::follow) do that; it starts out
/// [pending](PickError::Pending). Share it behind an [`Arc`].
pub struct Balancer {
    core: Arc<Core>,
    cache: ThreadCache,
}

impl Balancer {
    /// A balancer with the default [`BalancerOptions`].
    pub fn new(strategy: impl Strategy) -> Self {
        Self::with_options(strategy, BalancerOptions::default())
    }

    /// A balancer with these options.
    pub fn with_options(strategy: impl Strategy, options: BalancerOptions) -> Self {
        let mut tracking = strategy.tracking().or(options.tracking);
        tracking.in_flight |= options.max_in_flight.is_some();
        let health = Arc::new(Health::new(options, tracking, Instant::now()));
        Self { core: Arc::new(Core::new(Box::new(strategy), health)), cache: ThreadCache::new() }
    }

    /// Adopts a snapshot, now. Instances that stay keep their load, and with the same incarnation their health. The work is that of
    /// what changed since the last snapshot, if the two share what did not, as those of a [`ServiceWatch`] do.
    ///
    /// Who comes, goes, drains or was restarted takes effect before this returns. Only the table of a
    /// [strategy that has one](Strategy::has_table) may be rebuilt later, by a blocking task of the tokio runtime that this is
    /// called in: until then new instances get no call and changed weights do not count. It is there within 100 ms if building it
    /// takes no more than a third of that, and building takes at most half of one processor. Outside a runtime it is built before
    /// this returns.
    pub fn update(&self, snapshot: &Snapshot) {
        self.update_at(snapshot, Instant::now());
    }

    /// Adopts a snapshot at `now`, from which the slow start of new instances counts.
    pub fn update_at(&self, snapshot: &Snapshot, now: Instant) {
        self.core.update(snapshot, now, SystemTime::now());
    }

    /// Adopts the watch's snapshots, beginning with the current one, until its registry is closed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops the updates; the balancer keeps what it has.
    pub async fn follow(&self, watch: &mut ServiceWatch) -> Closed {
        loop {
            self.update(watch.current());
            if let Err(closed) = watch.changed().await {
                return closed;
            }
        }
    }

    /// Picks an instance now, by tokio's clock and the thread's generator.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nothing to pick.
    pub fn pick(&self) -> Result<Lease, PickError> {
        self.pick_with(&mut Pick::by_clock(&mut rand::random::<u64>))
    }

    /// Picks an instance for a key, now: what the hashing strategies need, and the others ignore.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nothing to pick.
    pub fn pick_for(&self, key: impl Into<Key>) -> Result<Lease, PickError> {
        self.pick_with(&mut Pick::by_clock(&mut rand::random::<u64>).with_key(key))
    }

    /// Picks an instance now that is not among those already tried.
    ///
    /// # Errors
    ///
    /// [`PickError::AllExcluded`] when there is no other; else as [`pick`](Self::pick).
    pub fn pick_avoiding(&self, tried: &[InstanceId]) -> Result<Lease, PickError> {
        self.pick_with(&mut Pick::by_clock(&mut rand::random::<u64>).avoiding(tried))
    }

    /// Picks an instance; time and chance are the caller's.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nothing to pick.
    // A lease that is returned through memory is written in pieces and read in one, which costs as much as the pick.
    #[inline(always)]
    pub fn pick_with(&self, pick: &mut Pick<'_>) -> Result<Lease, PickError> {
        let best = self.listed().and_then(|candidates| {
            let choice = candidates.choose(pick)?;
            Some((candidates, choice))
        });
        let (candidates, choice) = match best {
            Some(best) => best,
            None => self.without_the_best(pick)?,
        };
        Ok(Lease::new(candidates, choice, pick.known_now(), pick.at))
    }

    /// Nothing that is listed is available: a suspect, or else whatever is listed.
    #[cold]
    fn without_the_best(&self, pick: &mut Pick<'_>) -> Result<(Arc<Candidates>, Choice), PickError> {
        let State { listed, suspects, nothing } = &**self.core.state.load();
        let candidates = |tier: &Option<Arc<Tier>>| tier.as_ref().map(|tier| tier.candidates());
        // A call does not spill from healthy instances that are full to ejected ones or suspects.
        if candidates(listed).is_some_and(|listed| listed.are_full(pick)) {
            return Err(PickError::Full);
        }
        if let Some(suspects) = candidates(suspects)
            && let Some(choice) = suspects.choose(pick)
        {
            return Ok((suspects, choice));
        }
        if let Some(listed) = candidates(listed)
            && let Some(choice) = listed.choose_any(pick)
        {
            return Ok((listed, choice));
        }
        if candidates(suspects).is_some_and(|suspects| suspects.are_full(pick)) {
            return Err(PickError::Full);
        }
        let tried = |tier: &Option<Arc<Tier>>| candidates(tier).is_some_and(|tier| tier.has_tried(pick));
        Err(if tried(listed) || tried(suspects) { PickError::AllExcluded } else { *nothing })
    }

    /// The listed candidates, which a thread remembers as long as they are the same.
    fn listed(&self) -> Option<Arc<Candidates>> {
        self.cache.get(self.core.stamp.load(Acquire)).or_else(|| {
            let state = self.core.state.load();
            let tier = state.listed.as_ref()?;
            let candidates = tier.candidates();
            self.cache.put(tier.stamp, &candidates);
            Some(candidates)
        })
    }

    /// The listed candidates with their load and health, in the order of their ids; `None` when there are none.
    pub fn endpoints(&self) -> Option<Arc<EndpointSet>> {
        self.core.state.load().listed.as_ref().map(|tier| Arc::clone(tier.set()))
    }

    /// The suspects, in the order of their ids; `None` when there are none.
    pub fn suspects(&self) -> Option<Arc<EndpointSet>> {
        self.core.state.load().suspects.as_ref().map(|tier| Arc::clone(tier.set()))
    }

    /// Ejects a listed instance for `time`, now, and every other one with its address: for an active health check that found it
    /// unwell. Neither the share that may be ejected nor panic is asked. Afterwards one call finds out whether it is back, or
    /// [`restore`](Self::restore) says so. `false`: it is not listed.
    pub fn eject(&self, instance: &InstanceId, time: Duration) -> bool {
        self.eject_at(instance, time, Instant::now())
    }

    /// [Ejects](Self::eject) at `now`.
    pub fn eject_at(&self, instance: &InstanceId, time: Duration, now: Instant) -> bool {
        let set = self.endpoints();
        let endpoint = set.as_ref().and_then(|set| set.by_id(instance));
        endpoint.is_some_and(|endpoint| self.core.health.eject_as_asked(endpoint, time, now))
    }

    /// Readmits an ejected instance, now, and every other one with its address: an active health check found it well. `false`: it
    /// is not listed, or not ejected.
    pub fn restore(&self, instance: &InstanceId) -> bool {
        self.restore_at(instance, Instant::now())
    }

    /// [Readmits](Self::restore) at `now`.
    pub fn restore_at(&self, instance: &InstanceId, now: Instant) -> bool {
        let set = self.endpoints();
        let endpoint = set.as_ref().and_then(|set| set.by_id(instance));
        endpoint.is_some_and(|endpoint| self.core.health.restore_as_asked(endpoint, now))
    }

    /// What this balancer knows of an instance, in words: whether it is listed, whether it is picked and if not why, and what its
    /// calls were like. For logs and for people; the words may change.
    pub fn explain(&self, instance: &InstanceId) -> String {
        let standing = self.core.standing(instance);
        let state = self.core.state.load();
        let of =
            |tier: &Option<Arc<Tier>>| tier.as_ref().and_then(|tier| tier.set().by_id(instance).cloned());
        match of(&state.listed).or_else(|| of(&state.suspects)) {
            Some(endpoint) => {
                let is_full = self.core.health.is_full(&endpoint);
                format!("{standing}; {}", endpoint.in_words(self.is_panicking(), is_full))
            }
            None => standing.to_owned(),
        }
    }

    /// Waits until there is an instance to pick: listed, or a suspect. Ready at once if there is.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn usable(&self) {
        let mut changes = self.core.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let is_usable = {
                let state = self.core.state.load();
                state.listed.is_some() || state.suspects.is_some()
            };
            // The sender lives as long as the balancer.
            if is_usable || changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Whether too few instances are available, so that ejections are ignored.
    pub fn is_panicking(&self) -> bool {
        self.core.health.is_panic()
    }

    /// How many instances are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.core.known()
    }

    /// How many instances are listed for calls, and how many of those are not available, as counted.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let tally = self.core.health.tally();
        (tally.listed, tally.ejected + tally.unreachable)
    }

    /// The strategy.
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.core.strategy
    }
}

impl EndpointSet {
    /// The candidates of a snapshot, as a new balancer would see them; `None` when there are none. For trying a strategy out.
    pub fn of(snapshot: &Snapshot) -> Option<Arc<Self>> {
        let health = Arc::new(Health::new(BalancerOptions::default(), Tracking::default(), Instant::now()));
        let mut roster = Roster::default();
        health.adopt(Instant::now(), |sites, changes| {
            let moment = Moment { at: 0, wall: SystemTime::now() };
            roster.adopt(snapshot, &health.clock, (moment, Duration::ZERO), sites, changes);
        });
        roster.listed.publish(&health)
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("strategy", &self.core.strategy)
            .field("state", &self.core.state.load())
            .finish_non_exhaustive()
    }
}
