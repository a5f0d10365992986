//! Admission: which connections may be open, and which idle one ends to make room for a new one.
//!
//! Connections are counted by peer (one IPv4 address, or one IPv6 /64), by IPv6 /48, and in total. When all places are
//! taken, the longest idle connection of the peer with the most connections goes, so that one peer that holds many does not
//! keep others out. A connection that is being served is never ended here: it is told to leave, and leaves once idle.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::daemon::limits::Limits;

/// The counts of open connections, and the limits on them.
#[derive(Debug)]
pub(crate) struct Admission {
    connections: usize,
    per_peer: usize,
    per_network: usize,
    exempt: Vec<IpNet>,
    began: Instant,
    random: RandomState,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    total: usize,
    /// Connections that were told to leave and have not left yet; they are no longer counted.
    leaving: usize,
    peers: HashMap<IpAddr, HashMap<u64, Arc<Place>>>,
    networks: HashMap<Ipv6Addr, usize>,
    /// Peers by their number of connections, without those that are exempt.
    by_count: BTreeSet<(usize, IpAddr)>,
}

/// One admitted connection.
#[derive(Debug)]
pub(crate) struct Place {
    number: u64,
    peer: IpAddr,
    network: Option<Ipv6Addr>,
    exempt: bool,
    /// A number that differs from connection to connection, from 0 to 1.
    pub(crate) jitter: f64,
    /// Milliseconds from the beginning of the admission until the connection became idle, plus 1; 0 while it is busy.
    idle_since: AtomicU64,
    leave: Notify,
}

/// The reason why a connection was not admitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Full {
    Network,
    Peer,
    Total,
}

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            connections: limits.connections,
            per_peer: limits.per_peer,
            per_network: limits.per_peer.saturating_mul(2),
            exempt: limits.exempt.clone(),
            began: Instant::now(),
            random: RandomState::new(),
            open: Mutex::default(),
        }
    }

    /// Admits a connection of `peer`, which is to [leave](Self::leave) in the end. Where all places are taken, an idle
    /// connection is told to leave.
    ///
    /// # Errors
    ///
    /// [`Full`] when the peer or its network has as many connections as it may, or when all places are taken and no
    /// connection can be told to leave.
    pub(crate) fn admit(&self, peer: IpAddr) -> Result<Arc<Place>, Full> {
        let peer = peer.to_canonical();
        let exempt = self.exempt.iter().any(|network| network.contains(&peer));
        let network = match peer {
            IpAddr::V6(ip) => Some(prefix(ip, 48)),
            IpAddr::V4(_) => None,
        };
        let peer = bucket(peer);
        let mut open = self.open();
        if !exempt {
            if open.peers.get(&peer).map_or(0, HashMap::len) >= self.per_peer {
                return Err(Full::Peer);
            }
            let of_network = network.and_then(|network| open.networks.get(&network)).copied();
            if of_network.unwrap_or(0) >= self.per_network {
                return Err(Full::Network);
            }
        }
        if open.total >= self.connections && !self.evict(&mut open) {
            return Err(Full::Total);
        }
        open.next += 1;
        let place = Arc::new(Place {
            number: open.next,
            peer,
            network,
            exempt,
            jitter: (self.random.hash_one(open.next) >> 11) as f64 / (1_u64 << 53) as f64,
            idle_since: AtomicU64::new(self.millis(Instant::now())),
            leave: Notify::new(),
        });
        open.add(&place);
        Ok(place)
    }

    /// Gives back the place of a connection that has ended.
    pub(crate) fn leave(&self, place: &Place) {
        let mut open = self.open();
        if !open.remove(place) {
            open.leaving -= 1;
        }
    }

    /// Marks a connection as idle since `now`.
    pub(crate) fn set_idle(&self, place: &Place, now: Instant) {
        place.idle_since.store(self.millis(now), Ordering::Relaxed);
    }

    /// Tells the longest idle connection of the peer with the most to leave, and gives its place away.
    fn evict(&self, open: &mut Open) -> bool {
        let Some(&(_, peer)) = open.by_count.last() else { return false };
        if open.leaving >= LEAVING {
            return false;
        }
        let idle_enough = self.millis(Instant::now()).saturating_sub(millis(LEAST_IDLE));
        let idle =
            |place: &&Arc<Place>| (1..=idle_enough).contains(&place.idle_since.load(Ordering::Relaxed));
        let places = open.peers.get(&peer).into_iter().flat_map(HashMap::values);
        let longest =
            places.filter(idle).min_by_key(|place| place.idle_since.load(Ordering::Relaxed)).cloned();
        let Some(place) = longest else { return false };
        open.remove(&place);
        open.leaving += 1;
        place.leave.notify_one();
        true
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.began)) + 1
    }

    /// The counts stay true even if a thread panicked while it held them: nothing in here can panic half-way.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, place: &Arc<Place>) {
        self.total += 1;
        let connections = self.peers.entry(place.peer).or_default();
        if !place.exempt {
            self.by_count.remove(&(connections.len(), place.peer));
            self.by_count.insert((connections.len() + 1, place.peer));
        }
        connections.insert(place.number, Arc::clone(place));
        if let Some(network) = place.network {
            *self.networks.entry(network).or_default() += 1;
        }
    }

    /// Removes a connection from the counts; `false` if it is not in them any more.
    fn remove(&mut self, place: &Place) -> bool {
        let Some(connections) = self.peers.get_mut(&place.peer) else { return false };
        let before = connections.len();
        if connections.remove(&place.number).is_none() {
            return false;
        }
        self.total -= 1;
        if !place.exempt {
            self.by_count.remove(&(before, place.peer));
            if before > 1 {
                self.by_count.insert((before - 1, place.peer));
            }
        }
        if before == 1 {
            self.peers.remove(&place.peer);
        }
        if let Some(network) = place.network
            && let Some(count) = self.networks.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
        true
    }
}

