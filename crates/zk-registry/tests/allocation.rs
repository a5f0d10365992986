//! A pick and its outcome allocate nothing, whatever the strategy: counted by the global allocator.

#![expect(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use zk_registry::balance::strategy::Named;
use zk_registry::balance::{Balancer, Outcome, Pick};
use zk_registry::{Incarnation, Instance, InstanceId, ServiceName, Snapshot};

/// Every strategy by name, alone and within a zone.
fn names() -> impl Iterator<Item = String> {
    Named::NAMES.into_iter().flat_map(|name| [name.to_owned(), format!("zone:a/{name}")])
}

fn balancer(name: &str) -> Balancer {
    let service: ServiceName = "time".parse().unwrap();
    let balancer = Balancer::new(name.parse::<Named>().unwrap());
    let instances =
        (1..=100_u16).map(|n| {
            Instance::new(format!("10.0.0.{n}"), 80)
                .with_weight(n.try_into().unwrap())
                .with_zone(if n % 2 == 0 { "a" } else { "b" })
        });
    balancer.update(&Snapshot::fixed(&service, instances));
    balancer
}

/// Allocations of a thousand calls.
fn allocations(balancer: &Balancer, avoid: &[InstanceId]) -> u64 {
    let mut rng = SmallRng::seed_from_u64(1);
    let now = Instant::now();
    let mut calls = || {
        for key in 0..1000_u64 {
            let mut words = || rng.next_u64();
            let mut pick = Pick::new(now, &mut words).with_key(key).avoiding(avoid);
            let lease = balancer.pick_with(&mut pick).unwrap();
            lease.finish_at(if key % 7 == 0 { Outcome::Cancelled } else { Outcome::Success }, now);
        }
    };
    calls(); // what a thread needs once
    allocation_counter::measure(calls).count_total
}

#[test]
fn a_pick_and_its_outcome_allocate_nothing() {
    for name in names() {
        assert_eq!(allocations(&balancer(&name), &[]), 0, "{name}");
    }
}

#[test]
fn a_pick_that_is_rejected_allocates_nothing_either() {
    for name in names() {
        let balancer = balancer(&name);
        let all = balancer.endpoints().unwrap();
        let avoid: Vec<InstanceId> = all.iter().take(90).map(|endpoint| endpoint.id().clone()).collect();
        assert_eq!(allocations(&balancer, &avoid), 0, "{name}");
    }
}

#[test]
fn a_failure_that_ejects_nobody_allocates_nothing_either() {
    let balancer = balancer("least-loaded");
    let fail = || balancer.pick().unwrap().finish(Outcome::Failure);
    fail();
    assert_eq!(allocation_counter::measure(|| (0..20).for_each(|_| fail())).count_total, 0);
}

#[test]
fn picking_by_the_clock_and_the_generator_of_the_thread_allocates_nothing_either() {
    let balancer = balancer("peak-ewma");
    let call = || balancer.pick().unwrap().finish(Outcome::Success);
    call();
    assert_eq!(allocation_counter::measure(|| (0..100).for_each(|_| call())).count_total, 0);
}

#[test]
fn an_update_costs_what_changed_and_not_what_is_listed() {
    let service: ServiceName = "time".parse().unwrap();
    let bytes = |name: &str, count: u32| {
        let host = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
        let before = Snapshot::fixed(&service, (0..count).map(|n| Instance::new(host(n), 80)));
        let id = Instance::new(host(count / 2), 80).id().unwrap();
        let after = before.clone().with_incarnation(&id, Incarnation::from(7));
        let balancer = Balancer::new(name.parse::<Named>().unwrap());
        balancer.update(&before);
        allocation_counter::measure(|| balancer.update(&after)).bytes_total
    };
    for name in ["least-loaded", "peak-ewma", "random", "round-robin", "weighted-random"] {
        let (few, many) = (bytes(name, 500), bytes(name, 16_000));
        assert!(many < 3 * few, "{name}: {few} bytes for 500 instances, {many} for 16,000");
    }
}
