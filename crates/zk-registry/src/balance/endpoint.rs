//! An endpoint: one instance as a balancer sees it, with what the registry says of it and what this client has learned.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use super::phase::Phase;
use super::vitals::Vitals;
use crate::instance::{Instance, InstanceId};
use crate::snapshot::Member;

/// The place of an endpoint in its [`EndpointSet`](super::EndpointSet).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Index(u32);

impl Index {
    /// A place outside every set.
    pub(super) const NOWHERE: Self = Self(u32::MAX);

    /// The `place`th endpoint, counted from 0. A place outside the set is never picked.
    pub const fn new(place: usize) -> Self {
        Self(if place < u32::MAX as usize { place as u32 } else { u32::MAX })
    }

    /// The place, counted from 0.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// One candidate: the instance, its load and its health. Derefs to the [`Instance`].
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(super) member: Arc<Member>,
    pub(super) vitals: Arc<Vitals>,
    /// Which life of the vitals this endpoint belongs to; an outcome of an earlier life says nothing about this one.
    pub(super) life: u32,
    /// Listed no more, perhaps alive: picked only when nothing better is left.
    pub(super) suspect: bool,
    pub(super) weight: NonZeroU16,
    pub(super) clock: Arc<Clock>,
}

impl Endpoint {
    /// The instance's id.
    pub fn id(&self) -> &InstanceId {
        self.member.id()
    }

    /// The instance and what ZooKeeper knows of its node.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The share of traffic it wants relative to the others.
    pub fn weight(&self) -> NonZeroU16 {
        self.weight
    }

    /// Whether it is a suspect: no longer listed, but perhaps alive.
    pub fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The number of calls that this balancer has under way to it. 0 when in-flight calls are not [tracked](super::Tracking).
    pub fn in_flight(&self) -> u32 {
        self.vitals.in_flight()
    }

    /// The peak-sensitive moving average of its answer times, decayed up to `now`: a slower answer counts in full at once, a
    /// faster one gradually, and without news it sinks towards zero within a few times [`BalancerOptions::decay`](super::BalancerOptions).
    /// `None` before the first answer, or when latency is not [tracked](super::Tracking).
    pub fn latency(&self, now: Instant) -> Option<Duration> {
        self.vitals.latency(*self.clock, self.clock.at(now)).map(|nanos| Duration::from_nanos(nanos as u64))
    }

    /// The moving share of its calls that succeeded, 1 for one that never failed. Cancelled calls do not count.
    pub fn success_rate(&self) -> f64 {
        f64::from(self.vitals.success())
    }

    /// Its phase, its load and what its calls were like, in words.
    pub(super) fn in_words(&self, is_panic: bool, is_full: bool) -> String {
        let now = Instant::now();
        let phase = match self.phase() {
            Phase::Available if is_full => {
                "available, and not picked: it has as many calls under way as it may".to_owned()
            }
            Phase::Available if self.vitals.ramp_end() > self.clock.at(now) => {
                "available, picked less often because it is new".to_owned()
            }
            Phase::Available => "available".to_owned(),
            Phase::Dropped => "not picked: it could not be dialled".to_owned(),
            Phase::Ejected { .. } if is_panic => {
                "ejected, and picked all the same because too few are available".to_owned()
            }
            Phase::Ejected { until } if until > now => format!("ejected for {:.1?} more", until - now),
            Phase::Ejected { .. } => "ejected, and the next probe may go out".to_owned(),
            Phase::Probing => "ejected, and one call is finding out whether it is well".to_owned(),
        };
        let latency =
            self.latency(now).map_or(String::new(), |latency| format!(", answers in {latency:.1?}"));
        let succeed = 100.0 * self.success_rate();
        format!("{phase}; {} calls in flight, {succeed:.0} % succeed{latency}", self.in_flight())
    }

    /// Its phase: whether the balancer picks it.
    pub fn phase(&self) -> Phase {
        self.vitals.phase(*self.clock)
    }
}

impl std::ops::Deref for Endpoint {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.member
    }
}
