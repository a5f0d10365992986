//! Many at once: a change of leader must not become a storm.

use std::time::Duration;

use integration_tests::eventually::eventually;
use integration_tests::fair_time::{Stopwatch, within};
use integration_tests::proxy::{Direction, hosts};
use integration_tests::registries::{T, options, time};
use integration_tests::servers::Launch;
use zk_registry::{Freshness, Instance, Options, Registry, Resolve, ServiceWatch};

use super::servers::elected;
use super::{SLACK, STARTUP, is_registered, report, started};

#[tokio::test]
async fn two_hundred_registrants_and_fifty_readers_survive_a_change_of_leader() {
    let (zk, chroot) = started(Launch::ensemble(), "crowd").await;
    let links = zk.proxies().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let open = |to: String| {
        let mut options: Options = options().with_runtime(runtime.handle().clone());
        options.session_timeout = T * 2;
        options.audit_interval = T * 20;
        Registry::open(to.parse().unwrap(), options)
    };
    let registrants: Vec<_> = (0..200).map(|_| open(chroot.connect_string())).collect();
    let mut registrations: Vec<_> = registrants
        .iter()
        .zip(1..)
        .map(|(registry, port)| registry.register(&time(), Instance::new("10.0.0.1", port)))
        .collect();
    for registration in &mut registrations {
        within(STARTUP, "registered", registration.registered()).await.unwrap();
    }
    let readers: Vec<_> = (0..50).map(|_| open(chroot.through(hosts(&links)))).collect();
    let mut watches: Vec<_> = readers.iter().map(|registry| registry.watch(&time())).collect();
    everybody_sees(&mut watches, STARTUP).await;
    let carried = || links.iter().map(|link| link.carried(Direction::ToClient)).sum::<u64>();
    let before = carried();

    let leader = zk.leader().await;
    zk.kill(leader).await;
    elected(&zk, leader).await;
    let start = Stopwatch::start();
    everybody_sees(&mut watches, T * 2 + SLACK * 3).await;
    report("50 readers live again after a change of leader", start.elapsed());
    eventually(T * 2 + SLACK * 3, "everybody is registered", async || {
        registrations.iter().all(is_registered)
    })
    .await;
    // Everything once, for each reader, and as much again: no storm.
    let (read, once) = (carried() - before, 50 * 200 * 500);
    println!("measured: {read} bytes read by 50 readers");
    assert!(read < 2 * once, "{read} bytes");
    drop((watches, registrations));
    runtime.shutdown_background();
}

async fn everybody_sees(watches: &mut [ServiceWatch], within: Duration) {
    eventually(within, "every reader is live and sees everybody", async || {
        let mut complete = 0;
        for watch in watches.iter_mut() {
            let snapshot = watch.current();
            complete += usize::from(snapshot.freshness() == Freshness::Live && snapshot.len() == 200);
        }
        if complete == watches.len() { Ok(()) } else { Err(format!("{complete} of {}", watches.len())) }
    })
    .await;
}
