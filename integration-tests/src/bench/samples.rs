//! Pure: a few measured values and what they say together.
//!
//! Medians, not means: one stalled run on a busy machine says nothing about the code.

use serde::{Deserialize, Serialize};

/// One value per run, in the order of the runs. Never empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// The values themselves, in the order of the runs.
    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle value; between the two middle ones of an even number, their mean.
    pub fn median(&self) -> f64 {
        median_of(self.0.clone())
    }

    /// The median distance from the median: half of the runs lie at most this far from it.
    pub fn spread(&self) -> f64 {
        let median = self.median();
        median_of(self.0.iter().map(|value| (value - median).abs()).collect())
    }

    /// [`Samples::spread`] as a part of the median, 0.05 for five percent; 0 when the median is 0.
    pub fn relative_spread(&self) -> f64 {
        let median = self.median();
        if median == 0.0 { 0.0 } else { self.spread() / median.abs() }
    }

    /// The smallest value.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// The smallest value that at least this part of all values does not exceed: 0.99 for the 99th percentile
    /// (nearest rank).
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part.clamp(0.0, 1.0) * sorted.len() as f64).ceil() as usize;
        sorted[rank.max(1) - 1]
    }
}

impl FromIterator<f64> for Samples {
    /// # Panics
    ///
    /// When there is no value, or one that is no number: a benchmark that measured nothing is broken.
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        assert!(
            values.iter().all(|value| value.is_finite()),
            "not every measured value is a number: {values:?}"
        );
        Self(values)
    }
}

fn median_of(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        values.iter().copied().collect()
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(samples(&[9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(samples(&[4.0, 1.0, 3.0, 2.0]).median(), 2.5);
        assert_eq!(samples(&[7.0]).median(), 7.0);
    }

    #[test]
    fn one_stalled_run_moves_neither_median_nor_spread_much() {
        let calm = samples(&[10.0, 11.0, 10.0, 9.0, 10.0]);
        let stalled = samples(&[10.0, 11.0, 10.0, 9.0, 1000.0]);
        assert_eq!(calm.median(), stalled.median());
        assert_eq!((calm.spread(), stalled.spread()), (0.0, 1.0));
        assert_eq!(stalled.max(), 1000.0);
    }

    #[test]
    fn half_of_the_runs_lie_within_the_spread() {
        let values = samples(&[1.0, 2.0, 3.0, 4.0, 100.0, 5.0, 6.0]);
        let (median, spread) = (values.median(), values.spread());
        let within = values.values().iter().filter(|value| (*value - median).abs() <= spread).count();
        assert!(within * 2 >= values.values().len(), "{within} within {median} ± {spread}");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Samples = (1..=100).map(f64::from).collect();
        assert_eq!(values.percentile(0.5), 50.0);
        assert_eq!(values.percentile(0.99), 99.0);
        assert_eq!(values.percentile(1.0), 100.0);
        assert_eq!(values.percentile(0.0), 1.0);
        assert_eq!(samples(&[3.0]).percentile(0.99), 3.0);
    }

    #[test]
    fn a_spread_around_zero_is_no_division_by_zero() {
        assert_eq!(samples(&[0.0, 0.0, 5.0]).relative_spread(), 0.0);
    }

    #[test]
    #[should_panic(expected = "nothing was measured")]
    fn nothing_is_not_a_measurement() {
        samples(&[]);
    }
}
