//! The counters of the server, and their Prometheus text.
//!
//! Counters are looked up once, here; a path that counts only adds to an atomic.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::daemon::registry_metrics::RegistryCollector;

/// The counters of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Mutex<Registry>,
    accepted: Counter,
    empty: Counter,
    open: Gauge,
    asked: [Counter; Asked::ALL.len()],
    faults: [Counter; Fault::ALL.len()],
    registrations: Family<[(&'static str, String); 2], Gauge>,
    reloads: [Counter; Reloaded::ALL.len()],
    refused_secrets: Counter,
    expiries: Family<[(&'static str, &'static str); 1], Gauge>,
}

/// What became of a configuration that was read again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reloaded {
    /// It is the one in use.
    Applied,
    /// It cannot be used; the old one is.
    Refused,
}

/// The kinds of answers that are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// The time, because the peer said nothing.
    Daytime,
    /// `now`.
    Now,
    /// `sync`.
    Sync,
    /// `timestamp`.
    Timestamp,
}

/// The kinds of trouble that are counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// A connection could not be accepted.
    Accept,
    /// An idle connection ended to make room for another peer's.
    Evicted,
    /// A connection said nothing for too long after an answered request.
    Idle,
    /// The stream ended inside a request.
    Incomplete,
    /// The connection broke.
    Lost,
    /// One IPv6 /48 had too many connections.
    NetworkLimit,
    /// A connection's task panicked.
    Panic,
    /// One peer had too many connections.
    PeerLimit,
    /// A peer did not take its replies in time.
    SlowReader,
    /// A peer did not finish its request in time.
    SlowRequest,
    /// A request was too long.
    TooLong,
    /// There were too many connections.
    TotalLimit,
    /// Bytes that are none of the requests.
    Unknown,
}

/// The answers of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers([u64; Asked::ALL.len()]);

impl Metrics {
    /// The number of connections that were accepted.
    pub fn accepted(&self) -> u64 {
        self.0.accepted.get()
    }

    /// The number of connections that ended without a byte of the peer, as those of a health check do.
    pub fn empty(&self) -> u64 {
        self.0.empty.get()
    }

    /// The number of connections that are open.
    pub fn open(&self) -> i64 {
        self.0.open.get()
    }

    /// The number of answers of this kind.
    pub fn asked(&self, kind: Asked) -> u64 {
        self.0.asked[kind as usize].get()
    }

    /// The number of times that this trouble was met.
    pub fn faults(&self, kind: Fault) -> u64 {
        self.0.faults[kind as usize].get()
    }

    /// Everything in the OpenMetrics text format, which Prometheus reads.
    ///
    /// # Errors
    ///
    /// Never in practice: writing to a string does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }

    /// Has the figures of the registry told as well.
    pub(crate) fn add(&self, collector: RegistryCollector) {
        let mut registry = self.0.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_collector(Box::new(collector));
    }

    pub(crate) fn count_opened(&self) {
        self.0.accepted.inc();
        self.0.open.inc();
    }

    pub(crate) fn count_empty(&self) {
        self.0.empty.inc();
    }

    pub(crate) fn count_closed(&self) {
        self.0.open.dec();
    }

    pub(crate) fn count_answers(&self, answers: Answers) {
        for (counter, count) in self.0.asked.iter().zip(answers.0) {
            // Most batches are of one kind, and all threads share the counters.
            if count > 0 {
                counter.inc_by(count);
            }
        }
    }

    pub(crate) fn count_fault(&self, kind: Fault) {
        self.0.faults[kind as usize].inc();
    }

    pub(crate) fn count_reload(&self, outcome: Reloaded) {
        self.0.reloads[outcome as usize].inc();
    }

    pub(crate) fn count_refused_secrets(&self) {
        self.0.refused_secrets.inc();
    }

    /// The certificates of this flag's file expire then, in seconds since 1970.
    pub(crate) fn set_expiry(&self, file: &'static str, expiry: i64) {
        self.0.expiries.get_or_create(&[("file", file)]).set(expiry);
    }

