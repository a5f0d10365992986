//! Random faults of the servers. A further one is a variant, its line in [`FAULTS`], its name and how it strikes.

use std::fmt;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use crate::servers::Servers;

/// A fault of one server or of several. When it is over every server has been started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerFault {
    /// A server neither answers nor hangs up.
    Freeze(Duration),
    /// The leader neither answers nor hangs up.
    FreezeLeader(Duration),
    /// A server dies as by `kill -9`.
    Kill,
    /// The leader dies as by `kill -9`.
    KillLeader,
    /// Two servers of three die.
    LoseMajority(Duration),
    /// A server ends in an orderly way.
    Stop,
}

/// Makes a fault, which lasts that long if it is one that lasts.
type Make = fn(Duration) -> ServerFault;

/// Every fault, with how often it is drawn relative to the others.
const FAULTS: &[(u32, Make)] = &[
    (1, ServerFault::Freeze),
    (1, ServerFault::FreezeLeader),
    (2, |_| ServerFault::Kill),
    (2, |_| ServerFault::KillLeader),
    (2, ServerFault::LoseMajority),
    (2, |_| ServerFault::Stop),
];

impl ServerFault {
    /// Draws a fault; one that lasts does so for up to one and a half sessions of `timeout`.
    pub(super) fn draw(rng: &mut StdRng, timeout: Duration) -> Self {
        let lasting = timeout.mul_f64(rng.random_range(0.1..1.5));
        let (_, fault) = FAULTS.choose_weighted(rng, |(weight, _)| *weight).expect("no weight is negative");
        fault(lasting)
    }

    /// Strikes server `node`, or the leader, and starts again the servers that it ended.
    pub(super) async fn strike(self, zk: &Servers, node: usize) {
        let node = match self {
            Self::FreezeLeader(_) | Self::KillLeader => zk.leader_now().await.unwrap_or(node),
            Self::Freeze(_) | Self::Kill | Self::LoseMajority(_) | Self::Stop => node,
        };
        match self {
            Self::Freeze(lasting) | Self::FreezeLeader(lasting) => {
                zk.pause(node).await;
                sleep(lasting).await;
                zk.resume(node).await;
            }
            Self::Kill | Self::KillLeader => zk.restart(node).await,
            Self::LoseMajority(lasting) => {
                let other = node % zk.addresses().len() + 1;
                zk.kill(node).await;
                zk.kill(other).await;
                sleep(lasting).await;
                zk.start(node).await;
                zk.start(other).await;
            }
            Self::Stop => {
                zk.stop(node).await;
                zk.start(node).await;
            }
        }
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Freeze(_) => "server frozen",
            Self::FreezeLeader(_) => "leader frozen",
            Self::Kill => "server killed and restarted",
            Self::KillLeader => "leader killed and restarted",
            Self::LoseMajority(_) => "majority lost",
            Self::Stop => "server stopped and started",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::mem::discriminant;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_fault_is_drawn() {
        let mut rng = StdRng::seed_from_u64(1);
        let drawn: HashSet<_> =
            (0..1_000).map(|_| discriminant(&ServerFault::draw(&mut rng, Duration::from_secs(4)))).collect();
        assert_eq!(drawn.len(), FAULTS.len());
    }
}
