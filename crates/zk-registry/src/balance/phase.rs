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
    /// The flag of a probe under way; the rest of the word is the time after which it is waited for no longer.
    const PROBING: u64 = 1 << 63;

    /// Any other word is the time up to which the instance is ejected.
    pub(super) const fn ejected(until: u64) -> u64 {
        let (least, most) = (Self::DROPPED + 1, Self::PROBING - 1);
        if until < least {
            least
        } else if until > most {
            most
        } else {
            until
        }
    }

    /// The phase that the word says.
    pub(super) fn phase(word: u64, clock: Clock) -> Phase {
        match word {
            Self::OPEN => Phase::Available,
            Self::DROPPED => Phase::Dropped,
            word if word & Self::PROBING != 0 => Phase::Probing,
            until => Phase::Ejected { until: clock.instant(until) },
        }
    }

    /// Whether a probe may go out at `at`.
    pub(super) const fn is_due(word: u64, at: u64) -> bool {
        word > Self::DROPPED && at >= word & !Self::PROBING
    }
}

/// The claim of a probe: the gate's word while that probe is under way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Claim(pub(super) u64);

impl Claim {
    /// The claim of a probe that has time until `deadline`.
    pub(super) const fn until(deadline: u64) -> Self {
        Self(Gate::PROBING | Gate::ejected(deadline))
    }
}
