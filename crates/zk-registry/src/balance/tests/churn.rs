//! What a balancer remembers is bounded by what is listed, however much comes and goes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::world::{World, alive, instance, listing};
use crate::balance::strategy::LeastLoaded;
use crate::balance::{Endpoint, Outcome, Phase, PhaseChange};
use crate::instance::Instance;

#[test]
fn churn_leaves_nothing_behind() {
    let world = World::new(LeastLoaded, listing([]));
    for round in 0..200 {
        world.update(listing((0..50).map(|n| alive(instance(round * 50 + n)))));
        world.fail_any(20);
    }
    assert_eq!(world.balancer.known(), 50);
    world.update(listing([]));
    assert_eq!(world.balancer.known(), 0);
}

/// From one snapshot to the next.
#[derive(Clone, Debug)]
struct Turn {
    /// Who is listed, in which incarnation.
    listed: BTreeMap<u32, u128>,
    suspects: BTreeSet<u32>,
    /// How the calls of this turn end.
    outcomes: Vec<u8>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let listed = proptest::collection::btree_map(0_u32..50, 0_u128..3, 0..30);
    let suspects = proptest::collection::btree_set(0_u32..50, 0..10);
    let outcomes = proptest::collection::vec(0_u8..5, 0..40);
    (listed, suspects, outcomes).prop_map(|(listed, mut suspects, outcomes)| {
        suspects.retain(|n| !listed.contains_key(n));
        Turn { listed, suspects, outcomes }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn only_what_is_named_is_remembered_and_no_call_is_lost(turns in proptest::collection::vec(turn(), 1..20)) {
        let world = World::new(LeastLoaded, listing([]));
        let mut under_way = Vec::new();
        for turn in turns {
            let listed = turn.listed.iter().map(|(&n, &incarnation)| (instance(n), incarnation));
            let suspects = turn.suspects.iter().map(|&n| alive(instance(n)));
            world.update(listing(listed).suspects(suspects));
            prop_assert_eq!(world.balancer.known(), turn.listed.len() + turn.suspects.len());
            for outcome in turn.outcomes {
                world.advance(Duration::from_millis(100));
                let Ok(lease) = world.try_pick(&[]) else { continue };
                match outcome {
                    0 => under_way.push(lease),
                    1 => lease.finish_at(Outcome::Success, world.now()),
                    2 => lease.finish_at(Outcome::Failure, world.now()),
                    3 => lease.finish_at(Outcome::Refused, world.now()),
                    _ => drop(lease),
                }
            }
        }
        under_way.clear();
        for set in [world.balancer.endpoints(), world.balancer.suspects()].into_iter().flatten() {
            prop_assert!(set.iter().all(|endpoint| endpoint.in_flight() == 0));
        }
        world.update(listing([]));
        prop_assert_eq!(world.balancer.known(), 0);
    }

    #[test]
    fn what_is_counted_is_what_a_count_would_find(turns in proptest::collection::vec(turn(), 1..20)) {
        let world = World::new(LeastLoaded, listing([]));
        let mut out = BTreeSet::new();
        for turn in turns {
            // Ten addresses for fifty ids.
            let shared = |n: u32| Instance::new(format!("10.0.0.{}", n % 10), 80).with_id(instance(n).id().unwrap());
            let listed = turn.listed.iter().map(|(&n, &incarnation)| (shared(n), incarnation));
            world.update(listing(listed).suspects(turn.suspects.iter().map(|&n| alive(shared(n)))));
            for outcome in turn.outcomes {
                world.advance(Duration::from_millis(400));
                let Ok(lease) = world.try_pick(&[]) else { continue };
                match outcome {
                    0 => drop(lease),
                    1 => lease.finish_at(Outcome::Success, world.now()),
                    2 => lease.finish_at(Outcome::Failure, world.now()),
                    _ => lease.finish_at(Outcome::Unreachable, world.now()),
                }
            }
            for change in world.changes() {
                match change {
                    PhaseChange::Ejected { instance, .. } | PhaseChange::Dropped { instance } => {
                        out.insert(instance);
                    }
                    PhaseChange::Available { instance } | PhaseChange::Gone { instance } => {
                        prop_assert!(out.remove(&instance), "{} was not out", instance);
                    }
                    _ => {}
                }
            }
            let sets = || [world.balancer.endpoints(), world.balancer.suspects()].into_iter().flatten();
            let is_out = |one: &&Endpoint| one.phase() != Phase::Available;
            let found: BTreeSet<_> = sets()
                .flat_map(|set| set.iter().filter(is_out).map(|one| one.id().clone()).collect::<Vec<_>>())
                .collect();
            prop_assert_eq!(&found, &out, "an observer's set");
            let (listed, unavailable) = world.balancer.counts();
            let set = world.balancer.endpoints();
            let ejected = set.as_ref().map_or(0, |set| set.iter().filter(is_out).count());
            prop_assert_eq!((listed, unavailable), (set.map_or(0, |set| set.len()), ejected));
        }
    }
}
