//! The settings of a [`Balancer`](super::Balancer) that hold whatever its strategy.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::ejection::Ejection;
use super::event::Observer;

/// The settings of a [`Balancer`](super::Balancer) that do not depend on its strategy.
#[derive(Clone)]
#[non_exhaustive]
pub struct BalancerOptions {
    /// The rules of ejection. Defaults to [`Ejection::default`].
    pub ejection: Ejection,
    /// For how long an instance that appears after ZooKeeper was first heard is picked less often: a tenth of its share at
    /// first, growing evenly. Zero switches it off. Defaults to 10 seconds. An instance whose record asks for a warm-up, as Dubbo's
    /// can, has that instead, whenever it appeared.
    pub slow_start: Duration,
    /// The figures learned of each call even if the strategy does not need them. Defaults to [`Tracking::NOTHING`].
    pub tracking: Tracking,
    /// The number of calls that may be under way to one instance at a time. One that has as many is full and not picked, not as a
    /// probe either; when all that could be picked are full, [`PickError::Full`](super::PickError) says so. Counts the calls in
    /// flight whatever `tracking` says, and a pick costs a few nanoseconds more. Defaults to no limit.
    pub max_in_flight: Option<NonZeroU32>,
    /// The time constant with which a measured latency fades. Defaults to 10 seconds.
    pub decay: Duration,
    /// The receiver of each [`Event`](super::Event). Defaults to none.
    pub observer: Option<Arc<dyn Observer>>,
    /// The seed of the jitter of ejections. Defaults to a random one.
    pub seed: Option<u64>,
}

impl Default for BalancerOptions {
    fn default() -> Self {
        Self {
            ejection: Ejection::default(),
            slow_start: Duration::from_secs(10),
            tracking: Tracking::default(),
            max_in_flight: None,
            decay: Duration::from_secs(10),
            observer: None,
            seed: None,
        }
    }
}

impl BalancerOptions {
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

    /// Sets [`max_in_flight`](Self::max_in_flight).
    #[must_use]
    pub fn with_max_in_flight(mut self, max_in_flight: NonZeroU32) -> Self {
        self.max_in_flight = Some(max_in_flight);
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

impl fmt::Debug for BalancerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BalancerOptions")
            .field("ejection", &self.ejection)
            .field("slow_start", &self.slow_start)
            .field("tracking", &self.tracking)
            .field("max_in_flight", &self.max_in_flight)
            .field("decay", &self.decay)
            .field("observer", &self.observer.is_some())
            .field("seed", &self.seed)
            .finish()
    }
}

/// The figures that a balancer learns of each call beside failures, which it always learns. Each figure costs a few
/// nanoseconds per call, and a write that other threads may wait for. Defaults to none: a strategy asks for those it needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Tracking {
    /// The number of calls under way to each instance.
    pub in_flight: bool,
    /// The answer time of each instance.
    pub latency: bool,
}

impl Tracking {
    /// No figure: threads that pick at the same time do not touch each other.
    pub const NOTHING: Self = Self { in_flight: false, latency: false };

    /// Counts the calls in flight too.
    #[must_use]
    pub const fn with_in_flight(self) -> Self {
        Self { in_flight: true, ..self }
    }

    /// Measures answer times too.
    #[must_use]
    pub const fn with_latency(self) -> Self {
        Self { latency: true, ..self }
    }

    /// The figures for which at least one of the two asks.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self { in_flight: self.in_flight | other.in_flight, latency: self.latency | other.latency }
    }
}
