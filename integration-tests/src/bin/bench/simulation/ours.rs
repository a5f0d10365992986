//! Our balancer as a contestant.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, BalancerOptions, Lease, Outcome, Pick};
use zk_registry::{Instance, ServiceName, Snapshot};

use super::fleet::SERVERS;
use super::race::Contestant;

pub(super) struct Ours {
    balancer: Balancer,
    rng: SmallRng,
    leases: Vec<Option<Lease>>,
}

impl Ours {
    /// With default options. Half of the servers are in the zone `a`.
    pub(super) fn new(strategy: &str, seed: u64) -> Self {
        let strategy: Named = strategy.parse().expect("the name stands in the table");
        let service: ServiceName = "simulated".parse().expect("it is a name");
        let mut options = BalancerOptions::default();
        options.seed = Some(seed);
        let balancer = Balancer::with_options(strategy, options);
        balancer.update(&Snapshot::fixed(
            &service,
            (0..SERVERS).map(|n| {
                let port = 1000 + n as u16;
                Instance::new("10.0.0.1", port).with_zone(if n % 2 == 0 { "a" } else { "b" })
            }),
        ));
        Self { balancer, rng: SmallRng::seed_from_u64(seed), leases: Vec::new() }
    }
}

impl Contestant for Ours {
    fn begin(&mut self, call: usize) -> usize {
        let mut words = || self.rng.next_u64();
        let mut pick = Pick::new(Instant::now(), &mut words).with_key(call as u64 % 5000);
        let lease = self.balancer.pick_with(&mut pick).expect("there are servers");
        let server = usize::from(lease.instance().port()) - 1000;
        assert_eq!(call, self.leases.len(), "calls are counted");
        self.leases.push(Some(lease));
        server
    }

    fn end(&mut self, call: usize, succeeded: bool) {
        let lease = self.leases[call].take().expect("a call ends once");
        lease.finish(if succeeded { Outcome::Success } else { Outcome::Failure });
    }
}
