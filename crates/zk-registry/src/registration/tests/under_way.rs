//! Several rounds that are under way at once.

use futures_util::future::join_all;

use super::*;
use crate::options::Mixing;

const ROUND_TRIP: Duration = Duration::from_millis(100);
const SHORTLY: Duration = Duration::from_millis(5);
const STRANGER: i64 = 0x99;

/// A world where two registrations fill a transaction, and none is put off by a look at its neighbours.
fn world(cluster: Cluster) -> World {
    let network = cluster.connector(SESSION);
    let options = Options::default().with_session_timeout(SESSION).with_audit_interval(AUDIT);
    let options = options.with_mixing(Mixing::Allow);
    let registry =
        Registry::over(Arc::new(network.clone()), 0, options, Ok(Background::on(Handle::current())), 2);
    World { cluster, network, registry }
}

impl World {
    fn register_some(&self, ports: impl Iterator<Item = u16>) -> Vec<Registration> {
        ports.map(|port| self.registry.register(&time(), Instance::new("h", port))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn registrations_whose_parents_may_not_be_made_are_not_tried_without_end() {
    let cluster = Cluster::new(1);
    let locked = Foreign { user: Some("fleet"), acl: Acl::ReadOnly, ..Foreign::default() };
    cluster.put_as("/services", b"", locked);
    let world = world(cluster);
    world.registry.connected().await.unwrap();
    world.cluster.set_latency(ROUND_TRIP);
    let first = world.register_some(1..=1);
    sleep(ROUND_TRIP / 2).await;
    // They fill a transaction beside the round that has the first one.
    let beside = world.register_some(2..=3);
    sleep(ROUND_TRIP * 10).await;
    for registration in first.iter().chain(&beside) {
        let state = registration.states().borrow().clone();
        assert!(matches!(state, RegistrationState::Retrying { .. }), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_of_which_only_the_server_knows_whose_they_are_are_judged_in_the_end() {
    let world = world(Cluster::new(1));
    let mut registrations = world.register_some(1..=3);
    for registration in &mut registrations {
        registered(registration).await;
    }
    // Somebody puts copies of our records into a session of his own.
    for port in 1..=3 {
        let path = format!("/services/time/h:{port}");
        let record = world.cluster.node(&path).unwrap().data;
        world.cluster.delete(&path);
        world.cluster.put_as(&path, &record, Foreign { session: STRANGER, ..Foreign::default() });
    }
    world.cluster.set_latency(ROUND_TRIP);
    let withdrawals: Vec<_> = registrations
        .into_iter()
        .enumerate()
        .map(|(n, registration)| {
            tokio::spawn(async move {
                sleep(if n == 0 { Duration::ZERO } else { ROUND_TRIP / 2 }).await;
                registration.withdraw(ROUND_TRIP * 10).await
            })
        })
        .collect();
    for withdrawal in withdrawals {
        assert_eq!(withdrawal.await.unwrap(), Withdrawn::Superseded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_asked_for_once_at_a_time_also_where_there_is_room_beside_the_round() {
    let world = world(Cluster::new(1));
    let mut registrations = world.register_some(1..=2);
    for registration in &mut registrations {
        registered(registration).await;
    }
    world.cluster.set_latency(ROUND_TRIP);
    let before = world.cluster.counts().reads;
    let update = async |weights: u16| {
        let updates = registrations
            .iter()
            .map(|registration| registration.update(move |attributes| attributes.weight = weight(weights)));
        // What is wanted is stored by the first poll.
        let _ = timeout(ROUND_TRIP / 4, join_all(updates)).await;
    };
    update(2).await;
    update(3).await;
    sleep(ROUND_TRIP / 2 - SHORTLY).await;
    assert_eq!(world.cluster.counts().reads, before + 1, "both are read in one request");
    sleep(ROUND_TRIP * 10).await;
    for registration in &registrations {
        assert_eq!(registration.attributes().weight, weight(3));
    }
}
