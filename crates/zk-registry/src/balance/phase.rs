//! The phase of an instance: whether a balancer picks it; and the one word in which the phase is kept.

use tokio::time::Instant;

use super::clock::Clock;

/// The phase of an endpoint: whether a balancer picks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Phase {
    /// The endpoint is picked.
    Available,
    /// The endpoint is a suspect that could not be dialled. It is not picked until it is listed again.
    Dropped,
    /// The endpoint failed. It is not picked before `until`, and afterwards only with one call at a time.
    Ejected {
        /// When the first probe may go out.
        until: Instant,
    },
    /// A single call is under way to find out whether the endpoint may return.
    Probing,
}

/// The word that a pick looks at: open, or why not.
pub(super) struct Gate;

impl Gate {
    pub(super) const OPEN: u64 = 0;
    pub(super) const DROPPED: u64 = 1;
    /// The flag of a probe under way; the time in the word is the one after which it is waited for no longer.
    const PROBING: u64 = 1 << 63;
    /// The flag of an instance that could not be dialled.
    const UNREACHABLE: u64 = 1 << 62;
    /// The rest of the word: a time. 2^62 nanoseconds are 146 years.
    const TIME: u64 = Self::UNREACHABLE - 1;

    /// Any other word is the time up to which the instance is ejected, with the flags.
    pub(super) const fn ejected(until: u64, reach: Reach) -> u64 {
        let (least, most) = (Self::DROPPED + 1, Self::TIME);
        let until = if until < least {
            least
        } else if until > most {
            most
        } else {
            until
        };
        match reach {
            Reach::Answers => until,
            Reach::Unreachable => until | Self::UNREACHABLE,
        }
    }

    /// The phase that the word says.
    pub(super) fn phase(word: u64, clock: Clock) -> Phase {
        match word {
            Self::OPEN => Phase::Available,
            Self::DROPPED => Phase::Dropped,
            word if word & Self::PROBING != 0 => Phase::Probing,
            until => Phase::Ejected { until: clock.instant(until & Self::TIME) },
        }
    }

    /// Whether the instance is ejected, probed or not.
    pub(super) const fn is_out(word: u64) -> bool {
        word > Self::DROPPED
    }

    /// Whether an ejected instance could be dialled when it was ejected.
    pub(super) const fn reach(word: u64) -> Reach {
        if word & Self::UNREACHABLE == 0 { Reach::Answers } else { Reach::Unreachable }
    }

    /// The time from which an ejected instance may be probed.
    pub(super) const fn due(word: u64) -> u64 {
        word & Self::TIME
    }

    /// Whether a probe may go out at `at`.
    pub(super) const fn is_due(word: u64, at: u64) -> bool {
        Self::is_out(word) && at >= Self::due(word)
    }
}

/// The reach of an ejected instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// It could be dialled: it failed otherwise.
    Answers,
    /// It could not be dialled.
    Unreachable,
}

/// The claim of a probe: the gate's word while that probe is under way, but for the reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claim(u64);

impl Claim {
    /// The claim of a probe that has time until `deadline`.
    pub(super) const fn until(deadline: u64) -> Self {
        Self(Gate::PROBING | Gate::ejected(deadline, Reach::Answers))
    }

    /// The word of a gate that was `seen`, while the probe is under way.
    pub(super) const fn word(self, seen: u64) -> u64 {
        self.0 | seen & Gate::UNREACHABLE
    }

    /// Whether this claim is the one in `word`.
    pub(super) const fn holds(self, word: u64) -> bool {
        word & !Gate::UNREACHABLE == self.0
    }
}
