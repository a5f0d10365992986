//! No instance has more calls under way than it may.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::world::{World, alive, instance, instances, listing};
use crate::balance::strategy::{LeastLoaded, Named, Random, RoundRobin};
use crate::balance::{Balancer, BalancerOptions, Lease, Outcome, PickError};

fn at_most(calls: u32) -> BalancerOptions {
    BalancerOptions::default().with_max_in_flight(NonZeroU32::new(calls).unwrap())
}

#[test]
fn a_full_instance_is_not_picked_by_any_strategy_and_when_all_are_full_that_is_said() {
    for name in Named::NAMES {
        let world = World::with(name.parse::<Named>().unwrap(), at_most(2), listing(instances(3)));
        let mut leases: Vec<Lease> = (0..6).map(|_| world.try_pick(&[]).unwrap()).collect();
        for n in 0..3 {
            assert_eq!(world.endpoint(&format!("i-{n}")).in_flight(), 2, "{name}");
        }
        assert_eq!(world.try_pick(&[]).unwrap_err(), PickError::Full, "{name}");

        let over = leases.pop().unwrap();
        let free = over.endpoint().id().clone();
        over.finish_at(Outcome::Success, world.now());
        assert_eq!(*world.try_pick(&[]).unwrap().endpoint().id(), free, "{name}");
    }
}

#[test]
fn the_limit_is_a_reason_in_words() {
    let world = World::with(RoundRobin::starting_at(0), at_most(1), listing(instances(2)));
    let full = world.pick();
    let why: Vec<String> = (0..8).map(|_| world.pick().why().to_string()).collect();
    let words = "the strategy proposed one that has as many calls under way as it may; ";
    assert!(why.iter().any(|why| why.starts_with(words)), "{why:?}");
    let explained = world.balancer.explain(full.endpoint().id());
    assert!(explained.starts_with("listed; available, and not picked: it has as many calls"), "{explained}");
}

#[test]
fn what_is_well_and_full_is_no_reason_to_call_what_is_not_well() {
    let world = World::with(LeastLoaded, at_most(1), listing(instances(3)));
    world.update(listing(instances(2)).suspects([alive(instance(2))]));
    world.balancer.eject_at(&instance(1).id().unwrap(), Duration::from_secs(60), world.now());
    let only = world.pick();
    assert_eq!(*only.endpoint().id(), instance(0).id().unwrap());
    assert_eq!(world.try_pick(&[]).unwrap_err(), PickError::Full);

    // What this call has tried is no reason to wait.
    let tried = [instance(0).id().unwrap()];
    assert_eq!(*world.try_pick(&tried).unwrap().endpoint().id(), instance(2).id().unwrap());
}

#[test]
fn an_instance_that_is_full_of_calls_from_before_its_ejection_is_not_probed() {
    let world = World::with(Random, at_most(1), listing(instances(2)));
    let hanging = world.pick_until("i-0");
    world.balancer.eject_at(&instance(0).id().unwrap(), Duration::from_secs(1), world.now());
    world.advance(Duration::from_secs(2));
    assert!((0..50).all(|_| !world.pick().is_probe()));

    hanging.finish_at(Outcome::Cancelled, world.now());
    assert!((0..50).any(|_| world.pick().is_probe()));
}

#[test]
fn however_many_threads_pick_at_once_no_instance_has_more_calls_than_it_may() {
    let balancer = Balancer::with_options(Random, at_most(3));
    balancer.update(&listing(instances(1)).build());
    let (under_way, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let Ok(lease) = balancer.pick() else { continue };
                    most.fetch_max(under_way.fetch_add(1, SeqCst) + 1, SeqCst);
                    std::thread::yield_now();
                    under_way.fetch_sub(1, SeqCst);
                    lease.finish(Outcome::Success);
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
}
