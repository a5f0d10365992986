//! How a withdrawal ended.

use std::time::Duration;

/// How a withdrawal ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Withdrawn {
    /// ZooKeeper acknowledged that the node is gone.
    Confirmed,
    /// ZooKeeper's access control does not let us delete the node: it stays until the session ends.
    Forbidden,
    /// A foreign node, or that of another registration of ours, had taken the place; it was left alone.
    Superseded,
    /// ZooKeeper did not answer in time; the node goes with its session.
    Unconfirmed {
        /// How long that takes at most, once ZooKeeper is up.
        gone_within: Duration,
    },
}

impl Withdrawn {
    /// The worst of several.
    pub(crate) fn worst(outcomes: impl IntoIterator<Item = Self>) -> Self {
        let doubt = outcomes.into_iter().find(|outcome| *outcome != Self::Confirmed);
        doubt.unwrap_or(Self::Confirmed)
    }
}
