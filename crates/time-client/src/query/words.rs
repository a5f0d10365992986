//! Durations and shares, as people read them.

use std::time::Duration;

/// A duration for people: milliseconds with as many digits as are worth reading.
pub(crate) fn millis(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1e3;
    if ms < 100.0 { format!("{ms:.3} ms") } else { format!("{ms:.0} ms") }
}

/// A bar of at most [`BAR`] characters, and of at least one for a count above 0.
pub(crate) fn bar(count: u64, most: u64) -> String {
    let length = (count as f64 / most.max(1) as f64 * BAR as f64).round() as usize;
    "#".repeat(length.max(usize::from(count > 0)))
}

/// The bar of the instance that answered most.
const BAR: usize = 40;
