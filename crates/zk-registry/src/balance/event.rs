//! The events of a balancer: each change of phase, for counters, logs and alerts.

use std::num::NonZeroU32;

use tokio::time::Instant;

use super::ejection::Cause;
use crate::instance::InstanceId;

/// An event: one change of an instance's phase, or of the whole set.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// The time, by the clock of the call that caused the change.
    pub at: Instant,
    /// The change.
    pub change: PhaseChange,
}

/// A change of phase. [`Ejected`](Self::Ejected) or [`Dropped`](Self::Dropped) is later followed by
/// [`Available`](Self::Available) or [`Gone`](Self::Gone): add ids on the first pair, remove them on the second, and the set
/// holds what is not picked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PhaseChange {
    /// An instance that was ejected or dropped is picked again: it passed its probes, was restarted, or is listed again.
    Available {
        /// The instance's id.
        instance: InstanceId,
    },
    /// A suspect could not be dialled and is not picked until it is listed again.
    Dropped {
        /// The instance's id.
        instance: InstanceId,
    },
    /// An instance is not picked for a while.
    Ejected {
        /// The instance's id.
        instance: InstanceId,
        /// The rule that ejected it.
        cause: Cause,
        /// The time from which it may be probed.
        until: Instant,
        /// The number of ejections in a row, this one included.
        times: NonZeroU32,
    },
    /// An instance that was ejected or dropped is neither listed nor a suspect any more.
    Gone {
        /// The instance's id.
        instance: InstanceId,
    },
    /// Too few instances are available: ejections are ignored from now on.
    PanicBegan {
        /// The number of listed instances that are available.
        available: usize,
        /// The number of listed instances.
        total: usize,
    },
    /// Enough instances are available again.
    PanicEnded,
    /// One call is under way to find out whether an ejected instance is well again. It is still ejected, whatever becomes of the
    /// call, until [`Available`](Self::Available) or [`Gone`](Self::Gone) says otherwise.
    Probing {
        /// The instance's id.
        instance: InstanceId,
    },
}

/// An observer receives each [`Event`] at once, on the thread whose call caused it: `pick` for [`PhaseChange::Probing`],
/// `finish` or `update` for the others. It must be quick and must not call the balancer. Closures are observers.
pub trait Observer: Send + Sync + 'static {
    /// Receives one event.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}
