//! What a user sees of a registration, over ZooKeeper in memory.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::{OnConflict, Registering, Registration, RegistrationState, Wanted, Withdrawn};
use crate::connect::Options;
use crate::error::ErrorKind;
use crate::instance::{Attributes, Instance, ServiceName, Status};
use crate::registry::Registry;
use crate::runtime::Background;
use crate::store::memory::{Cluster, Connector, Fate, Foreign};

const SESSION: Duration = Duration::from_secs(4);
/// Much longer than anything takes that is not an audit.
const AUDIT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_millis(100);
const NODE: &str = "/services/time/h:1";

/// One process and the ZooKeeper that it uses.
struct World {
    cluster: Cluster,
    network: Connector,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let cluster = Cluster::new(1);
        let network = cluster.connector(SESSION);
        let options = change(Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT));
        let background = options.validate().map(|()| Background::on(Handle::current()));
        let registry = Registry::over(Arc::new(network.clone()), 0, options, background, 1);
        Self { cluster, network, registry }
    }

    fn register(&self, how: Registering) -> Registration {
        self.registry.register_with(&time(), Instance::new("h", 1), how)
    }

    async fn registered(&self) -> Registration {
        let mut registration = self.register(Registering::default());
        registered(&mut registration).await;
        registration
    }

    fn record(&self) -> String {
        String::from_utf8(self.cluster.node(NODE).expect("the node is there").data.to_vec()).unwrap()
    }

    /// An operator rewrites the record.
    fn rewrite(&self, from: &str, to: &str) {
        let record = self.record();
        assert!(record.contains(from), "{record}");
        self.cluster.put_as(NODE, record.replacen(from, to, 1).as_bytes(), Foreign::default());
    }
}

fn time() -> ServiceName {
    "time".parse().unwrap()
}

fn weight(weight: u16) -> NonZeroU16 {
    weight.try_into().unwrap()
}

fn or_fail() -> Registering {
    Registering { on_conflict: OnConflict::Fail, ..Registering::default() }
}

async fn registered(registration: &mut Registration) {
    timeout(SOON, registration.registered()).await.expect("registered in time").unwrap();
}

#[tokio::test(start_paused = true)]
async fn withdrawing_a_failed_registration_leaves_its_successor_alone() {
    let world = World::new();
    world.cluster.put(NODE, b"somebody's");
    let mut first = world.register(or_fail());
    assert_eq!(first.registered().await.unwrap_err().kind(), ErrorKind::Conflict);
    world.cluster.delete(NODE);
    let mut second = world.register(or_fail());
    registered(&mut second).await;
    assert_eq!(first.withdraw(SOON).await, Withdrawn::Superseded);
    sleep(SOON).await;
    assert!(world.cluster.node(NODE).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_update_may_look_at_its_registration() {
    let world = World::new();
    let registration = world.registered().await;
    let doubled = registration.update(|attributes| {
        attributes.weight = registration.attributes().weight.saturating_add(1);
    });
    timeout(SOON, doubled).await.expect("updated in time").unwrap();
    assert_eq!(registration.attributes().weight, weight(2));
}

#[test]
fn what_is_adopted_while_an_update_is_thought_about_stays() {
    let wanted = Wanted::new(Attributes::default(), |_| Ok(())).unwrap();
    let foreign = Attributes { status: Status::Draining, weight: weight(9), ..Attributes::default() };
    let change = |attributes: &mut Attributes| {
        assert!(wanted.adopt(&foreign));
        attributes.weight = weight(5);
    };
    wanted.change(change).unwrap();
    assert_eq!(
        wanted.current(),
        Attributes { status: Status::Draining, weight: weight(5), ..Attributes::default() }
    );
}
