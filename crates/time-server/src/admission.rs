//! The count of open connections, in total and by peer, and the decision who gets one more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::Limits;

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
