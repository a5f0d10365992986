//! What a run of queries adds up to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use zk_registry::InstanceId;

use super::latency;
use super::words::{bar, millis};
use crate::client::Answer;
use crate::fault::AskError;
use zk_registry::cli::program::{Paint, column, column_width};

/// Counts and latencies of queries. Each worker has its own; [`merge`](Self::merge) makes one of them.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    ok: u64,
    failed: u64,
    failed_attempts: u64,
    dead_connections: u64,
    by_instance: BTreeMap<InstanceId, u64>,
    by_failure: BTreeMap<&'static str, u64>,
    latency: Histogram<u64>,
}

impl Default for Summary {
    fn default() -> Self {
        // The number of significant digits is a constant within what the constructor accepts.
        let latency = Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are accepted"));
        Self {
            ok: 0,
            failed: 0,
            failed_attempts: 0,
            dead_connections: 0,
            by_instance: BTreeMap::new(),
            by_failure: BTreeMap::new(),
            latency,
        }
    }
}

impl Summary {
    /// Counts one query that took `latency` from the moment it was due.
    pub(crate) fn record(&mut self, outcome: &Result<Answer, AskError>, latency: Duration) {
        match outcome {
            Ok(answer) => {
                self.ok += 1;
                self.failed_attempts += answer.failed.len() as u64;
                self.dead_connections += u64::from(answer.met_dead_connection);
                match self.by_instance.get_mut(answer.instance.id()) {
                    Some(count) => *count += 1,
                    None => drop(self.by_instance.insert(answer.instance.id().clone(), 1)),
                }
                // It grows as needed, so that nothing is ever out of range.
                let _ = self.latency.record(micros(latency));
            }
            Err(error) => {
                self.failed += 1;
                self.failed_attempts += error.failed().len() as u64;
                *self.by_failure.entry(error.kind()).or_default() += 1;
            }
        }
    }

    /// Adds what another worker counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.failed_attempts += other.failed_attempts;
        self.dead_connections += other.dead_connections;
        for (instance, count) in &other.by_instance {
            *self.by_instance.entry(instance.clone()).or_default() += count;
        }
        for (kind, count) in &other.by_failure {
            *self.by_failure.entry(kind).or_default() += count;
        }
        // As above.
        let _ = self.latency.add(&other.latency);
    }

    /// How many queries got no answer.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// The latency that this share of the answered queries stayed within.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_percentile(percent))
    }

    /// The latencies of the answered queries, in microseconds.
    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// One line for a terminal while the run goes on.
    pub(crate) fn progress(ok: u64, failed: u64, elapsed: Duration) -> String {
        let rate = (ok + failed) as f64 / elapsed.as_secs_f64().max(1e-9);
        format!("{ok} answered, {failed} failed, {rate:.0} a second, {}s", elapsed.as_secs())
    }

    /// The last line of `--output json`.
    pub(crate) fn json(&self) -> impl Serialize {
        let us = |percent| (self.ok > 0).then(|| self.latency.value_at_percentile(percent));
        SummaryLine {
            summary: SummaryJson {
                ok: self.ok,
                failed: self.failed,
                failed_attempts: self.failed_attempts,
                dead_connections: self.dead_connections,
                by_instance: self.by_instance.iter().map(|(id, count)| (id.to_string(), *count)).collect(),
                p50_us: us(50.0),
                p99_us: us(99.0),
                p999_us: us(99.9),
                max_us: us(100.0),
            },
        }
    }

    /// The end of `--output text`: a bar per instance, failures by kind, percentiles, a bar per bucket of latencies.
    pub(crate) fn text(&self, elapsed: Duration, paint: Paint) -> String {
        let mut text = String::new();
        let most = self.by_instance.values().copied().max().unwrap_or(0);
        let name_width = column_width(self.by_instance.keys().map(InstanceId::as_str));
        let count_width = most.to_string().len();
        for (id, count) in &self.by_instance {
            let share = 100.0 * *count as f64 / self.ok as f64;
            let id = column(id.as_str(), name_width);
            let bar = paint.good(&bar(*count, most));
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "{id}  {count:>count_width$}  {share:>5.1} %  {bar}");
        }
        let failed = format!("{} failed", self.failed);
        let failed = if self.failed > 0 { paint.bad(&failed) } else { failed };
        let rate = (self.ok + self.failed) as f64 / elapsed.as_secs_f64().max(1e-9);
        let _ = write!(text, "{} answered, {failed}, {} failed attempts", self.ok, self.failed_attempts);
        let _ = write!(text, " in {:.1} s, {rate:.1} a second", elapsed.as_secs_f64());
        for (kind, count) in &self.by_failure {
            let _ = write!(text, "\n  {count} {kind}");
        }
        if self.dead_connections > 0 {
            let plural = if self.dead_connections == 1 { "" } else { "s" };
            let _ = write!(text, "\n  {} dead connection{plural}", self.dead_connections);
        }
        if self.ok > 0 {
            let at = |percent| millis(self.percentile(percent));
            let _ = write!(text, "\nlatency  p50 {}  p90 {}  p99 {}", at(50.0), at(90.0), at(99.0));
            let _ = write!(text, "  p99.9 {}  max {}", at(99.9), at(100.0));
            text += &latency::text(&self.latency);
        }
        text
    }
}

