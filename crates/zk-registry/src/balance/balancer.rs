//! The mechanism: adopts snapshots, gives out leases.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::ejection::Ejection;
use super::event::Observer;
use super::health::Shared;
use super::lease::Lease;
use super::pick::{Key, Pick, PickError};
use super::roster::Roster;
use super::set::EndpointSet;
use super::strategy::{Strategy, Tracking};
use super::thread_cache::Slot;
use super::tier::{Candidates, Choice, Tier};
use super::vitals::nanos;
use crate::instance::InstanceId;
use crate::resolve::{Closed, ServiceWatch};
use crate::snapshot::{Freshness, Snapshot};

/// How a [`Balancer`] treats its instances, whatever the strategy.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// When an instance is left alone. Defaults to [`Ejection::default`].
    pub ejection: Ejection,
    /// For how long an instance that appears after ZooKeeper was first heard is picked less often: a tenth of its share at
    /// first, growing evenly. Zero switches it off. Defaults to 10 seconds.
    pub slow_start: Duration,
    /// What is learned of each call, even if the strategy does not need it. Defaults to [`Tracking::NOTHING`].
    pub tracking: Tracking,
    /// How long a measured latency matters: it fades with this time constant. Defaults to 10 seconds.
    pub decay: Duration,
    /// Is told of each ejection and return. Defaults to nobody.
    pub observer: Option<Arc<dyn Observer>>,
    /// Where the jitter of ejections begins. Defaults to chance.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ejection: Ejection::default(),
            slow_start: Duration::from_secs(10),
            tracking: Tracking::default(),
            decay: Duration::from_secs(10),
            observer: None,
            seed: None,
        }
    }
}

impl Options {
    /// Sets [`ejection`](Self::ejection).
    #[must_use]
    pub fn with_ejection(mut self, ejection: Ejection) -> Self {
        self.ejection = ejection;
        self
    }

    /// Sets [`slow_start`](Self::slow_start).
    #[must_use]
    pub fn with_slow_start(mut self, slow_start: Duration) -> Self {
        self.slow_start = slow_start;
        self
    }

    /// Sets [`tracking`](Self::tracking).
    #[must_use]
    pub fn with_tracking(mut self, tracking: Tracking) -> Self {
        self.tracking = tracking;
        self
    }

    /// Sets [`decay`](Self::decay).
    #[must_use]
    pub fn with_decay(mut self, decay: Duration) -> Self {
        self.decay = decay;
        self
    }

    /// Sets [`observer`](Self::observer).
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets [`seed`](Self::seed).
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("ejection", &self.ejection)
            .field("slow_start", &self.slow_start)
            .field("tracking", &self.tracking)
            .field("decay", &self.decay)
            .field("observer", &self.observer.is_some())
            .field("seed", &self.seed)
            .finish()
    }
}

/// Chooses one instance per call.
///
/// Give it every snapshot with [`update`](Self::update), or let [`follow`](Self::follow) do that; it starts out
/// [pending](PickError::Pending). Share it behind an [`Arc`].
pub struct Balancer {
    strategy: Box<dyn Strategy>,
    shared: Arc<Shared>,
    /// Everything a pick needs, published at once.
    state: ArcSwap<State>,
    /// The stamp of the listed candidates; 0 = there are none.
    stamp: AtomicU64,
    slot: Slot,
    roster: Mutex<Roster>,
}

/// What there is to pick from, best first, or why there is nothing.
#[derive(Debug)]
struct State {
    listed: Option<Arc<Tier>>,
    suspects: Option<Arc<Tier>>,
    nothing: PickError,
}

impl Balancer {
    /// A balancer with the default [`Options`].
    pub fn new(strategy: impl Strategy) -> Self {
        Self::with_options(strategy, Options::default())
    }

    /// A balancer.
    pub fn with_options(strategy: impl Strategy, options: Options) -> Self {
        let tracking = strategy.tracking().or(options.tracking);
        Self {
            shared: Arc::new(Shared::new(options, tracking, Instant::now())),
            strategy: Box::new(strategy),
            state: ArcSwap::from_pointee(State { listed: None, suspects: None, nothing: PickError::Pending }),
            stamp: AtomicU64::new(0),
            slot: Slot::new(),
            roster: Mutex::default(),
        }
    }

    /// Adopts a snapshot, now. Instances that stay keep their load, and with the same incarnation their health. When the
    /// candidates are the same as before, nothing is built.
    pub fn update(&self, snapshot: &Snapshot) {
        self.update_at(snapshot, Instant::now());
    }

