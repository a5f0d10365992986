//! The snapshots of a view while its session is greeted, and after greetings that fail or are cut off.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::schedules::{NO_AUDIT, ROOT, SESSION, becomes, record, registry, service};
use crate::options::Suspicion;
use crate::registry::Registry;
use crate::resolve::{Resolve, ServiceWatch};
use crate::session::ConnectionState;
use crate::snapshot::Freshness;
use crate::store::memory::{Cluster, Connector};

const ROUND_TRIP: Duration = Duration::from_millis(40);

/// What befalls a session or its connection.
const BLOWS: [fn(&Cluster, &Connector); 7] = [
    |_, _| {},
    |_, network| network.blip(),
    |_, network| network.cut_for(Duration::from_millis(15)),
    |cluster, network| network.session().into_iter().for_each(|session| cluster.expire(session)),
    |_, network| network.expire_locally(),
    |_, network| network.lag(),
    |_, network| network.greet_and_cut(),
];

#[tokio::test(start_paused = true)]
async fn no_live_snapshot_lacks_what_was_there_when_the_greeting_was_answered() {
    for (n, blow) in BLOWS.iter().enumerate() {
        for at in (0..160).step_by(3) {
            for later in [0, 3, 10, 25, 60] {
                let cluster = Cluster::new(at + later);
                cluster.set_latency(ROUND_TRIP);
                cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
                let network = cluster.connector(SESSION);
                let registry = registry(&network, NO_AUDIT, Suspicion::Keep, 0);
                let mut watch = registry.watch(&service());
                let mut state = registry.connection();
                let said = tokio::spawn(async move {
                    let is_up = |state: &ConnectionState| matches!(state, ConnectionState::Connected { .. });
                    state.wait_for(is_up).await.unwrap();
                    Instant::now()
                });
                let first = tokio::spawn(async move {
                    loop {
                        let snapshot = watch.current().clone();
                        if snapshot.freshness() == Freshness::Live {
                            return (snapshot.len(), Instant::now(), watch);
                        }
                        watch.changed().await.unwrap();
                    }
                });
                sleep(Duration::from_millis(at)).await;
                blow(&cluster, &network);
                sleep(Duration::from_millis(later)).await;
                cluster.put(&format!("{ROOT}/h:2"), &record(2, 1));
                let put = Instant::now();
                sleep(Duration::from_millis(200)).await;
                network.heal();
                let up = timeout(SESSION * 5, said).await.unwrap().unwrap();
                let (len, live, mut watch) = timeout(SESSION * 5, first).await.unwrap().unwrap();
                assert!(live >= up, "{n} {at} {later}: live before the session was up");
                assert!(len == 2 || put + ROUND_TRIP / 2 >= up, "{n} {at} {later}: {len} when live");
                network.catch_up();
                timeout(SESSION * 5, becomes(&mut watch, 2)).await.expect("it comes");
            }
        }
    }
}

/// A watch whose session is not greeted yet, and whose network is frozen.
async fn frozen_while_greeted() -> (Cluster, Connector, Registry, ServiceWatch) {
    let cluster = Cluster::new(1);
    cluster.set_latency(ROUND_TRIP);
    let network = cluster.connector(SESSION);
    let registry = registry(&network, NO_AUDIT, Suspicion::Keep, 0);
    let watch = registry.watch(&service());
    sleep(ROUND_TRIP + ROUND_TRIP / 4).await;
    assert!(network.session().is_some());
    network.freeze();
    (cluster, network, registry, watch)
}

#[tokio::test(start_paused = true)]
async fn a_close_while_a_session_is_greeted_ends_the_watch() {
    let (_cluster, _network, registry, mut watch) = frozen_while_greeted().await;
    timeout(Duration::from_secs(3), registry.close(Duration::from_secs(1))).await.expect("it ends");
    timeout(Duration::from_secs(1), async { while watch.changed().await.is_ok() {} }).await.expect("it ends");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dropped_while_a_session_is_greeted_can_be_had_again() {
    let (cluster, network, registry, watch) = frozen_while_greeted().await;
    drop(watch);
    sleep(ROUND_TRIP).await;
    network.heal();
    registry.connected().await.unwrap();
    cluster.put(&format!("{ROOT}/h:1"), &record(1, 1));
    let mut watch = registry.watch(&service());
    assert_eq!(watch.live().await.unwrap().len(), 1);
}
