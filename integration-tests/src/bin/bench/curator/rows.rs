//! The frame of this subject's rows.

use std::time::Duration;

use integration_tests::bench::{Row, Runs, Samples, Unit, World};

use super::driver::Curator;

/// Ours beside Curator's.
pub(super) fn row(
    what: impl Into<String>,
    unit: Unit,
    (ours, theirs): (Samples, Samples),
    curator: &Curator,
) -> Row {
    Row::new(what, unit, ours).against(curator.name(), theirs)
}

pub(super) fn samples((ours, theirs): (Vec<f64>, Vec<f64>)) -> (Samples, Samples) {
    (ours.into_iter().collect(), theirs.into_iter().collect())
}

/// The runs of a measurement that takes seconds or is always the same.
pub(super) fn few(world: &World) -> Runs {
    Runs(world.runs.0.min(3))
}

/// As ours by default.
pub(super) const SESSION: Duration = Duration::from_secs(10);
