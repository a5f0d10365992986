//! Pure: one line of a benchmark, and whether it keeps what was promised.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::samples::Samples;

/// A measurement: ours beside a reference, against a promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The name of the measurement.
    pub what: String,
    /// The unit of the values.
    pub unit: Unit,
    /// One value per run.
    pub ours: Samples,
    /// The same of something else, from runs in between ours.
    pub reference: Option<Reference>,
    /// The promise.
    pub bound: Option<Bound>,
}

/// A measurement beside ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reference {
    /// The name of the reference.
    pub name: String,
    /// One value per run.
    pub samples: Samples,
    /// Whether the reference is a rival, so that a reader wants to know which is ahead; else it says what is possible.
    #[serde(default)]
    pub rival: bool,
}

/// The unit of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things.
    Count,
    /// Things per second.
    Rate,
    /// Nanoseconds.
    Time,
}

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not less, in the row's unit.
    AtLeast(f64),
    /// Not more, in the row's unit.
    AtMost(f64),
    /// Ours divided by the reference is not less.
    RatioAtLeast(f64),
    /// Ours divided by the reference is not more.
    RatioAtMost(f64),
}

/// How ours stands to a rival's, by how many times; infinitely when one of them is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Ours is better.
    Ahead(f64),
    /// Ours is worse.
    Behind(f64),
    /// The medians lie within each other's spread, or differ by no more than 5 %.
    Level,
}

/// How a row stands to its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the median keeps it.
    pub met: bool,
    /// In how many runs it was kept.
    pub runs_met: usize,
    /// Of how many.
    pub runs: usize,
}

impl Row {
    /// A row without reference and promise.
    pub fn new(what: impl Into<String>, unit: Unit, ours: Samples) -> Self {
        Self { what: what.into(), unit, ours, reference: None, bound: None }
    }

    /// Puts a reference beside ours.
    pub fn beside(mut self, name: impl Into<String>, samples: Samples) -> Self {
        self.reference = Some(Reference { name: name.into(), samples, rival: false });
        self
    }

    /// Puts a rival's figures beside ours.
    pub fn against(mut self, name: impl Into<String>, samples: Samples) -> Self {
        self.reference = Some(Reference { name: name.into(), samples, rival: true });
        self
    }

    /// States the promise.
    pub fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Our median divided by the reference's; `None` without a reference, or with one that is 0.
    pub fn ratio(&self) -> Option<f64> {
        let reference = self.reference.as_ref()?.samples.median();
        (reference != 0.0).then(|| self.ours.median() / reference)
    }

    /// The better of both; `None` without a rival.
    pub fn standing(&self) -> Option<Standing> {
        let rival = &self.reference.as_ref().filter(|reference| reference.rival)?.samples;
        let (ours, theirs) = (self.ours.median(), rival.median());
        let (more, less) = if ours < theirs { (theirs, ours) } else { (ours, theirs) };
        if more - less <= (self.ours.spread() + rival.spread()).max(more * LEVEL) {
            Some(Standing::Level)
        } else if (ours > theirs) == (self.unit == Unit::Rate) {
            Some(Standing::Ahead(more / less))
        } else {
            Some(Standing::Behind(more / less))
        }
    }

    /// `None` without a promise, and for a promised ratio without a reference.
    pub fn verdict(&self) -> Option<Verdict> {
        let bound = self.bound?;
        let keeps = |value: f64| self.keeps(bound, value);
        Some(Verdict {
            met: keeps(self.ours.median())?,
            runs_met: self.ours.values().iter().filter(|value| keeps(**value) == Some(true)).count(),
            runs: self.ours.values().len(),
        })
    }

    fn keeps(&self, bound: Bound, value: f64) -> Option<bool> {
        let reference = || Some(self.reference.as_ref()?.samples.median());
        Some(match bound {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
            Bound::RatioAtLeast(least) => value >= least * reference()?,
            Bound::RatioAtMost(most) => value <= most * reference()?,
        })
    }
}

impl Bound {
    /// Not longer than this.
    pub fn within(time: Duration) -> Self {
        Self::AtMost(time.as_nanos() as f64)
    }

    /// The promise in words, `at most 1.0 ms`.
    pub fn words(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(least) => format!("at least {}", unit.show(least)),
            Self::AtMost(most) => format!("at most {}", unit.show(most)),
            Self::RatioAtLeast(least) => format!("at least {least} x"),
            Self::RatioAtMost(most) => format!("at most {most} x"),
        }
    }
}

/// Figures that differ by a smaller part are equal.
const LEVEL: f64 = 0.05;

/// A ratio as people read it: two decimals, or as many as show two digits of it.
pub fn ratio_words(ratio: f64) -> String {
    match ratio {
        0.0 => "0".to_owned(),
        ..0.0995 => format!("{ratio:.*}", (1.0 - ratio.log10().floor()) as usize),
        _ => format!("{ratio:.2}"),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.met { "met" } else { "missed" };
        // Runs that disagree with their median are the machine's noise, or a promise that is too tight.
        if self.runs_met == if self.met { self.runs } else { 0 } {
            f.write_str(word)
        } else {
            write!(f, "{word}, kept in {} of {} runs", self.runs_met, self.runs)
        }
    }
}