#[derive(Serialize)]
struct SummaryLine {
    summary: SummaryJson,
}

#[derive(Serialize)]
struct SummaryJson {
    ok: u64,
    failed: u64,
    failed_attempts: u64,
    dead_connections: u64,
    by_instance: BTreeMap<String, u64>,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    p999_us: Option<u64>,
    max_us: Option<u64>,
}

/// A duration as both outputs count it.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use zk_registry::balance::GiveUp;
    use zk_registry::{Instance, Snapshot};

    use super::*;
    use crate::client::Reading;
    use crate::documented;
    use crate::fault::{FailedAttempt, Fault};

    fn failed(count: usize) -> Vec<FailedAttempt> {
        let attempt = || FailedAttempt {
            instance: "127.0.0.1:8899".parse().unwrap(),
            address: "127.0.0.1:8899".to_owned(),
            fault: Fault::Closed,
        };
        std::iter::repeat_with(attempt).take(count).collect()
    }

    fn summary(answers: &[(u16, u64)], failures: usize) -> Summary {
        let mut summary = Summary::default();
        for &(port, count) in answers {
            let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [Instance::new("127.0.0.1", port)]);
            let instance = snapshot.instances().next().unwrap();
            for n in 1..=count {
                let reading = Reading::Time(jiff::Timestamp::UNIX_EPOCH);
                let answer = Answer {
                    instance: instance.clone(),
                    reading,
                    rtt: Duration::ZERO,
                    failed: failed(usize::from(n == 1)),
                    met_dead_connection: n == 1 && port == 8898,
                };
                summary.record(&Ok(answer), Duration::from_micros(n * 10));
            }
        }
        for _ in 0..failures {
            let error = AskError::Exhausted { failed: failed(3), why: GiveUp::Attempts };
            summary.record(&Err(error), Duration::from_secs(1));
        }
        summary
    }

    pub(crate) fn lines() -> Vec<String> {
        vec![
            documented::line(&summary(&[(8897, 60), (8898, 40)], 1).json()),
            documented::line(&summary(&[], 1).json()),
        ]
    }

    #[test]
    fn the_text_has_a_bar_per_instance_and_the_percentiles() {
        let text = summary(&[(8897, 80), (8898, 20)], 2).text(Duration::from_secs(10), Paint::Plain);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], format!("127.0.0.1:8897  80   80.0 %  {}", "#".repeat(40)));
        assert_eq!(lines[1], format!("127.0.0.1:8898  20   20.0 %  {}", "#".repeat(10)));
        assert_eq!(lines[2], "100 answered, 2 failed, 8 failed attempts in 10.0 s, 10.2 a second");
        assert_eq!(lines[3..5], ["  2 exhausted", "  1 dead connection"]);
        assert!(lines[5].starts_with("latency  p50 0.300 ms  p90 0.700 ms  p99 0.790 ms"), "{}", lines[5]);
    }

    #[test]
    fn no_latency_is_too_long_to_be_counted() {
        let mut merged = Summary::default();
        merged.merge(&summary(&[(8897, 500_000)], 0));
        assert!(merged.percentile(100.0) >= Duration::from_secs(5));
        assert!(merged.percentile(50.0).abs_diff(Duration::from_millis(2500)) < Duration::from_millis(5));
    }

    #[test]
    fn what_workers_counted_apart_is_the_same_together() {
        let mut merged = summary(&[(8897, 60)], 1);
        merged.merge(&summary(&[(8897, 1), (8898, 40)], 0));
        let json = serde_json::to_value(merged.json()).unwrap();
        assert_eq!(json["summary"]["ok"], 101);
        assert_eq!(json["summary"]["failed_attempts"], 6);
        assert_eq!(json["summary"]["by_instance"]["127.0.0.1:8897"], 61);
    }
}
