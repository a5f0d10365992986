//! What a balancer sees at this moment, in numbers: for a metrics exporter to read.

use super::balancer::Balancer;
use super::phase::Phase;
use crate::instance::ServiceName;
use crate::samples::{Metric, Sample};

/// The figures of a [`Balancer`] at one moment. Reading them goes through every endpoint, and costs a pick nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BalancerStats {
    /// The number of listed instances that are candidates.
    pub listed: usize,
    /// The number of those that are picked.
    pub available: usize,
    /// The number of those that are ejected and left alone.
    pub ejected: usize,
    /// The number of those of which a call finds out whether they are back.
    pub probing: usize,
    /// The number of suspects: listed no more, perhaps alive.
    pub suspects: usize,
    /// The number of calls under way. 0 when calls in flight are not [tracked](super::Tracking).
    pub in_flight: u64,
    /// Whether ejections are ignored, because too few instances are available.
    pub is_panicking: bool,
}

impl Balancer {
    /// What it sees now.
    pub fn stats(&self) -> BalancerStats {
        let mut stats = BalancerStats {
            suspects: self.suspects().map_or(0, |suspects| suspects.len()),
            is_panicking: self.is_panicking(),
            ..BalancerStats::default()
        };
        let Some(endpoints) = self.endpoints() else { return stats };
        stats.listed = endpoints.len();
        stats.in_flight = endpoints.total_in_flight();
        for endpoint in endpoints.iter() {
            match endpoint.phase() {
                Phase::Available => stats.available += 1,
                Phase::Probing => stats.probing += 1,
                Phase::Dropped | Phase::Ejected { .. } => stats.ejected += 1,
            }
        }
        stats
    }
}

static ENDPOINTS: Metric =
    Metric::gauge("zk_registry_balancer_endpoints", "The instances that a balancer chooses among, by phase.");
static SUSPECTS: Metric =
    Metric::gauge("zk_registry_balancer_suspects", "The instances that are listed no more, perhaps alive.");
static IN_FLIGHT: Metric = Metric::gauge("zk_registry_balancer_in_flight", "The calls under way.");
static PANIC: Metric = Metric::gauge(
    "zk_registry_balancer_panic",
    "Whether ejections are ignored, because too few instances are available.",
);

impl BalancerStats {
    /// The same figures, for a balancer of this service, under the names that docs/OBSERVABILITY.md lists.
    pub fn samples(&self, service: &ServiceName) -> Vec<Sample> {
        let of = |count: usize| count as f64;
        let service = ("service", service.as_str());
        let phases = [("available", self.available), ("ejected", self.ejected), ("probing", self.probing)];
        let mut samples: Vec<_> =
            phases.map(|(phase, count)| ENDPOINTS.sample([service, ("phase", phase)], of(count))).into();
        samples.push(SUSPECTS.sample([service], of(self.suspects)));
        samples.push(IN_FLIGHT.sample([service], self.in_flight as f64));
        samples.push(PANIC.sample([service], f64::from(u8::from(self.is_panicking))));
        samples
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::balance::Outcome;
    use crate::balance::strategy::LeastLoaded;
    use crate::{Instance, Snapshot};

    #[tokio::test(start_paused = true)]
    async fn every_candidate_is_counted_once() {
        let balancer = Balancer::new(LeastLoaded);
        assert_eq!(balancer.stats(), BalancerStats::default());
        let instances = (1..=4).map(|port| Instance::new("10.0.0.1", port));
        balancer.update(&Snapshot::fixed(&"time".parse().unwrap(), instances));
        let lease = balancer.pick().unwrap();
        let other = Instance::new("10.0.0.1", 4).id().unwrap();
        assert!(balancer.eject(&other, Duration::from_secs(10)));
        let stats = balancer.stats();
        assert_eq!((stats.listed, stats.available, stats.ejected, stats.in_flight), (4, 3, 1, 1));
        lease.finish(Outcome::Success);
        tokio::time::sleep(Duration::from_secs(20)).await;
        let others: Vec<_> = (1..=3).map(|port| Instance::new("10.0.0.1", port).id().unwrap()).collect();
        let probe = balancer.pick_avoiding(&others).unwrap();
        assert!(probe.is_probe());
        let stats = balancer.stats();
        assert_eq!((stats.available, stats.probing, stats.in_flight), (3, 1, 1));
        assert_eq!(stats.available + stats.probing + stats.ejected, stats.listed);
    }
}
