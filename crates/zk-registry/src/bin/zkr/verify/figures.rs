//! What was measured, beside what is promised.

use std::time::Duration;

use serde::Serialize;
use zk_registry::{Snapshot, Zxid};

/// What is timed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measure {
    Gone,
    Registered,
    Seen,
    Updated,
    Withdrawn,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    taken: Vec<(Measure, Duration)>,
    claims: usize,
    broken_claims: usize,
    last: Option<(u64, Zxid)>,
    looks: usize,
    backward: usize,
}

/// A promise, its bound, and what was measured.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) promise: &'static str,
    pub(super) bound: String,
    pub(super) median: String,
    pub(super) worst: String,
    pub(super) kept: bool,
}

impl Figures {
    pub(super) fn took(&mut self, what: Measure, time: Duration) {
        self.taken.push((what, time));
    }

    /// A snapshot said that it has a write. Whether it has.
    pub(super) fn claimed(&mut self, has_it: bool) {
        self.claims += 1;
        self.broken_claims += usize::from(!has_it);
    }

    /// The reader looked at a snapshot.
    pub(super) fn look(&mut self, snapshot: &Snapshot) {
        let now = (snapshot.revision(), snapshot.watermark());
        self.looks += 1;
        self.backward += usize::from(self.last.is_some_and(|last| now.0 < last.0 || now.1 < last.1));
        self.last = Some(now);
    }

    /// The table.
    pub(super) fn rows(&self, asked: Duration, granted: Duration) -> Vec<Row> {
        let timed = [
            (Measure::Registered, "a registration is acknowledged"),
            (Measure::Seen, "what is registered is seen by a live reader"),
            (Measure::Updated, "a changed weight is seen by a live reader"),
            (Measure::Withdrawn, "a withdrawal is acknowledged"),
            (Measure::Gone, "what is withdrawn is gone for a live reader"),
        ];
        let mut rows: Vec<_> = timed.into_iter().map(|(what, promise)| self.timed(what, promise)).collect();
        rows.push(counted(
            "a snapshot that claims to hold a change holds it",
            self.broken_claims,
            self.claims,
        ));
        rows.push(counted("revision and watermark never go back", self.backward, self.looks));
        rows.push(Row {
            promise: "the session timeout is the one that was asked for",
            bound: format!("{asked:?}"),
            median: "-".to_owned(),
            worst: format!("{granted:?}"),
            kept: asked == granted,
        });
        rows
    }

    fn timed(&self, what: Measure, promise: &'static str) -> Row {
        let taken = self.taken.iter().filter(|(measure, _)| *measure == what).map(|(_, time)| *time);
        let mut taken: Vec<_> = taken.collect();
        taken.sort_unstable();
        let (median, worst) = (taken.get(taken.len() / 2), taken.last());
        // Of acknowledgements nothing is promised but that they come.
        let bound = (!matches!(what, Measure::Registered | Measure::Withdrawn)).then_some(LATEST);
        let show =
            |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1?}"));
        Row {
            promise,
            bound: bound.map_or_else(|| "-".to_owned(), |bound| format!("{bound:?}")),
            median: show(median),
            worst: show(worst),
            kept: worst.is_some_and(|worst| bound.is_none_or(|bound| *worst <= bound)),
        }
    }
}

fn counted(promise: &'static str, broken: usize, of: usize) -> Row {
    let worst = format!("{} of {of}", of - broken);
    Row { promise, bound: "always".to_owned(), median: "-".to_owned(), worst, kept: broken == 0 && of > 0 }
}

/// For how long at most a live snapshot lacks what is registered, or lists what is withdrawn: a server may be `syncLimit` behind its
/// leader and still answer (docs/SERVICE-LEVEL.md).
const LATEST: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_late_broken_or_never_seen_is_not_kept() {
        let second = Duration::from_secs(1);
        let mut figures = Figures::default();
        assert!(figures.rows(second, second).iter().take(7).all(|row| !row.kept));
        for what in [Measure::Registered, Measure::Seen, Measure::Updated, Measure::Withdrawn, Measure::Gone]
        {
            figures.took(what, second);
        }
        figures.claimed(true);
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), []);
        figures.look(&snapshot);
        assert!(figures.rows(second, second).iter().all(|row| row.kept));
        assert!(!figures.rows(second, 2 * second)[7].kept);
        figures.took(Measure::Seen, 5 * second);
        figures.claimed(false);
        figures.look(&snapshot.with_revision(0));
        let kept: Vec<_> = figures.rows(second, second).iter().map(|row| row.kept).collect();
        assert_eq!(kept, [true, false, true, true, true, false, false, true]);
    }
}
