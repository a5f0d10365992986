//! The faults, changes and worst cases of a run, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts and worst cases of one run; `Display` is the table.
#[derive(Debug, Default)]
pub struct SoakReport(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    faults: BTreeMap<String, u64>,
    changes: BTreeMap<&'static str, u64>,
    worst: BTreeMap<&'static str, Duration>,
    quiet: u64,
}

impl SoakReport {
    /// How many faults were injected.
    pub fn faults(&self) -> u64 {
        self.counts().faults.values().sum()
    }

    /// How many quiet periods ended with every reader in agreement with ZooKeeper.
    pub fn rounds(&self) -> u64 {
        self.counts().quiet
    }

    pub(super) fn fault(&self, what: &str) {
        *self.counts().faults.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn change(&self, what: &'static str) {
        *self.counts().changes.entry(what).or_default() += 1;
    }

    pub(super) fn worst(&self, what: &'static str, lasting: Duration) {
        let mut counts = self.counts();
        let worst = counts.worst.entry(what).or_default();
        *worst = lasting.max(*worst);
    }

    pub(super) fn quiet(&self, took: Duration) {
        self.counts().quiet += 1;
        self.worst("until a quiet fleet agreed", took);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for SoakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        writeln!(f, "{:50} {:>9}", "faults injected", counts.faults.values().sum::<u64>())?;
        for (what, count) in &counts.faults {
            writeln!(f, "  {what:48} {count:>9}")?;
        }
        writeln!(f, "changes made")?;
        for (what, count) in &counts.changes {
            writeln!(f, "  {what:48} {count:>9}")?;
        }
        writeln!(f, "{:50} {:>9}", "quiet periods, all without a difference", counts.quiet)?;
        writeln!(f, "worst observed")?;
        for (what, lasting) in &counts.worst {
            writeln!(f, "  {what:48} {:>6} ms", lasting.as_millis())?;
        }
        Ok(())
    }
}