    /// Says in which of `states` the registration of a listener is.
    pub(crate) fn set_registration(&self, listener: &str, states: &[&'static str], current: &str) {
        for state in states {
            let labels = [("listener", listener.to_owned()), ("state", (*state).to_owned())];
            self.0.registrations.get_or_create(&labels).set(i64::from(*state == current));
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (accepted, empty, open) = (Counter::default(), Counter::default(), Gauge::default());
        let asked = Family::<[(&str, &str); 1], Counter>::default();
        let faults = Family::<[(&str, &str); 1], Counter>::default();
        let registrations = Family::default();
        let reloads = Family::<[(&str, &str); 1], Counter>::default();
        let refused_secrets = Counter::default();
        let expiries = Family::<[(&'static str, &'static str); 1], Gauge>::default();
        let inner = Inner {
            asked: Asked::ALL.map(|kind| asked.get_or_create(&[("kind", kind.word())]).clone()),
            faults: Fault::ALL.map(|kind| faults.get_or_create(&[("kind", kind.word())]).clone()),
            accepted: accepted.clone(),
            empty: empty.clone(),
            open: open.clone(),
            registrations: Family::clone(&registrations),
            reloads: Reloaded::ALL
                .map(|outcome| reloads.get_or_create(&[("outcome", outcome.word())]).clone()),
            refused_secrets: refused_secrets.clone(),
            expiries: Family::clone(&expiries),
            registry: Mutex::default(),
        };
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix("time_server");
        registry.register("connections_accepted", "Connections that were accepted", accepted);
        registry.register("connections_empty", "Connections that ended without a byte of the peer", empty);
        registry.register("connections_open", "Connections that are open", open);
        registry.register("requests", "Answers given, by what was asked", asked);
        registry.register("errors", "Trouble met, by kind", faults);
        registry.register("registration", "1 for the state that a registration is in", registrations);
        registry.register("reloads", "Times that the configuration was read again, by outcome", reloads);
        let what = "Times that the files of --auth-file or --tls-* could not be read before a connection";
        registry.register("secrets_refused", what, refused_secrets);
        let what = "When the first certificate of the file expires, in seconds since 1970";
        registry.register("certificate_expiry_timestamp_seconds", what, expiries);
        Self(Arc::new(Inner { registry: Mutex::new(all), ..inner }))
    }
}

impl Reloaded {
    const ALL: [Self; 2] = [Self::Applied, Self::Refused];

    fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
        }
    }
}

impl Answers {
    pub(crate) fn count(&mut self, kind: Asked) {
        self.0[kind as usize] += 1;
    }
}

impl From<Asked> for Answers {
    fn from(kind: Asked) -> Self {
        let mut one = Self::default();
        one.count(kind);
        one
    }
}

impl Asked {
    const ALL: [Self; 4] = [Self::Daytime, Self::Now, Self::Sync, Self::Timestamp];

    fn word(self) -> &'static str {
        match self {
            Self::Daytime => "daytime",
            Self::Now => "now",
            Self::Sync => "sync",
            Self::Timestamp => "timestamp",
        }
    }
}

impl Fault {
    const ALL: [Self; 13] = [
        Self::Accept,
        Self::Evicted,
        Self::Idle,
        Self::Incomplete,
        Self::Lost,
        Self::NetworkLimit,
        Self::Panic,
        Self::PeerLimit,
        Self::SlowReader,
        Self::SlowRequest,
        Self::TooLong,
        Self::TotalLimit,
        Self::Unknown,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::Incomplete => "incomplete",
            Self::Lost => "lost",
            Self::NetworkLimit => "network_limit",
            Self::Panic => "panic",
            Self::PeerLimit => "peer_limit",
            Self::SlowReader => "slow_reader",
            Self::SlowRequest => "slow_request",
            Self::TooLong => "too_long",
            Self::TotalLimit => "total_limit",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_counted_under_its_own_name() {
        for (n, kind) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n, "{kind:?} counts in its own place");
        }
        for (n, kind) in Asked::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, n, "{kind:?} counts in its own place");
        }
        let metrics = Metrics::default();
        metrics.count_answers(Asked::Now.into());
        metrics.count_fault(Fault::PeerLimit);
        metrics.set_registration("127.0.0.1:1", &["pending", "registered"], "registered");
        let text = metrics.text().unwrap();
        for line in [
            r#"time_server_requests_total{kind="now"} 1"#,
            r#"time_server_errors_total{kind="peer_limit"} 1"#,
            r#"time_server_registration{listener="127.0.0.1:1",state="pending"} 0"#,
            r#"time_server_registration{listener="127.0.0.1:1",state="registered"} 1"#,
            "time_server_connections_open 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