    /// Adopts a snapshot at `now`, from which the slow start of new instances counts.
    pub fn update_at(&self, snapshot: &Snapshot, now: Instant) {
        let ramp_end = match self.shared.options.slow_start {
            Duration::ZERO => 0,
            slow_start => self.shared.clock.at(now).saturating_add(nanos(slow_start)),
        };
        // A strategy that panicked while building has left the roster as it was.
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let adopted = roster.adopt(snapshot, &self.shared.clock, ramp_end);
        let nothing = match snapshot.freshness() {
            _ if adopted.draining + adopted.undialable > 0 => {
                PickError::Unusable { draining: adopted.draining, undialable: adopted.undialable }
            }
            Freshness::Disk { .. } | Freshness::Pending => PickError::Pending,
            Freshness::Live => PickError::Empty,
            Freshness::Stale { since } => PickError::Stale { since },
        };

        let old = self.state.load();
        let tier = |endpoints, old: &Option<Arc<Tier>>| {
            Tier::renew(old.as_ref(), endpoints, &self.shared, &*self.strategy)
        };
        let listed = tier(adopted.listed, &old.listed);
        let suspects = tier(adopted.suspects, &old.suspects);
        self.shared.adopt(listed.as_ref().map(|tier| tier.set()), adopted.changes, now);
        let stamp = listed.as_ref().map_or(0, |tier| tier.stamp);
        self.state.store(Arc::new(State { listed, suspects, nothing }));
        // Whoever sees the stamp sees the state.
        self.stamp.store(stamp, Release);
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
        self.pick_with(&mut Pick::new(Instant::now(), &mut rand::rng()))
    }

    /// Picks an instance for a key, now: what the hashing strategies need, and the others ignore.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nothing to pick.
    pub fn pick_for(&self, key: impl Into<Key>) -> Result<Lease, PickError> {
        self.pick_with(&mut Pick::new(Instant::now(), &mut rand::rng()).with_key(key))
    }

    /// Picks an instance now that is not among those already tried.
    ///
    /// # Errors
    ///
    /// [`PickError::AllExcluded`] when there is no other; else as [`pick`](Self::pick).
    pub fn pick_avoiding(&self, tried: &[InstanceId]) -> Result<Lease, PickError> {
        self.pick_with(&mut Pick::new(Instant::now(), &mut rand::rng()).avoiding(tried))
    }

    /// Picks an instance; time and chance are the caller's.
    ///
    /// # Errors
    ///
    /// [`PickError`] says why there is nothing to pick.
    #[inline]
    pub fn pick_with(&self, pick: &mut Pick<'_>) -> Result<Lease, PickError> {
        let began = pick.now;
        let best = self.listed().and_then(|candidates| {
            let choice = candidates.choose(pick)?;
            Some((candidates, choice))
        });
        let (candidates, choice) = match best {
            Some(best) => best,
            None => self.without_the_best(pick)?,
        };
        Ok(Lease::new(candidates, choice, began, pick.at))
    }

    /// Nothing that is listed is available: a suspect, or else whatever is listed.
    #[cold]
    fn without_the_best(&self, pick: &mut Pick<'_>) -> Result<(Arc<Candidates>, Choice), PickError> {
        let State { listed, suspects, nothing } = &**self.state.load();
        let candidates = |tier: &Option<Arc<Tier>>| tier.as_ref().map(|tier| tier.candidates());
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
        let tried = |tier: &Option<Arc<Tier>>| candidates(tier).is_some_and(|tier| tier.has_tried(pick));
        Err(if tried(listed) || tried(suspects) { PickError::AllExcluded } else { *nothing })
    }

    /// The listed candidates, which a thread remembers as long as they are the same.
    fn listed(&self) -> Option<Arc<Candidates>> {
        self.slot.recall(self.stamp.load(Acquire)).or_else(|| {
            let state = self.state.load();
            let tier = state.listed.as_ref()?;
            let candidates = tier.candidates();
            self.slot.remember(tier.stamp, &candidates);
            Some(candidates)
        })
    }

    /// The listed candidates with their load and health, in the order of their ids; `None` when there are none.
    pub fn endpoints(&self) -> Option<Arc<EndpointSet>> {
        self.state.load().listed.as_ref().map(|tier| Arc::clone(tier.set()))
    }

    /// The suspects, in the order of their ids; `None` when there are none.
    pub fn suspects(&self) -> Option<Arc<EndpointSet>> {
        self.state.load().suspects.as_ref().map(|tier| Arc::clone(tier.set()))
    }

    /// Whether too few instances are available, so that ejections are ignored.
    pub fn is_panicking(&self) -> bool {
        self.shared.is_panic()
    }

    /// How many instances are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.roster.lock().unwrap().len()
    }

    /// The strategy.
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer")
            .field("strategy", &self.strategy)
            .field("state", &self.state.load())
            .finish_non_exhaustive()
    }
}
