//! Random faults of the network, drawn from a seed, on the links of one client. A further one is a variant, its line in
//! `FAULTS`, its name and how it strikes.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::proxy::{Direction, Proxy, Rules};

/// One fault of a client's links, and how long it lasts.
#[derive(Clone, Copy, Debug)]
pub enum LinkFault {
    /// Nothing arrives, nothing leaves, and connecting hangs.
    BlackHole(Duration),
    /// Every connection ends by a FIN; connecting works at once.
    CutFin,
    /// The same by a RST.
    CutRst,
    /// One direction is dead.
    Freeze(Direction, Duration),
    /// Connections are cut. New ones get the answer to their handshake and no other; after the first duration they are cut, and
    /// connecting is refused.
    HalfReconnect(Duration, Duration),
    /// What the client sends is held back for the first duration. Then its connections end, connecting is refused, and what was
    /// held back reaches the servers within the second.
    LateWrites(Duration, Duration),
    /// Connections are cut, and connecting is refused.
    Refuse(Duration),
    /// Everything arrives late.
    Slow(Duration, Duration),
}

/// Draws the rest of a fault, which lasts that long if it is one that lasts.
type Draw = fn(&mut StdRng, Duration) -> LinkFault;

/// Every fault, with how often it is drawn relative to the others.
const FAULTS: &[(u32, Draw)] = &[
    (1, |_, lasting| LinkFault::BlackHole(lasting)),
    (2, |_, _| LinkFault::CutFin),
    (2, |_, _| LinkFault::CutRst),
    (1, |rng, lasting| LinkFault::Freeze(Direction::BOTH[rng.random_range(0..2)], lasting)),
    (1, |rng, lasting| LinkFault::HalfReconnect(Duration::from_millis(rng.random_range(100..800)), lasting)),
    (2, |rng, lasting| {
        LinkFault::LateWrites(Duration::from_millis(rng.random_range(20..500)), lasting.min(MOST_LATE))
    }),
    (1, |_, lasting| LinkFault::Refuse(lasting)),
    (1, |rng, lasting| LinkFault::Slow(Duration::from_millis(rng.random_range(1..100)), lasting)),
];

/// The longest time after a cut at which a server still gets a request: a packet does not travel for longer.
const MOST_LATE: Duration = Duration::from_millis(1_500);

impl LinkFault {
    /// Draws a fault. One in six of those that last does so for longer than a session of `timeout`.
    pub fn draw(rng: &mut StdRng, timeout: Duration) -> Self {
        let lasting = if rng.random_ratio(1, 6) {
            timeout.mul_f64(rng.random_range(1.1..1.8))
        } else {
            timeout.mul_f64(rng.random_range(0.02..0.6))
        };
        let (_, fault) = FAULTS.choose_weighted(rng, |(weight, _)| *weight).expect("no weight is negative");
        fault(rng, lasting)
    }

    /// Whether a session of `timeout` cannot outlive it.
    pub fn outlasts(&self, timeout: Duration) -> bool {
        match self {
            Self::BlackHole(lasting) | Self::Freeze(_, lasting) | Self::Refuse(lasting) => *lasting > timeout,
            Self::HalfReconnect(handshakes, lasting) => *handshakes + *lasting > timeout,
            Self::CutFin | Self::CutRst | Self::LateWrites(..) | Self::Slow(..) => false,
        }
    }

    /// Lets it happen to all of a client's links, and returns when it is over.
    pub async fn strike(self, links: &[Proxy]) {
        match self {
            Self::BlackHole(lasting) => {
                links.iter().for_each(Proxy::black_hole);
                tokio::time::sleep(lasting).await;
            }
            Self::CutFin => {
                for link in links {
                    link.cut_fin().await;
                }
            }
            Self::CutRst => {
                for link in links {
                    link.cut_rst().await;
                }
            }
            Self::Freeze(direction, lasting) => {
                links.iter().for_each(|link| link.freeze(direction));
                tokio::time::sleep(lasting).await;
            }
            Self::HalfReconnect(handshakes, lasting) => {
                for link in links {
                    link.impose(Rules::answer_handshakes_only);
                    link.cut_rst().await;
                }
                tokio::time::sleep(handshakes).await;
                refuse(links).await;
                tokio::time::sleep(lasting).await;
            }
            Self::LateWrites(held, late) => {
                links.iter().for_each(|link| link.freeze(Direction::ToServer));
                tokio::time::sleep(held).await;
                for link in links {
                    link.refuse().await;
                    link.cut_client(late).await;
                    link.thaw();
                }
                tokio::time::sleep(late).await;
            }
            Self::Refuse(lasting) => {
                refuse(links).await;
                tokio::time::sleep(lasting).await;
            }
            Self::Slow(delay, lasting) => {
                links.iter().for_each(|link| link.delay(delay));
                tokio::time::sleep(lasting).await;
            }
        }
        clear(links).await;
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlackHole(_) => "link black-holed",
            Self::CutFin => "connection cut by FIN",
            Self::CutRst => "connection cut by RST",
            Self::Freeze(Direction::ToClient, _) => "link frozen towards the client",
            Self::Freeze(Direction::ToServer, _) => "link frozen towards the server",
            Self::HalfReconnect(..) => "handshake answered, then nothing",
            Self::LateWrites(..) => "writes executed after the cut",
            Self::Refuse(_) => "connecting refused",
            Self::Slow(..) => "link slow",
        })
    }
}

async fn refuse(links: &[Proxy]) {
    for link in links {
        link.refuse().await;
        link.cut_rst().await;
    }
}

/// Everything works again; what was held back is delivered.
pub async fn clear(links: &[Proxy]) {
    for link in links {
        link.thaw();
        link.delay(Duration::ZERO);
        link.accept().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::mem::discriminant;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_fault_is_drawn_and_some_outlast_a_session() {
        let (mut rng, timeout) = (StdRng::seed_from_u64(1), Duration::from_secs(4));
        let drawn: Vec<_> = (0..1_000).map(|_| LinkFault::draw(&mut rng, timeout)).collect();
        assert_eq!(drawn.iter().map(discriminant).collect::<HashSet<_>>().len(), FAULTS.len());
        assert!(drawn.iter().any(|fault| fault.outlasts(timeout)));
        assert!(drawn.iter().any(|fault| !fault.outlasts(timeout)));
    }
}
