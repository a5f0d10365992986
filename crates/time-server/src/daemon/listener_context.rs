//! The values that all connections of one listener share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::daemon::admission::Admission;
use crate::daemon::clock::Clock;
use crate::daemon::limits::Limits;
use crate::daemon::metrics::Metrics;

/// The address, the clock, the limits and the counters of one listener.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    /// The listener's address; `None` if it is unspecified, and each connection has to be asked for its own.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Arc<Admission>,
    /// Once cancelled, connections end as soon as nothing is under way.
    pub(crate) draining: CancellationToken,
}