impl Place {
    /// Marks the connection as busy: bytes have come that are not answered yet.
    pub(crate) fn set_busy(&self) {
        self.idle_since.store(0, Ordering::Relaxed);
    }

    /// Completes when the connection is to leave.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it completed loses nothing.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "too many connections from your network",
            Self::Peer => "too many connections from your address",
            Self::Total => "too many connections",
        })
    }
}

/// A connection is told to leave only after it was idle for this long: one that was just accepted, or just answered, is
/// about to be used.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// The most connections that have been told to leave and have not left yet: each holds a descriptor beyond the limit.
const LEAVING: usize = 64;

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}

/// The part of an address that one peer cannot choose at will.
fn bucket(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(ip) => prefix(ip, 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The first `bits` bits of an address, from 1 to 127.
fn prefix(ip: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits)))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn admission(connections: usize, per_peer: usize) -> Admission {
        Admission::new(&Limits { connections, per_peer, ..Limits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn refusal(admission: &Admission, peer: &str) -> Option<Full> {
        admission.admit(ip(peer)).err()
    }

    #[test]
    fn who_leaves_makes_room() {
        let admission = admission(1, 1);
        let place = admission.admit(ip("2001:db8::1")).unwrap();
        place.set_busy();
        assert_eq!(refusal(&admission, "10.0.0.2"), Some(Full::Total));
        admission.leave(&place);
        let open = admission.open();
        assert!(open.peers.is_empty() && open.networks.is_empty() && open.by_count.is_empty(), "{open:?}");
        drop(open);
        assert_eq!(refusal(&admission, "10.0.0.2"), None);
    }

    #[test]
    fn one_peer_cannot_take_the_place_of_others() {
        let admission = admission(9, 1);
        let _places = [admission.admit(ip("10.0.0.1")).unwrap(), admission.admit(ip("2001:db8::1")).unwrap()];
        assert_eq!(refusal(&admission, "::ffff:10.0.0.1"), Some(Full::Peer));
        assert_eq!(refusal(&admission, "2001:db8::2"), Some(Full::Peer));
        assert_eq!(refusal(&admission, "2001:db8:0:1::1"), None);
    }

    #[test]
    fn a_network_has_no_more_than_two_peers_may_have() {
        let admission = admission(9, 2);
        for host in 1..=4 {
            assert_eq!(refusal(&admission, &format!("2001:db8:1:{host}::1")), None);
        }
        assert_eq!(refusal(&admission, "2001:db8:1:5::1"), Some(Full::Network));
        assert_eq!(refusal(&admission, "2001:db8:2:5::1"), None);
    }

    #[test]
    fn an_exempt_network_is_limited_by_the_total_alone() {
        let exempt = vec!["10.0.0.0/8".parse().unwrap()];
        let admission = Admission::new(&Limits { connections: 3, per_peer: 1, exempt, ..Limits::default() });
        let _places: Vec<_> = (0..3).map(|_| admission.admit(ip("::ffff:10.9.9.9")).unwrap()).collect();
        assert_eq!(refusal(&admission, "10.9.9.9"), Some(Full::Total));
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_of_the_peer_with_the_most_makes_room() {
        let admission = admission(4, 3);
        let lone = admission.admit(ip("10.0.0.1")).unwrap();
        let many: Vec<_> = (0..3).map(|_| admission.admit(ip("10.0.0.2")).unwrap()).collect();
        assert_eq!(refusal(&admission, "10.0.0.3"), Some(Full::Total), "all were just accepted");
        many[0].set_busy();
        advance(Duration::from_secs(5)).await;
        admission.set_idle(&many[1], Instant::now());
        advance(Duration::from_secs(5)).await;

        let _third = admission.admit(ip("10.0.0.3")).unwrap();
        many[2].told_to_leave().await;
        let _fourth = admission.admit(ip("10.0.0.4")).unwrap();
        many[1].told_to_leave().await;
        admission.leave(&many[1]);
        admission.leave(&many[2]);
        let open = admission.open();
        assert_eq!((open.total, open.leaving), (4, 0));
        drop(open);
        admission.leave(&lone);
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_connection_keeps_its_place() {
        let admission = admission(2, 2);
        let places = [admission.admit(ip("10.0.0.2")).unwrap(), admission.admit(ip("10.0.0.2")).unwrap()];
        places.iter().for_each(|place| place.set_busy());
        advance(Duration::from_secs(60)).await;
        assert_eq!(refusal(&admission, "10.0.0.3"), Some(Full::Total));
    }
}
