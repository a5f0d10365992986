//! The knobs of a [`TimeClient`](crate::client::TimeClient), with their defaults.

use std::time::Duration;

use zk_registry::DialPolicy;
use zk_registry::balance::{BudgetOptions, Retry};

/// The times, retries and connections that a [`TimeClient`](crate::client::TimeClient) allows itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The time of one query, all its attempts together. Defaults to 2 seconds.
    pub timeout: Duration,
    /// The rule by which a query that failed is tried again. Each attempt gets an equal share of the time that is left, so
    /// that one which hangs leaves time for the next instance. Defaults to [`Retry::default`]: 3 attempts.
    pub retry: Retry,
    /// The number of retries that all queries together may cost. Defaults to [`BudgetOptions::default`].
    pub budget: BudgetOptions,
    /// The time of dialling within an attempt. Defaults to 1 second.
    pub dial_timeout: Duration,
    /// The rule that says which addresses of an instance are dialled. Defaults to [`DialPolicy::default`].
    pub dial_policy: DialPolicy,
    /// The time of an answer within an attempt. Defaults to all the time that the attempt has.
    pub read_timeout: Option<Duration>,
    /// The number of idle connections that are kept to each instance. Defaults to 64.
    pub kept_per_instance: usize,
    /// The time for which an idle connection is kept; should be less than the servers' own limit (60 seconds by default).
    /// Defaults to 30 seconds.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(2),
            retry: Retry::default(),
            budget: BudgetOptions::default(),
            dial_timeout: Duration::from_secs(1),
            dial_policy: DialPolicy::default(),
            read_timeout: None,
            kept_per_instance: 64,
            idle_timeout: Duration::from_secs(30),
        }
    }
}
