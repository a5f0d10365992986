//! The reason for a pick, in one integer: what was refused before it and why, and by which rule it was picked at last.

use std::fmt;

/// The reason why a [`Lease`](super::Lease) is for its instance and no other. Its `Display` says it in words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Why(u16);

/// The rule by which an instance was picked, when it was not the strategy's proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    AnyOther = 1,
    Due,
    MayProbe,
    NothingBetter,
    Warming,
}

/// The reason for which a proposal was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    Dropped = 1,
    Ejected,
    Full,
    Tried,
    Unknown,
    Warming,
}

/// A reason, and each refusal, takes so many bits: the reason the lowest ones, the last refusal the next.
///
/// Together they are so short that a choice is returned in a register.
const BITS: u32 = 3;
const MASK: u16 = (1 << BITS) - 1;

impl Why {
    /// It was the strategy's first proposal.
    pub(super) const PROPOSED: Self = Self(0);
    /// Its probe was due.
    pub(super) const DUE: Self = Self(Reason::Due as u16);

    /// The same after one more proposal was refused.
    pub(super) const fn after(self, refusal: Refusal) -> Self {
        Self((self.0 & !MASK) << BITS | (refusal as u16) << BITS)
    }

    /// The same, but picked by a rule.
    pub(super) const fn because(self, reason: Reason) -> Self {
        Self(self.0 & !MASK | reason as u16)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refusals = (1..u16::BITS / BITS).rev().map(|place| self.0 >> (place * BITS) & MASK);
        for refusal in refusals {
            let words = match refusal {
                1 => "the strategy proposed a suspect that could not be dialled; ",
                2 => "the strategy proposed one that is ejected; ",
                3 => "the strategy proposed one that has as many calls under way as it may; ",
                4 => "the strategy proposed one that this call has tried; ",
                5 => "the strategy proposed one that is not there any more; ",
                6 => "the strategy proposed one that is new, and this call is not among its share; ",
                _ => continue,
            };
            f.write_str(words)?;
        }
        f.write_str(match self.0 & MASK {
            1 => "no proposal was accepted, so this is any other that is available",
            2 => "this one is ejected, and the probe is due that finds out whether it is well",
            3 => "none is available, and this one may be probed",
            4 => "none is available, so this is whatever is left",
            5 => "no proposal was accepted, and this one was refused only because it is new",
            _ => "the strategy proposed this one",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_named_in_its_order_and_then_the_rule() {
        assert_eq!(Why::PROPOSED.to_string(), "the strategy proposed this one");
        let why = Why::PROPOSED.after(Refusal::Ejected).after(Refusal::Tried);
        assert_eq!(
            why.to_string(),
            "the strategy proposed one that is ejected; the strategy proposed one that this call has tried; \
             the strategy proposed this one"
        );
        let four = (0..4).fold(Why::PROPOSED, |why, _| why.after(Refusal::Warming)).because(Reason::Warming);
        assert_eq!(four.to_string().matches("is new, and").count(), 4);
        assert!(four.to_string().ends_with("only because it is new"));
    }
}
