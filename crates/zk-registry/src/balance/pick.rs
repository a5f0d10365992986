//! One question to a balancer, and the reasons for having no answer.

use std::fmt;

use tokio::time::Instant;

use super::clock::Clock;
use super::entropy::Entropy;
use super::hash;
use crate::instance::InstanceId;

/// The question to a balancer: the key of the call, the time, a source of chance, and the instances tried before.
pub struct Pick<'a> {
    /// The key that calls which belong together share; strategies that do not hash ignore it.
    pub key: Option<Key>,
    /// The time; `None`: tokio's clock was not looked at, because most picks need no time, and the clock costs as much as a pick.
    now: Option<Instant>,
    /// The source of chance. A small generator of the calling thread is fastest.
    pub rng: &'a mut dyn Entropy,
    /// The instances that must not be picked, because this call tried them already.
    pub avoid: &'a [InstanceId],
    pub(super) attempt: u32,
    /// The time by the balancer's clock; 0 = not worked out, because most picks do not need it.
    pub(super) at: u64,
}

/// How many proposals of a picker are judged before all instances are gone through.
const ATTEMPTS: u32 = 4;

impl<'a> Pick<'a> {
    /// A pick at `now`, without key, that avoids nothing.
    pub fn new(now: Instant, rng: &'a mut dyn Entropy) -> Self {
        Self { now: Some(now), ..Self::by_clock(rng) }
    }

    /// A pick by tokio's clock, which is looked at if the time matters; without key, it avoids nothing.
    #[inline]
    pub fn by_clock(rng: &'a mut dyn Entropy) -> Self {
        Self { key: None, now: None, rng, avoid: &[], attempt: 0, at: 0 }
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Key>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the instances that must not be picked.
    #[must_use]
    pub fn avoiding(mut self, avoid: &'a [InstanceId]) -> Self {
        self.avoid = avoid;
        self
    }

    /// The time of this pick.
    #[inline]
    pub fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }

    /// The time of this pick, if anything has asked for it.
    #[inline]
    pub(super) fn known_now(&self) -> Option<Instant> {
        self.now
    }

    /// The number of the picker's proposals for this call that were rejected so far: 0 the first time. A picker that would propose
    /// the same endpoint again must take it into account.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether a proposal that is rejected now would be the last one.
    pub(super) fn is_last_try(&self) -> bool {
        self.attempt + 1 == ATTEMPTS
    }

    /// The time by `clock`.
    pub(super) fn at(&mut self, clock: Clock) -> u64 {
        if self.at == 0 { clock.at(self.now()) } else { self.at }
    }

    /// A random number below `len`, which must not be 0: one call of the generator.
    pub fn below(&mut self, len: usize) -> usize {
        hash::below(hash::halves(self.rng.next_u64()).0, len)
    }
}

impl fmt::Debug for Pick<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pick")
            .field("key", &self.key)
            .field("now", &self.now)
            .field("avoid", &self.avoid)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The key of calls that belong together: the hash of a user, a document, a cache key.
///
/// Made from text or bytes it is the same in every process and every version of this library.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key(u64);

impl Key {
    /// The key as a number, spread evenly.
    pub(super) const fn hash(self) -> u64 {
        self.0
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(hash::bytes(text.as_bytes()))
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self(hash::bytes(bytes))
    }
}

impl From<u64> for Key {
    fn from(number: u64) -> Self {
        Self(hash::nth(number, 0))
    }
}

/// The reason for which no instance can be picked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PickError {
    /// Every candidate is among those to avoid: all were tried. Start over with an empty list, or give up.
    AllExcluded,
    /// The registry says that the service has no instance.
    Empty,
    /// Every instance that could be picked has as many calls under way as it may:
    /// [`BalancerOptions::max_in_flight`](super::BalancerOptions). Wait until one is over, or turn the call away.
    Full,
    /// ZooKeeper has not answered since the start, so no instance is known yet.
    Pending,
    /// The service had no instance when ZooKeeper was last heard.
    Stale {
        /// The time up to which that is known to have been true.
        since: Instant,
    },
    /// There are instances, but none of them takes new calls.
    Unusable {
        /// The number of instances that finish what they have and take nothing new.
        draining: usize,
        /// The number of instances without an address to dial.
        undialable: usize,
    },
}

impl fmt::Display for PickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllExcluded => f.write_str("every instance was tried already"),
            Self::Empty => f.write_str("the service has no instance"),
            Self::Full => f.write_str("every instance has as many calls under way as it may"),
            Self::Pending => f.write_str("the instances are not known yet: ZooKeeper has not answered"),
            Self::Stale { since } => {
                let age = Instant::now().saturating_duration_since(*since);
                write!(f, "the service had no instance {age:.1?} ago, and ZooKeeper has not been heard since")
            }
            Self::Unusable { draining, undialable } => {
                write!(f, "no instance takes calls: {draining} draining, {undialable} without an address")
            }
        }
    }
}

impl std::error::Error for PickError {}