impl Unit {
    /// A value as people read it: three digits and a prefix.
    pub fn show(self, value: f64) -> String {
        let (step, names): (f64, &[&str]) = match self {
            Self::Bytes => (1024.0, &["B", "KiB", "MiB", "GiB"]),
            Self::Count => (1000.0, &["", "k", "M", "G"]),
            Self::Rate => (1000.0, &["/s", "k/s", "M/s", "G/s"]),
            Self::Time => (1000.0, &["ns", "µs", "ms", "s"]),
        };
        let mut scaled = value;
        let mut names = names.iter().peekable();
        let mut name = names.next().copied().unwrap_or_default();
        while scaled.abs() >= step * 0.9995
            && let Some(next) = names.next()
        {
            scaled /= step;
            name = next;
        }
        let decimals = match scaled.abs() {
            whole if whole >= 100.0 || whole == 0.0 => 0,
            whole if whole >= 10.0 => 1,
            _ => 2,
        };
        format!("{scaled:.decimals$} {name}").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ours: &[f64]) -> Row {
        Row::new("work", Unit::Time, ours.iter().copied().collect())
    }

    #[test]
    fn values_are_shown_with_three_digits() {
        assert_eq!(Unit::Time.show(0.0), "0 ns");
        assert_eq!(Unit::Time.show(7.25), "7.25 ns");
        assert_eq!(Unit::Time.show(999.9), "1.00 µs");
        assert_eq!(Unit::Time.show(123_456.0), "123 µs");
        assert_eq!(Unit::Time.show(12_345_678_900.0), "12.3 s");
        assert_eq!(Unit::Bytes.show(1536.0), "1.50 KiB");
        assert_eq!(Unit::Count.show(42.0), "42.0");
        assert_eq!(Unit::Rate.show(14_200.0), "14.2 k/s");
    }

    #[test]
    fn a_bound_is_judged_by_the_median() {
        let verdict = row(&[90.0, 95.0, 300.0]).bound(Bound::AtMost(100.0)).verdict().unwrap();
        assert_eq!(verdict, Verdict { met: true, runs_met: 2, runs: 3 });
        assert_eq!(verdict.to_string(), "met, kept in 2 of 3 runs");
        let verdict = row(&[190.0, 195.0]).bound(Bound::AtMost(100.0)).verdict().unwrap();
        assert_eq!(verdict.to_string(), "missed");
        assert!(row(&[100.0]).bound(Bound::AtLeast(100.0)).verdict().unwrap().met);
    }

    #[test]
    fn a_ratio_is_ours_by_the_reference() {
        let row = row(&[150.0]).beside("other", [100.0, 50.0, 200.0].into_iter().collect());
        assert_eq!(row.ratio(), Some(1.5));
        assert!(row.clone().bound(Bound::RatioAtMost(1.5)).verdict().unwrap().met);
        assert!(!row.bound(Bound::RatioAtLeast(1.6)).verdict().unwrap().met);
    }

    #[test]
    fn who_is_ahead_depends_on_what_is_counted() {
        let against = |ours: &[f64], unit: Unit, theirs: &[f64]| {
            let samples = |values: &[f64]| values.iter().copied().collect();
            Row::new("work", unit, samples(ours)).against("them", samples(theirs)).standing().unwrap()
        };
        assert_eq!(against(&[2.0], Unit::Time, &[10.0]), Standing::Ahead(5.0));
        assert_eq!(against(&[10.0], Unit::Bytes, &[2.0]), Standing::Behind(5.0));
        assert_eq!(against(&[2.0], Unit::Rate, &[10.0]), Standing::Behind(5.0));
        assert_eq!(against(&[10.0], Unit::Rate, &[2.0]), Standing::Ahead(5.0));
        assert_eq!(against(&[0.0], Unit::Count, &[6.0]), Standing::Ahead(f64::INFINITY));
        assert_eq!(against(&[0.0], Unit::Count, &[0.0]), Standing::Level);
        assert_eq!(row(&[1.0]).beside("what is possible", [2.0].into_iter().collect()).standing(), None);
    }

    #[test]
    fn nobody_is_ahead_by_less_than_the_spread() {
        let standing = |theirs: &[f64]| {
            row(&[90.0, 100.0, 110.0]).against("them", theirs.iter().copied().collect()).standing().unwrap()
        };
        assert_eq!(standing(&[110.0, 120.0, 130.0]), Standing::Level);
        assert_eq!(standing(&[115.0, 125.0, 135.0]), Standing::Ahead(1.25));
    }

    #[test]
    fn small_ratios_keep_two_digits() {
        assert_eq!([3.448, 0.5, 0.1, 0.0].map(ratio_words), ["3.45", "0.50", "0.10", "0"]);
        assert_eq!([0.094, 0.012_34, 0.000_136].map(ratio_words), ["0.094", "0.012", "0.00014"]);
    }

    #[test]
    fn without_a_reference_there_is_no_ratio_to_judge() {
        assert_eq!(row(&[1.0]).bound(Bound::RatioAtMost(2.0)).verdict(), None);
        assert_eq!(row(&[1.0]).beside("nothing", [0.0].into_iter().collect()).ratio(), None);
        assert_eq!(row(&[1.0]).verdict(), None);
    }
}
