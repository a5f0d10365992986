//! What changed in a balancer's opinion, for whoever counts, logs or alerts.

use std::num::NonZeroU32;

use tokio::time::Instant;

use super::ejection::Cause;
use crate::instance::InstanceId;

/// One change of opinion.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// When, by the clock of the call that brought it about.
    pub at: Instant,
    /// What changed.
    pub change: Change,
}

/// What changed. Each [`Ejected`](Self::Ejected) or [`Dropped`](Self::Dropped) instance is some time
/// [`Available`](Self::Available) or [`Gone`](Self::Gone): whoever keeps the ids of the one until the other knows who is not
/// picked.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Change {
    /// An instance that was ejected or dropped is picked again: it passed its probes, was restarted, or is listed again.
    Available {
        /// Which.
        instance: InstanceId,
    },
    /// A suspect could not be dialled and is not picked until it is listed again.
    Dropped {
        /// Which.
        instance: InstanceId,
    },
    /// An instance is not picked for a while.
    Ejected {
        /// Which.
        instance: InstanceId,
        /// Why.
        cause: Cause,
        /// When it may be probed.
        until: Instant,
        /// How many ejections in a row this is.
        times: NonZeroU32,
    },
    /// An instance that was ejected or dropped is neither listed nor a suspect any more.
    Gone {
        /// Which.
        instance: InstanceId,
    },
    /// Too few instances are available: ejections are ignored from now on.
    PanicBegan {
        /// How many are available.
        available: usize,
        /// Of how many.
        total: usize,
    },
    /// Enough instances are available again.
    PanicEnded,
    /// One call is under way to find out whether an ejected instance is well again. It is still ejected, whatever becomes of the
    /// call, until [`Available`](Self::Available) or [`Gone`](Self::Gone) says otherwise.
    Probing {
        /// Which.
        instance: InstanceId,
    },
}

/// Is told each [`Event`] at once, by the thread whose call brought it about: `pick` for [`Change::Probing`], `finish` or
/// `update` for the others. It must be quick, and must not call the balancer. Closures are observers.
pub trait Observer: Send + Sync + 'static {
    /// Something changed.
    fn observe(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event) {
        self(event);
    }
}
