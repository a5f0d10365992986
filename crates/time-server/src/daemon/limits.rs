//! The limits on what peers may take of the server.
//!
//! Each limit guards something that a peer could otherwise exhaust: connections (descriptors, memory), one address (the
//! share of all others), bytes (memory), time (connections again, more slowly). This file only knows the figures: the
//! admission enforces the numbers of connections, the connection its deadlines.

use std::time::Duration;

use ipnet::IpNet;
use zk_registry::cli::MAX_DURATION;

use crate::protocol;

/// What peers may take. A time of more than 100 years is as good as 100 years.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections in total. Defaults to 16,384.
    pub connections: usize,
    /// Open connections of one peer: one IPv4 address, or one IPv6 /64, all of which one host may own. Twice as many are
    /// open of one IPv6 /48. Defaults to 4,096, a quarter of all.
    pub per_peer: usize,
    /// Networks whose addresses are limited by the total alone, such as that of a NAT. Defaults to none.
    pub exempt: Vec<IpNet>,
    /// Bytes of one request, without its newline. Defaults to 128; never less than what the protocol needs.
    pub request_bytes: usize,
    /// How long a new connection may say nothing until it is told the time (RFC 867). Defaults to 3 seconds; with
    /// `None` it is given `request_time` and then refused.
    pub daytime_after: Option<Duration>,
    /// How long a request may take from its first byte to its newline. Defaults to 5 seconds.
    pub request_time: Duration,
    /// How long a connection may say nothing after an answered request. Defaults to 60 seconds.
    pub idle: Duration,
    /// The time in which a peer must take what was sent to it, counted anew with each byte that it takes. Defaults to 5
    /// seconds.
    pub slow_reader: Duration,
    /// The age at which a connection ends, after the answer that it is then given; each has an age of its own, up to a tenth
    /// below or above. Defaults to `None`: no such age.
    pub lifetime: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            per_peer: 4_096,
            exempt: Vec::new(),
            request_bytes: 128.max(protocol::MIN_LINE),
            daytime_after: Some(Duration::from_secs(3)),
            request_time: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            slow_reader: Duration::from_secs(5),
            lifetime: None,
        }
    }
}

impl Limits {
    /// The same, with times that can be added to any moment.
    pub(crate) fn bounded(self) -> Self {
        Self {
            daytime_after: self.daytime_after.map(|time| time.min(MAX_DURATION)),
            request_time: self.request_time.min(MAX_DURATION),
            idle: self.idle.min(MAX_DURATION),
            slow_reader: self.slow_reader.min(MAX_DURATION),
            lifetime: self.lifetime.map(|age| age.min(MAX_DURATION)),
            ..self
        }
    }
}
