//! The figures of a registry as samples.

use super::stats::{RegistryStats, ServiceStats};
use crate::samples::{Metric, Sample};

static CONNECTED: Metric =
    Metric::gauge("zk_registry_connected", "Whether every session with ZooKeeper is connected.");
static SESSIONS: Metric = Metric::gauge("zk_registry_sessions", "The number of sessions with ZooKeeper.");
static SESSIONS_ENDED: Metric =
    Metric::counter("zk_registry_sessions_ended_total", "The sessions that have ended, by how.");
static SESSION_TIMEOUT: Metric = Metric::gauge(
    "zk_registry_session_timeout_seconds",
    "The session timeout that the server granted; 0 while there is no connection.",
);
static INSTANCES: Metric =
    Metric::gauge("zk_registry_instances", "The instances of a watched service, by state.");
static FRESHNESS: Metric =
    Metric::gauge("zk_registry_freshness", "1 for how fresh the view of a service is, 0 for the others.");
static STALE: Metric =
    Metric::gauge("zk_registry_stale_seconds", "For how long the view of a service has been stale.");
static CHANGES: Metric = Metric::counter(
    "zk_registry_changes_total",
    "The times that an instance of a service came, went or was written.",
);
static RESYNCS: Metric =
    Metric::counter("zk_registry_resyncs_total", "The times that a service was read as a whole.");
static REPAIRS: Metric = Metric::counter(
    "zk_registry_audit_repairs_total",
    "The times that an audit found a change of which no event had told; it should stay 0.",
);
static REGISTRATIONS: Metric =
    Metric::gauge("zk_registry_registrations", "The registrations of this process, by state.");
static WRITES: Metric = Metric::counter(
    "zk_registry_registration_writes_total",
    "The writes of registrations that ZooKeeper acknowledged.",
);
static FOREIGN_WRITES: Metric = Metric::counter(
    "zk_registry_foreign_writes_total",
    "What others wrote to our nodes, by what became of it.",
);

impl RegistryStats {
    /// The same figures under the names that docs/OBSERVABILITY.md lists, those of one metric next to each other.
    pub fn samples(&self) -> Vec<Sample> {
        let (ended, standing, writes) = (&self.sessions_ended, &self.registrations, &self.writes);
        let timeout = self.session_timeout.unwrap_or_default().as_secs_f64();
        let mut samples = vec![
            CONNECTED.sample([], f64::from(u8::from(self.is_connected))),
            SESSIONS.sample([], of_size(self.sessions)),
            SESSION_TIMEOUT.sample([], timeout),
        ];
        let ends = [
            ("expired", ended.expired),
            ("lost", ended.lost),
            ("refused", ended.refused),
            ("closed", ended.closed),
        ];
        samples.extend(ends.map(|(end, count)| SESSIONS_ENDED.sample([("end", end)], of_count(count))));
        let states = [
            ("pending", standing.pending),
            ("registered", standing.registered),
            ("suspended", standing.suspended),
            ("drained", standing.drained),
            ("retrying", standing.retrying),
            ("conflict", standing.in_conflict),
            ("failed", standing.failed),
        ];
        samples.extend(states.map(|(state, count)| REGISTRATIONS.sample([("state", state)], of_size(count))));
        let ops = [
            ("create", writes.created),
            ("write", writes.written),
            ("move", writes.moved),
            ("delete", writes.deleted),
        ];
        samples.extend(ops.map(|(op, count)| WRITES.sample([("op", op)], of_count(count))));
        let foreign =
            [("adopted", self.foreign_writes.adopted), ("written-over", self.foreign_writes.written_over)];
        samples.extend(
            foreign.map(|(outcome, count)| FOREIGN_WRITES.sample([("outcome", outcome)], of_count(count))),
        );
        for figures in BY_SERVICE {
            samples.extend(self.services.iter().flat_map(figures));
        }
        samples
    }
}

/// The samples of one service for each metric.
const BY_SERVICE: [fn(&ServiceStats) -> Vec<Sample>; 6] =
    [instances, freshness, stale, changes, resyncs, repairs];

fn instances(of: &ServiceStats) -> Vec<Sample> {
    let states =
        [("up", of.up), ("draining", of.draining), ("suspect", of.suspects), ("rejected", of.rejected)];
    let sample = |(state, count)| {
        INSTANCES.sample([("service", of.service.as_str()), ("state", state)], of_size(count))
    };
    states.into_iter().map(sample).collect()
}

fn freshness(of: &ServiceStats) -> Vec<Sample> {
    let now = of.freshness.word();
    let sample = |word| {
        FRESHNESS
            .sample([("service", of.service.as_str()), ("freshness", word)], f64::from(u8::from(word == now)))
    };
    ["live", "stale", "disk", "pending"].into_iter().map(sample).collect()
}

fn stale(of: &ServiceStats) -> Vec<Sample> {
    vec![STALE.sample([("service", of.service.as_str())], of.stale_for.as_secs_f64())]
}

fn changes(of: &ServiceStats) -> Vec<Sample> {
    vec![CHANGES.sample([("service", of.service.as_str())], of_count(of.changes))]
}

fn resyncs(of: &ServiceStats) -> Vec<Sample> {
    vec![RESYNCS.sample([("service", of.service.as_str())], of_count(of.resyncs))]
}

fn repairs(of: &ServiceStats) -> Vec<Sample> {
    vec![REPAIRS.sample([("service", of.service.as_str())], of_count(of.audit_repairs))]
}

/// Exact up to 2^53.
fn of_count(count: u64) -> f64 {
    count as f64
}

fn of_size(size: usize) -> f64 {
    of_count(size as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::registration::ForeignWrites;
    use crate::registry::stats::{RegistrationStats, SessionsEnded, WriteStats};
    use crate::snapshot::Freshness;

    #[test]
    fn each_name_is_said_once_in_a_row_and_each_sample_once() {
        let service = |name: &str| ServiceStats {
            service: name.parse().unwrap(),
            up: 2,
            draining: 1,
            suspects: 0,
            rejected: 0,
            freshness: Freshness::Live,
            stale_for: Duration::ZERO,
            changes: 3,
            resyncs: 1,
            audit_repairs: 0,
        };
        let stats = RegistryStats {
            is_connected: true,
            sessions: 1,
            session_timeout: Some(Duration::from_secs(10)),
            sessions_ended: SessionsEnded::default(),
            services: vec![service("a"), service("b")],
            registrations: RegistrationStats::default(),
            writes: WriteStats::default(),
            foreign_writes: ForeignWrites::default(),
        };
        let samples = stats.samples();
        let mut names: Vec<_> = samples.iter().map(|sample| sample.metric.name).collect();
        names.dedup();
        assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "{names:?}");
        let mut seen = HashSet::new();
        for sample in &samples {
            assert!(seen.insert((sample.metric.name, sample.labels.clone())), "{sample:?}");
            assert!(sample.labels.iter().all(|(name, _)| *name != "instance"));
        }
        let up = INSTANCES.sample([("service", "b"), ("state", "up")], 2.0);
        assert!(samples.contains(&up), "{samples:?}");
    }
}
