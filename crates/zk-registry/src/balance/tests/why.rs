//! A balancer says in words why it picked an instance, and what it knows of one.

use std::time::Duration;

use super::world::{World, alive, draining, instance, instances, listing};
use crate::balance::strategy::RoundRobin;

#[test]
fn a_lease_says_what_was_proposed_and_what_was_refused() {
    let world = World::new(RoundRobin::starting_at(0), listing(instances(3)));
    assert_eq!(world.pick().why().to_string(), "the strategy proposed this one");

    let tried = [instance(1).id().unwrap()];
    let why: Vec<String> = (0..30).map(|_| world.try_pick(&tried).unwrap().why().to_string()).collect();
    assert!(
        why.iter().any(|why| why.starts_with("the strategy proposed one that this call has tried; ")),
        "{why:?}"
    );

    world.balancer.eject_at(&tried[0], Duration::from_secs(10), world.now());
    let why: Vec<String> = (0..30).map(|_| world.pick().why().to_string()).collect();
    assert!(why.iter().any(|why| why.starts_with("the strategy proposed one that is ejected; ")), "{why:?}");

    world.advance(Duration::from_secs(11));
    let why: Vec<String> = (0..30).map(|_| world.pick().why().to_string()).collect();
    assert!(why.iter().any(|why| why.contains("the probe is due")), "{why:?}");
}

#[test]
fn an_instance_is_explained_in_words() {
    let world = World::new(RoundRobin::starting_at(0), listing(instances(3)));
    world.update(listing([alive(instance(0)), alive(draining(instance(1)))]).suspects([alive(instance(2))]));
    let explain = |n: u32| world.balancer.explain(&instance(n).id().unwrap());
    assert_eq!(explain(0), "listed; available; 0 calls in flight, 100 % succeed");
    assert!(explain(1).starts_with("listed, and draining"), "{}", explain(1));
    assert!(explain(2).starts_with("no longer listed, one of many"), "{}", explain(2));
    assert_eq!(explain(3), "not listed");

    world.balancer.eject(&instance(0).id().unwrap(), Duration::from_secs(60));
    assert!(explain(0).starts_with("listed; ejected"), "{}", explain(0));
}
