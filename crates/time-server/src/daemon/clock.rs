//! The one source of time that the service hands out.
//!
//! Deadlines do not come from here: they are measured on tokio's clock, which never jumps.

use std::fmt::Debug;

use jiff::Timestamp;

/// Tells the time of day.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock. It jumps when it is set, as everything that tells the time of day does.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

const fn _object_safe(_: &dyn Clock) {}
