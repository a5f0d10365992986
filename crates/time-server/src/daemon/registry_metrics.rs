//! The figures of the registry, read whenever the metrics are asked for.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use zk_registry::{MetricKind, Registry};

/// Keeps the registry alive, but not open.
#[derive(Debug)]
pub(crate) struct RegistryCollector(pub(crate) Registry);

impl Collector for RegistryCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let samples = self.0.stats().samples();
        for of_one in samples.chunk_by(|one, next| one.metric.name == next.metric.name) {
            let Some(metric) = of_one.first().map(|sample| sample.metric) else { continue };
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                _ => MetricType::Gauge,
            };
            // The encoder appends the suffix itself.
            let name = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            let mut encoder = encoder.encode_descriptor(name, metric.help, None, kind)?;
            for sample in of_one {
                let mut encoder = encoder.encode_family(&sample.labels)?;
                match metric.kind {
                    MetricKind::Counter => {
                        encoder.encode_counter::<NoLabelSet, f64, f64>(&sample.value, None)?;
                    }
                    _ => encoder.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }
}
