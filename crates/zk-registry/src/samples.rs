//! Figures under the names by which a monitoring system knows them.

/// One figure with its name and labels, as Prometheus names them: for an exporter of any kind. An instance is never a label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// The metric.
    pub metric: &'static Metric,
    /// Each label's name and value. Those of one metric always have the same names, in the same order.
    pub labels: Vec<(&'static str, String)>,
    /// The value; of a counter it only grows.
    pub value: f64,
}

/// What is measured.
#[derive(Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// The name, with its unit and, of a counter, `_total`.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// How its values behave.
    pub kind: MetricKind,
}

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MetricKind {
    /// They only grow, and begin again at 0 with the process.
    Counter,
    /// They come and go.
    Gauge,
}

impl Metric {
    pub(crate) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Counter }
    }

    pub(crate) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricKind::Gauge }
    }

    pub(crate) fn sample<const N: usize>(
        &'static self,
        labels: [(&'static str, &str); N],
        value: f64,
    ) -> Sample {
        let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Sample { metric: self, labels, value }
    }
}
