//! A balancer, the listing it sees, and a clock.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::balance::{
    Balancer, BalancerOptions, Endpoint, Event, Key, Lease, Outcome, Phase, PhaseChange, Pick, PickError,
    Strategy,
};
use crate::instance::{Attributes, Instance, InstanceId, Status};
use crate::snapshot::members::Members;
use crate::snapshot::{Contents, Freshness, Incarnation, Member, Snapshot, Zxid};

/// What ZooKeeper lists: instances with their incarnations.
pub(super) struct Listing {
    members: Vec<(Instance, u128)>,
    suspects: Vec<(Instance, u128)>,
    freshness: Freshness,
}

pub(super) fn listing(members: impl IntoIterator<Item = (Instance, u128)>) -> Listing {
    Listing { members: members.into_iter().collect(), suspects: Vec::new(), freshness: Freshness::Live }
}

pub(super) fn instance(n: u32) -> Instance {
    let id: InstanceId = format!("i-{n}").parse().unwrap();
    Instance::new(format!("10.0.{}.{}", n / 256 % 256, n % 256), 80).with_id(id)
}

/// The first incarnation.
pub(super) fn alive(instance: Instance) -> (Instance, u128) {
    (instance, 0)
}

pub(super) fn instances(count: u32) -> impl Iterator<Item = (Instance, u128)> {
    (0..count).map(|n| alive(instance(n)))
}

pub(super) fn draining(instance: Instance) -> Instance {
    let attributes = Attributes { status: Status::Draining, ..instance.attributes().clone() };
    instance.with_attributes(attributes)
}

impl Listing {
    pub(super) fn suspects(mut self, suspects: impl IntoIterator<Item = (Instance, u128)>) -> Self {
        self.suspects = suspects.into_iter().collect();
        self
    }

    pub(super) fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    pub(super) fn build(self) -> Snapshot {
        let members = |listed: Vec<(Instance, u128)>| {
            let mut members: Vec<Arc<Member>> = listed
                .into_iter()
                .map(|(instance, incarnation)| {
                    let id = instance.id().unwrap();
                    let (created, modified) = (Zxid(0), Zxid(0));
                    let incarnation = Incarnation::from(incarnation);
                    Arc::new(Member {
                        id,
                        node: None,
                        instance,
                        format: None,
                        incarnation,
                        session: 0,
                        created,
                        modified,
                        ctime: 0,
                    })
                })
                .collect();
            members.sort_by(|a, b| a.id.cmp(&b.id));
            members
        };
        Snapshot::new(Contents {
            rules: Arc::default(),
            shadows: 0,
            service: "time".parse().unwrap(),
            members: Members::from_sorted(members(self.members)),
            suspects: Members::from_sorted(members(self.suspects)),
            rejected: Arc::default(),
            freshness: self.freshness,
            cause: None,
            revision: 1,
            watermark: Zxid(0),
        })
    }
}

pub(super) struct World {
    pub(super) balancer: Balancer,
    events: Arc<Mutex<Vec<Event>>>,
    now: Cell<Instant>,
    rng: RefCell<SmallRng>,
}

impl World {
    pub(super) fn new(strategy: impl Strategy, listing: Listing) -> Self {
        Self::with(strategy, BalancerOptions::default(), listing)
    }

    pub(super) fn with(strategy: impl Strategy, options: BalancerOptions, listing: Listing) -> Self {
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let observer = {
            let events = Arc::clone(&events);
            move |event: &Event| events.lock().unwrap().push(event.clone())
        };
        let options = BalancerOptions { observer: Some(Arc::new(observer)), seed: Some(7), ..options };
        let world = Self {
            balancer: Balancer::with_options(strategy, options),
            events,
            now: Cell::new(Instant::now() + Duration::from_secs(1)),
            rng: RefCell::new(SmallRng::seed_from_u64(7)),
        };
        world.update(listing);
        world
    }

    pub(super) fn update(&self, listing: Listing) {
        self.balancer.update_at(&listing.build(), self.now());
    }

    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    pub(super) fn later(&self, time: Duration) -> Instant {
        self.advance(time);
        self.now()
    }

    pub(super) fn advance(&self, time: Duration) {
        self.now.set(self.now() + time);
    }

    pub(super) fn try_pick(&self, avoid: &[InstanceId]) -> Result<Lease, PickError> {
        let mut words = || self.rng.borrow_mut().next_u64();
        self.balancer.pick_with(&mut Pick::new(self.now(), &mut words).avoiding(avoid))
    }

    pub(super) fn pick_key(&self, key: impl Into<Key>) -> Lease {
        let mut words = || self.rng.borrow_mut().next_u64();
        self.balancer.pick_with(&mut Pick::new(self.now(), &mut words).with_key(key)).unwrap()
    }

    pub(super) fn pick(&self) -> Lease {
        self.try_pick(&[]).unwrap()
    }

    /// Picks, answers at once, and says who it was.
    pub(super) fn pick_id(&self) -> String {
        let lease = self.pick();
        let id = lease.endpoint().id().to_string();
        lease.finish_at(Outcome::Cancelled, self.now());
        id
    }

    /// Picks until it is this one.
    pub(super) fn pick_until(&self, id: &str) -> Lease {
        (0..10_000)
            .map(|_| self.pick())
            .find(|lease| lease.endpoint().id().as_str() == id)
            .expect("it is picked")
    }

    pub(super) fn fail(&self, id: &str, times: usize) {
        for _ in 0..times {
            self.pick_until(id).finish_at(Outcome::Failure, self.now());
        }
    }

    /// Fails calls for which this one is the only one left.
    pub(super) fn fail_alone(&self, id: &str, times: usize) {
        let set = self.balancer.endpoints().unwrap();
        let others: Vec<InstanceId> =
            set.iter().map(Endpoint::id).filter(|other| other.as_str() != id).cloned().collect();
        for _ in 0..times {
            self.try_pick(&others).unwrap().finish_at(Outcome::Failure, self.now());
        }
    }

    pub(super) fn fail_any(&self, times: usize) {
        for _ in 0..times {
            self.pick().finish_at(Outcome::Failure, self.now());
        }
    }

    pub(super) fn endpoint(&self, id: &str) -> Endpoint {
        let set = self.balancer.endpoints().unwrap();
        set.iter().find(|endpoint| endpoint.id().as_str() == id).unwrap().clone()
    }

    pub(super) fn is_available(&self, id: &str) -> bool {
        self.endpoint(id).phase() == Phase::Available
    }

    pub(super) fn ejected(&self) -> usize {
        let set = self.balancer.endpoints().unwrap();
        set.iter().filter(|endpoint| endpoint.phase() != Phase::Available).count()
    }

    /// What was observed since the last time.
    pub(super) fn changes(&self) -> Vec<PhaseChange> {
        self.events.lock().unwrap().drain(..).map(|event| event.change).collect()
    }
}
