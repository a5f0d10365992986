//! The outcome of a call, and the reason for its pick: together they decide what is learned from it.

use std::time::Duration;

/// The outcome of a call, seen from the caller.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Outcome {
    /// The caller gave up. Neither success nor failure. If the wait exceeds the known latency, the latency is raised to it.
    Cancelled,
    /// The instance failed: an error, a broken connection, no answer in time. Part of the work may have been done.
    Failure,
    /// The instance answered that it has too much to do, and did nothing. No failure; safe to retry elsewhere. It is left alone
    /// for as long as it asks, up to the longest ejection, unless as many are ejected as may be.
    Overloaded {
        /// The time for which it wants no further calls.
        retry_after: Duration,
    },
    /// The instance answered at once that it cannot, and did nothing. Counts as a failure; safe to retry elsewhere.
    Refused,
    /// An answer came. One that says no (not found, not allowed) is a success too: the instance works.
    Success,
    /// The dial failed: the instance was not reached, and did nothing. Safe to retry elsewhere. Ejects every instance with that
    /// address at once, whatever share is ejected already; drops a suspect.
    Unreachable,
}

/// The reason for which an instance was picked. It decides what the call's failure means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PickedAs {
    /// No better instance was left; this one was not available. Its success counts for its return, its failure for nothing.
    LastResort,
    /// The instance is available.
    Plain,
    /// The instance is ejected and may return: this one call finds out.
    Probe,
}
