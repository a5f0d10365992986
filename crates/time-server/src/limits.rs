//! What peers may take of the server, and the count of who holds what.
//!
//! Every limit answers somebody who would otherwise exhaust something: connections (descriptors, memory), one address
//! (the share of all others), bytes (memory), time (connections again, more slowly). Deadlines are enforced by the
//! connection; this module only knows their lengths.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zk_registry::cli::MAX_DURATION;

use crate::protocol;

/// What peers may take. A time of more than 100 years is as good as 100 years.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Open connections in total. Defaults to 16,384.
    pub connections: usize,
    /// Open connections of one peer: one IPv4 address, or one IPv6 /64, all of which one host may own. Defaults to
    /// 4,096, a quarter of all.
    pub per_peer: usize,
    /// Bytes of one request, without its newline. Defaults to 128; never less than what the protocol needs.
    pub request_bytes: usize,
    /// How long a new connection may say nothing until it is told the time (RFC 867). Defaults to 3 seconds; with
    /// `None` it is given `request_time` and then refused.
    pub daytime_after: Option<Duration>,
    /// How long a request may take from its first byte to its newline. Defaults to 5 seconds.
    pub request_time: Duration,
    /// How long a connection may say nothing after an answered request. Defaults to 60 seconds.
    pub idle: Duration,
    /// How long a peer may take to read the replies to what it sent at once. Defaults to 5 seconds.
    pub slow_reader: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            per_peer: 4_096,
            request_bytes: 128.max(protocol::MIN_LINE),
            daytime_after: Some(Duration::from_secs(3)),
            request_time: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            slow_reader: Duration::from_secs(5),
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
            ..self
        }
    }
}

/// Counts open connections and admits new ones.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    per_peer: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_peer: HashMap<IpAddr, usize>,
}

/// Why a connection was not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Full {
    Peer,
    Total,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { connections: limits.connections, per_peer: limits.per_peer, open: Mutex::default() }
    }

    /// Admits a connection, which is to [leave](Self::leave) in the end.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<(), Full> {
        let mut open = self.open();
        if open.total >= self.connections {
            return Err(Full::Total);
        }
        let count = open.by_peer.entry(who(peer)).or_default();
        if *count >= self.per_peer {
            return Err(Full::Peer);
        }
        *count += 1;
        open.total += 1;
        Ok(())
    }

    /// A connection that was admitted has ended.
    pub(crate) fn leave(&self, peer: IpAddr) {
        let mut open = self.open();
        open.total -= 1;
        if let Entry::Occupied(mut count) = open.by_peer.entry(who(peer)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The counts stay true even if a thread panicked while it held them: nothing in here can panic half-way.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => "too many connections from your address",
            Self::Total => "too many connections",
        })
    }
}

/// The part of an address that one peer cannot choose at will.
fn who(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, per_peer: usize) -> Admission {
        Admission::new(&Limits { connections, per_peer, ..Limits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_leaves_makes_room() {
        let admission = admission(1, 1);
        admission.admit(ip("10.0.0.1")).unwrap();
        assert_eq!(admission.admit(ip("10.0.0.2")), Err(Full::Total));
        admission.leave(ip("10.0.0.1"));
        assert!(admission.open().by_peer.is_empty(), "no trace of a peer that is gone");
        assert_eq!(admission.admit(ip("10.0.0.2")), Ok(()));
    }

    #[test]
    fn one_peer_cannot_take_the_place_of_others() {
        let admission = admission(3, 1);
        admission.admit(ip("10.0.0.1")).unwrap();
        assert_eq!(admission.admit(ip("::ffff:10.0.0.1")), Err(Full::Peer));
        admission.admit(ip("2001:db8::1")).unwrap();
        assert_eq!(admission.admit(ip("2001:db8::2")), Err(Full::Peer));
        assert_eq!(admission.admit(ip("2001:db8:0:1::1")), Ok(()));
    }
}
