//! Our balancer and tower's as contestants.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, BalancerOptions, Event, Lease, Observer, Outcome, PhaseChange, Pick};
use zk_registry::{Incarnation, Instance, InstanceId, ServiceName, Snapshot};

use super::history::{Ending, SERVERS};
use super::run::Contestant;
use crate::simulation::race;
use crate::simulation::towers::Towers;

/// Ours, with default options.
pub(super) struct Ours {
    balancer: Balancer,
    rng: SmallRng,
    leases: Vec<Option<Lease>>,
    snapshot: Snapshot,
    ejections: Ejections,
}

/// When the last ejection of each server ends or ended.
#[derive(Clone, Default)]
struct Ejections(Arc<Mutex<[Option<Instant>; SERVERS]>>);

impl Ours {
    /// Half of the servers are in the zone `a`.
    pub(super) fn new(strategy: &str, seed: u64) -> Self {
        let strategy: Named = strategy.parse().expect("the name stands in the table");
        let service: ServiceName = "simulated".parse().expect("it is a name");
        let ejections = Ejections::default();
        let options = BalancerOptions::default().with_seed(seed).with_observer(ejections.clone());
        let balancer = Balancer::with_options(strategy, options);
        let zone = |n| if n % 2 == 0 { "a" } else { "b" };
        let instances = (0..SERVERS)
            .map(|n| Instance::new("10.0.0.1", 1000 + n as u16).with_id(id(n)).with_zone(zone(n)));
        let snapshot = Snapshot::fixed(&service, instances);
        balancer.update(&snapshot);
        Self { balancer, rng: SmallRng::seed_from_u64(seed), leases: Vec::new(), snapshot, ejections }
    }
}

fn id(server: usize) -> InstanceId {
    server.to_string().parse().expect("it is an id")
}

impl Contestant for Ours {
    fn begin(&mut self, call: usize) -> usize {
        let key = self.rng.next_u64() % 5000;
        let mut words = || self.rng.next_u64();
        let mut pick = Pick::new(Instant::now(), &mut words).with_key(key);
        let lease = self.balancer.pick_with(&mut pick).expect("there are servers");
        let server = usize::from(lease.instance().port()) - 1000;
        assert_eq!(call, self.leases.len(), "calls are counted");
        self.leases.push(Some(lease));
        server
    }

    fn end(&mut self, call: usize, ending: Ending) {
        let lease = self.leases[call].take().expect("a call ends once");
        lease.finish(match ending {
            Ending::Answered => Outcome::Success,
            Ending::Failed => Outcome::Failure,
            Ending::NotReached => Outcome::Unreachable,
        });
    }

    fn restarted(&mut self, server: usize) {
        self.snapshot = self.snapshot.clone().with_incarnation(&id(server), Incarnation::from(1));
        self.balancer.update(&self.snapshot);
    }

    fn ejected_until(&self, server: usize) -> Option<Instant> {
        self.ejections.0.lock().unwrap_or_else(PoisonError::into_inner)[server]
    }
}

impl Observer for Ejections {
    fn observe(&self, event: &Event) {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (instance, until) = match &event.change {
            PhaseChange::Ejected { instance, until, .. } => (instance, Some(*until)),
            PhaseChange::Available { instance } => (instance, None),
            _ => return,
        };
        let end = instance.as_str().parse::<usize>().ok().and_then(|server| ends.get_mut(server));
        if let Some(end) = end {
            *end = until.or_else(|| end.map(|end| end.min(event.at)));
        }
    }
}

impl Contestant for Towers {
    fn begin(&mut self, call: usize) -> usize {
        race::Contestant::begin(self, call)
    }

    fn end(&mut self, call: usize, ending: Ending) {
        race::Contestant::end(self, call, ending == Ending::Answered);
    }

    fn restarted(&mut self, server: usize) {
        self.restart(server);
    }

    fn ejected_until(&self, _: usize) -> Option<Instant> {
        None
    }
}
