//! The same by tokio's clock and by chance, as a program calls it: paused, that clock moves only when a test says so.

use std::time::Duration;

use tokio::time::{Instant, advance};

use super::world::{alive, instance, instances, listing};
use crate::balance::strategy::{LeastLoaded, PeakEwma, Random};
use crate::balance::{Balancer, Lease, Outcome, Phase, Pick};

fn pick_until(balancer: &Balancer, id: &str) -> Lease {
    let mut picks = std::iter::repeat_with(|| balancer.pick().unwrap()).take(10_000);
    picks.find(|lease| lease.endpoint().id().as_str() == id).expect("it is picked")
}

fn phase(balancer: &Balancer, id: &str) -> Phase {
    let set = balancer.endpoints().unwrap();
    set.iter().find(|endpoint| endpoint.id().as_str() == id).unwrap().phase()
}

fn share(balancer: &Balancer, id: &str) -> f64 {
    let is_it = |_: &u32| balancer.pick().unwrap().endpoint().id().as_str() == id;
    (0..20_000).filter(is_it).count() as f64 / 20_000.0
}

#[tokio::test(start_paused = true)]
async fn an_ejection_lasts_for_its_time_and_ends_with_three_good_probes() {
    let balancer = Balancer::new(Random);
    balancer.update(&listing(instances(3)).build());
    (0..5).for_each(|_| pick_until(&balancer, "i-0").finish(Outcome::Failure));
    assert!(matches!(phase(&balancer, "i-0"), Phase::Ejected { .. }));

    // Half of it is certain.
    advance(Duration::from_millis(2_400)).await;
    assert_eq!(share(&balancer, "i-0"), 0.0);
    advance(Duration::from_millis(2_600)).await;
    for _ in 0..3 {
        assert_ne!(phase(&balancer, "i-0"), Phase::Available);
        let probe = pick_until(&balancer, "i-0");
        assert!(probe.is_probe());
        probe.finish(Outcome::Success);
    }
    assert_eq!(phase(&balancer, "i-0"), Phase::Available);
    assert!(share(&balancer, "i-0") > 0.3);
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_takes_ten_seconds_to_get_its_share() {
    let balancer = Balancer::new(Random);
    balancer.update(&listing(instances(4)).build());
    advance(Duration::from_secs(60)).await;
    balancer.update(&listing((0..5).map(|n| alive(instance(n)))).build());
    let mut shares = vec![share(&balancer, "i-4")];
    for _ in 0..2 {
        advance(Duration::from_secs(5)).await;
        shares.push(share(&balancer, "i-4"));
    }
    assert!((0.01..0.05).contains(&shares[0]), "{shares:?}");
    assert!((0.09..0.16).contains(&shares[1]), "{shares:?}");
    assert!((0.18..0.22).contains(&shares[2]), "{shares:?}");
}

#[test]
fn the_clock_is_looked_at_only_where_the_time_matters() {
    let began = |balancer: &Balancer| {
        let lease = balancer.pick().unwrap();
        let began = lease.began();
        lease.finish(Outcome::Success);
        began
    };
    let snapshot = listing(instances(3)).build();
    let learns = Balancer::new(PeakEwma::default());
    learns.update(&snapshot);
    assert!(began(&learns).is_some());

    let balancer = Balancer::new(LeastLoaded);
    balancer.update(&snapshot);
    assert_eq!(began(&balancer), None);
    assert!(balancer.eject(&"i-0".parse().unwrap(), Duration::from_secs(60)));
    // From now on a probe may be due.
    let before = Instant::now();
    assert!(began(&balancer).is_some_and(|began| began >= before));
    let told = before - Duration::from_secs(1);
    let lease = balancer.pick_with(&mut Pick::new(told, &mut rand::random::<u64>)).unwrap();
    assert_eq!(lease.began(), Some(told));
}
