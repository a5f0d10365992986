use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::world::{Listing, World, alive, draining, instance, instances, listing};
use crate::balance::strategy::{
    ConsistentHash, LeastLoaded, Named, PeakEwma, RoundRobin, Sticky, WeightedRandom, WeightedRoundRobin,
    Zone,
};
use crate::balance::{BalancerOptions, EndpointSet, Outcome, Pick, Strategy as Choice, Tracking};
use crate::instance::{Instance, InstanceId};

fn weighing(n: u32, weight: u16) -> Instance {
    instance(n).with_weight(weight.try_into().unwrap())
}

fn in_zone(n: u32, zone: &str) -> Instance {
    instance(n).with_zone(zone)
}

/// How often each instance is picked, as a share of all.
fn shares(world: &World, picks: u32) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for _ in 0..picks {
        *counts.entry(world.pick_id()).or_insert(0.0) += 1.0 / f64::from(picks);
    }
    counts
}

/// Who has each of a thousand keys.
fn owners(world: &World) -> Vec<String> {
    (0..1000_u64).map(|key| world.pick_key(key).endpoint().id().to_string()).collect()
}

fn moved(before: &[String], after: &[String]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

pub(super) fn all_names() -> Vec<String> {
    let zoned = Named::NAMES.map(|name| format!("zone:a/{name}"));
    Named::NAMES.map(str::to_owned).into_iter().chain(zoned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_picker_proposes_only_what_is_in_its_set(
        weights in proptest::collection::vec(1_u16..1000, 1..40),
        seed: u64,
        key: Option<u64>,
    ) {
        let members = weights.iter().zip(0..).map(|(&weight, n)| {
            alive(weighing(n, weight).with_zone(if n % 3 == 0 { "a" } else { "b" }))
        });
        let set = EndpointSet::of(&listing(members).build()).unwrap();
        let mut rng = SmallRng::seed_from_u64(seed);
        for name in all_names() {
            let picker = name.parse::<Named>().unwrap().picker(&set);
            for attempt in 0..6 {
                let mut words = || rng.next_u64();
                let mut pick = Pick::new(Instant::now(), &mut words);
                pick.key = key.map(Into::into);
                pick.attempt = attempt;
                prop_assert!(set.get(picker.pick(&mut pick)).is_some(), "{}", name);
            }
        }
    }

    #[test]
    fn only_candidates_are_picked(
        sorts in proptest::collection::vec(0_u8..5, 1..20),
        failures in 0_usize..60,
        tried in proptest::collection::btree_set(0_u32..20, 0..20),
    ) {
        let members = || sorts.iter().zip(0..).map(|(sort, n)| {
            let zoned = in_zone(n, if n % 2 == 0 { "a" } else { "b" });
            alive(match sort {
                0 => draining(zoned),
                1 => Instance::new("", 0).with_id(zoned.id().unwrap()),
                _ => zoned,
            })
        });
        let candidates: BTreeSet<String> =
            sorts.iter().zip(0..).filter(|(sort, _)| **sort > 1).map(|(_, n)| format!("i-{n}")).collect();
        let tried: Vec<InstanceId> = tried.iter().map(|n| instance(*n).id().unwrap()).collect();
        let left = || candidates.iter().filter(|id| tried.iter().all(|tried| tried.as_str() != **id));
        for name in all_names() {
            let world = World::new(name.parse::<Named>().unwrap(), listing(members()));
            if !candidates.is_empty() {
                world.fail_any(failures);
            }
            let available: BTreeSet<&String> = left().filter(|id| world.is_available(id)).collect();
            for _ in 0..20 {
                let Ok(lease) = world.try_pick(&tried) else {
                    prop_assert_eq!(left().count(), 0, "{}", name);
                    continue;
                };
                let id = lease.endpoint().id().to_string();
                prop_assert!(left().any(|one| *one == id), "{}: {}", name, id);
                let passed_over = !available.is_empty() && !world.balancer.is_panicking();
                prop_assert!(!passed_over || available.contains(&id), "{}: {} is ejected", name, id);
            }
        }
    }

    #[test]
    fn shares_follow_the_weights(weights in proptest::collection::vec(1_u16..20, 2..8)) {
        let sum: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let members = || listing(weights.iter().zip(0..).map(|(&weight, n)| alive(weighing(n, weight))));
        let strategies: [(Box<dyn Choice>, f64); 4] = [
            (Box::new(WeightedRandom), 0.02),
            (Box::new(WeightedRoundRobin::default()), 0.01),
            (Box::new(LeastLoaded), 0.02),
            (Box::new(PeakEwma::default()), 0.02),
        ];
        for (strategy, tolerance) in strategies {
            let text = format!("{strategy:?}");
            let world = World::new(strategy, members());
            let shares = shares(&world, 10_000);
            for (&weight, n) in weights.iter().zip(0..) {
                let share = shares.get(&format!("i-{n}")).copied().unwrap_or(0.0);
                let wanted = f64::from(weight) / sum;
                prop_assert!((share - wanted).abs() < tolerance, "{}: {} of {}", text, share, wanted);
            }
        }
    }

    #[test]
    fn only_the_keys_of_who_comes_or_goes_move(
        weights in proptest::collection::vec(prop_oneof![Just(1_u16), 1_u16..1000], 2..60),
        gone: proptest::sample::Index,
    ) {
        let all = || weights.iter().zip(0..).map(|(&weight, n)| alive(weighing(n, weight)));
        let gone = gone.index(weights.len());
        for strategy in [ConsistentHash::UNBOUNDED, ConsistentHash::default()] {
            let world = World::new(strategy, listing(all()));
            let before = owners(&world);
            world.update(listing(all().filter(|(one, _)| *one != weighing(gone as u32, weights[gone]))));
            let after = owners(&world);
            let name = format!("i-{gone}");
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *before == name, "{} -> {}", before, after);
            }
            let share = f64::from(weights[gone]) / weights.iter().map(|&weight| f64::from(weight)).sum::<f64>();
            let most = (1100.0 * share) as usize + 60;
            prop_assert!(moved(&before, &after) <= most, "{} of 1000 moved", moved(&before, &after));

            world.update(listing(all()));
            world.advance(Duration::from_secs(60)); // past its slow start
            prop_assert_eq!(before, owners(&world));
        }
    }

    #[test]
    fn a_sticky_client_moves_only_when_its_instance_goes(
        count in 2_u32..40,
        gone in proptest::collection::btree_set(0_u32..40, 0..39),
        seed: u64,
    ) {
        let world = World::new(Sticky::with_seed(seed), listing(instances(count)));
        let first = world.pick_id();
        let left: Vec<u32> = (0..count).filter(|n| !gone.contains(n)).collect();
        prop_assume!(!left.is_empty());
        world.update(listing(left.iter().map(|&n| alive(instance(n)))));
        let second = world.pick_id();
        let could_stay = left.iter().any(|n| format!("i-{n}") == first);
        prop_assert!(second == first || !could_stay, "{} -> {}", first, second);
        prop_assert!((0..20).all(|_| world.pick_id() == second));
    }
}

#[test]
fn round_robin_takes_turns_and_does_not_lose_its_place_when_the_set_changes() {
    let world = World::new(RoundRobin::starting_at(0), listing(instances(3)));
    let turns: String = (0..6).map(|_| world.pick_id().replace("i-", "")).collect();
    assert_eq!(turns, "012012");
    world.pick_id();
    world.update(listing([alive(weighing(0, 2)), alive(instance(1)), alive(instance(2))]));
    assert_eq!(world.pick_id(), "i-1");
}

#[test]
fn shares_follow_the_weights_across_threads() {
    for name in ["round-robin", "weighted-random", "weighted-round-robin"] {
        let weight = |n: u16| if name == "round-robin" { 1 } else { n + 1 };
        let weights = (0..7).map(|n| alive(weighing(n.into(), weight(n))));
        let world = World::new(name.parse::<Named>().unwrap(), listing(weights));
        let (balancer, now) = (&world.balancer, world.now());
        let counts = std::thread::scope(|scope| {
            let count = |seed| {
                scope.spawn(move || {
                    let mut rng = SmallRng::seed_from_u64(seed);
                    let mut counts = BTreeMap::new();
                    for _ in 0..20_000 {
                        let lease = balancer.pick_with(&mut Pick::new(now, &mut || rng.next_u64())).unwrap();
                        *counts.entry(lease.endpoint().id().to_string()).or_insert(0.0) += 1.0 / 80_000.0;
                        lease.finish_at(Outcome::Success, now);
                    }
                    counts
                })
            };
            let threads: Vec<_> = (0..4).map(count).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let sum: f64 = (0..7).map(|n| f64::from(weight(n))).sum();
        for n in 0..7 {
            let id = format!("i-{n}");
            let share: f64 = counts.iter().filter(|(one, _)| *one == id).map(|(_, share)| share).sum();
            let wanted = f64::from(weight(n)) / sum;
            assert!((share - wanted).abs() < 0.02, "{name}: {id} has {share} of {wanted}");
        }
    }
}

#[test]
fn the_turn_of_an_ejected_instance_does_not_go_to_its_neighbour() {
    let world = World::new(RoundRobin::starting_at(0), listing(instances(10)));
    world.fail("i-3", 5);
    let shares = shares(&world, 10_000);
    assert!((0.09..0.13).contains(&shares["i-4"]), "{shares:?}");
}

#[test]
fn what_the_ejected_leave_is_shared_evenly() {
    for name in ["least-loaded", "peak-ewma", "random", "round-robin", "weighted-random"] {
        let world = World::new(name.parse::<Named>().unwrap(), listing(instances(10)));
        for n in 0..7 {
            world.fail_alone(&format!("i-{n}"), 5);
        }
        let shares = shares(&world, 10_000);
        assert!(shares.values().all(|share| (0.29..0.38).contains(share)), "{name}: {shares:?}");
    }
}

#[test]
fn an_ejected_instance_is_probed_whatever_the_strategy() {
    // But a sticky client may never come by, and peak EWMA waits until the failures fade.
    for name in Named::NAMES.into_iter().filter(|name| !["peak-ewma", "sticky"].contains(name)) {
        let world = World::new(name.parse::<Named>().unwrap(), listing(instances(3)));
        world.fail_alone("i-0", 5);
        world.advance(Duration::from_secs(5));
        assert!(world.pick_until("i-0").is_probe(), "{name}");
    }
}

#[test]
fn least_loaded_evens_out_calls_in_flight() {
    let world = World::new(LeastLoaded, listing(instances(10)));
    let leases: Vec<_> = (0..1000).map(|_| world.pick()).collect();
    let set = world.balancer.endpoints().unwrap();
    let most = set.iter().map(|endpoint| endpoint.in_flight()).max().unwrap();
    assert!(most <= 105, "{most} of 1000 on one of ten");
    drop(leases);
    assert!(set.iter().all(|endpoint| endpoint.in_flight() == 0));
}

#[test]
fn least_loaded_fills_large_instances_with_more() {
    let world = World::new(LeastLoaded, listing([alive(weighing(0, 1)), alive(weighing(1, 4))]));
    let leases: Vec<_> = (0..500).map(|_| world.pick()).collect();
    let load = world.endpoint("i-1").in_flight();
    assert!((390..=410).contains(&load), "{load}");
    drop(leases);
}

#[test]
fn peak_ewma_shuns_who_is_slow_and_who_fails_fast() {
    let options = BalancerOptions { ejection: crate::balance::Ejection::off(), ..BalancerOptions::default() };
    let world = World::with(PeakEwma::default(), options, listing(instances(3)));
    let mut counts = BTreeMap::new();
    for _ in 0..3000 {
        let lease = world.pick();
        let id = lease.endpoint().id().to_string();
        let (outcome, millis) = match id.as_str() {
            "i-0" => (Outcome::Success, 200),
            "i-1" => (Outcome::Failure, 1),
            _ => (Outcome::Success, 10),
        };
        *counts.entry(id).or_insert(0) += 1;
        lease.finish_at(outcome, world.later(Duration::from_millis(millis)));
    }
    // Of two at random, the well one is among them in two of three cases.
    let well = counts["i-2"];
    assert!(well > 1900, "{counts:?}");
}

#[test]
fn sticky_clients_stay_and_spread() {
    let world = World::new(Sticky::with_seed(1), listing(instances(10)));
    let first = world.pick_id();
    assert!((0..100).all(|_| world.pick_id() == first));
    world.fail(&first, 5);
    let second = world.pick_id();
    assert_ne!(first, second);
    assert!((0..100).all(|_| world.pick_id() == second));

    let mut counts = BTreeMap::new();
    for seed in 0..2000 {
        let world = World::new(Sticky::with_seed(seed), listing([alive(weighing(0, 3)), alive(instance(1))]));
        *counts.entry(world.pick_id()).or_insert(0) += 1;
    }
    assert!((1400..1600).contains(&counts["i-0"]), "{counts:?}");
}

/// Lets a fifth instance come, and has `owner` asked until its slow start is over.
fn start_slowly<T: PartialEq>(world: &World, owner: impl Fn(&World) -> T) -> Vec<T> {
    let mut seen = vec![owner(world)];
    world.update(listing(instances(5)));
    for _ in 0..60 {
        seen.push(owner(world));
        world.advance(Duration::from_millis(200));
    }
    seen
}

#[test]
fn a_slow_start_moves_a_sticky_client_once() {
    let mut moved = 0;
    for seed in 0..200 {
        let world = World::new(Sticky::with_seed(seed), listing(instances(4)));
        let mut seen = start_slowly(&world, World::pick_id);
        seen.dedup();
        assert_eq!(seen.len(), if seen.last().unwrap() == "i-4" { 2 } else { 1 }, "{seed}: {seen:?}");
        moved += seen.len() - 1;
    }
    assert!((20..60).contains(&moved), "{moved} of 200");
}

#[test]
fn a_slow_start_moves_a_key_once() {
    let world = World::new(ConsistentHash::UNBOUNDED, listing(instances(4)));
    let seen = start_slowly(&world, owners);
    let mut moved = 0;
    for key in 0..1000 {
        let mut seen: Vec<&String> = seen.iter().map(|owners| &owners[key]).collect();
        seen.dedup();
        assert_eq!(seen.len(), if *seen.last().unwrap() == "i-4" { 2 } else { 1 }, "{key}: {seen:?}");
        moved += seen.len() - 1;
    }
    assert!((150..250).contains(&moved), "{moved} of 1000");
}

#[test]
fn keys_are_shared_by_weight() {
    let world = World::new(ConsistentHash::UNBOUNDED, listing([alive(weighing(0, 3)), alive(instance(1))]));
    let owned = (0..10_000_u64).filter(|&key| world.pick_key(key).endpoint().id().as_str() == "i-0").count();
    assert!((7300..7700).contains(&owned), "{owned}");
}

#[test]
fn a_new_weight_moves_only_the_keys_that_its_instance_gets() {
    let with_weight = |weight| listing((0..10).map(|n| alive(weighing(n, if n == 0 { weight } else { 1 }))));
    let world = World::new(ConsistentHash::UNBOUNDED, with_weight(1));
    let before = owners(&world);
    world.update(with_weight(100));
    for (before, after) in before.iter().zip(&owners(&world)) {
        assert!(before == after || *after == "i-0", "{before} -> {after}");
    }
}

#[test]
fn the_keys_of_an_ejected_instance_are_where_they_would_be_without_it() {
    let world = World::new(ConsistentHash::UNBOUNDED, listing(instances(10)));
    world.update(listing((1..10).map(|n| alive(instance(n)))));
    let without = owners(&world);
    world.update(listing(instances(10)));
    world.advance(Duration::from_secs(60));
    world.fail_alone("i-0", 5);
    assert_eq!(owners(&world), without);
}

#[test]
fn each_zone_has_a_bound_of_its_own() {
    let zones = (0..10).map(|n| alive(in_zone(n, if n < 2 { "a" } else { "b" })));
    let world = World::new(Zone::new("a", ConsistentHash::default()), listing(zones));
    let is_near = |lease: &crate::balance::Lease| lease.instance().zone() == Some("a");
    let near: Vec<_> = (0..2000_u64).map(|key| world.pick_key(key)).filter(is_near).take(300).collect();
    assert_eq!(near.len(), 300);
    let far = (0..100_u64).find(|&key| !is_near(&world.pick_key(key))).unwrap();
    let hot: Vec<_> = (0..100).map(|_| world.pick_key(far)).collect();
    let set = world.balancer.endpoints().unwrap();
    let most = set.iter().skip(2).map(|endpoint| endpoint.in_flight()).max().unwrap();
    assert!(most <= 18, "1.25 times the fair share is 16: {most}");
    drop((near, hot));
}

#[test]
fn a_hot_key_spills_over_at_the_bound() {
    let world = World::new(ConsistentHash::default(), listing(instances(10)));
    let leases: Vec<_> = (0..400).map(|_| world.pick_key("hot")).collect();
    let set = world.balancer.endpoints().unwrap();
    assert_eq!(set.total_in_flight(), 400);
    let loads: Vec<u32> = set.iter().map(|endpoint| endpoint.in_flight()).collect();
    let most = loads.iter().copied().max().unwrap();
    assert!(most <= 51, "1.25 times the fair share is 50: {loads:?}");
    drop(leases);
    assert_eq!(set.total_in_flight(), 0);
}

#[test]
fn the_same_key_meets_the_same_instance_in_every_version() {
    let world = World::new(ConsistentHash::UNBOUNDED, listing(instances(5)));
    let owner = |key: &str| world.pick_key(key).endpoint().id().to_string();
    assert_eq!(["a", "b", "user-42", ""].map(owner), ["i-4", "i-0", "i-1", "i-4"]);
}

#[test]
fn a_client_sticks_to_its_instance_although_its_zone_is_too_small_for_all() {
    let zones = || (0..10).map(|n| alive(in_zone(n, if n < 2 { "a" } else { "b" })));
    let mut abroad = 0;
    for seed in 0..200 {
        let world = World::new(Zone::new("a", Sticky::with_seed(seed)), listing(zones()));
        let first = world.pick_id();
        assert!((0..20).all(|_| world.pick_id() == first));
        abroad += u32::from(!["i-0", "i-1"].contains(&first.as_str()));
    }
    // Two of ten instances in one of two zones are two fifths of what the zone needs.
    assert!((90..150).contains(&abroad), "{abroad} of 200 clients went abroad");
}

#[test]
fn the_local_zone_comes_first_and_spills_over_when_small_or_unwell() {
    let zoned = |local: u32, far: u32| -> Listing {
        let near = (0..local).map(|n| alive(in_zone(n, "a")));
        listing(near.chain((local..local + far).map(|n| alive(in_zone(n, "b")))))
    };
    let share_of_local = |world: &World, local: u32| {
        let shares = shares(world, 10_000);
        (0..local).filter_map(|n| shares.get(&format!("i-{n}"))).sum::<f64>()
    };
    let world = World::new(Zone::new("a", LeastLoaded), zoned(5, 5));
    assert!(share_of_local(&world, 5) > 0.999);

    // One of five is ejected: a fifth of the calls goes abroad, the other four get no more than before.
    world.fail("i-0", 5);
    assert!((0.77..0.83).contains(&share_of_local(&world, 5)));

    // A tenth of the weight in one of two zones is a fifth of what the zone needs.
    let world = World::new(Zone::new("a", LeastLoaded), zoned(1, 9));
    assert!((0.18..0.22).contains(&share_of_local(&world, 1)));

    let world = World::new(Zone::new("elsewhere", LeastLoaded), zoned(2, 2));
    assert!(shares(&world, 10_000).len() == 4);
}

#[test]
fn a_foreign_picker_that_answers_nonsense_is_not_obeyed() {
    #[derive(Debug)]
    struct Nonsense;
    impl Choice for Nonsense {
        fn picker(&self, _: &Arc<EndpointSet>) -> Box<dyn crate::balance::Picker> {
            Box::new(Self)
        }
    }
    impl crate::balance::Picker for Nonsense {
        fn pick(&self, _: &mut Pick<'_>) -> crate::balance::Index {
            crate::balance::Index::new(usize::MAX)
        }
    }
    let world = World::new(Zone::new("a", Nonsense), listing([alive(in_zone(0, "a")), alive(instance(1))]));
    assert!(world.try_pick(&[]).is_ok());
}

#[test]
fn nothing_is_tracked_unless_somebody_asks() {
    let in_flight = |tracking| {
        let options = BalancerOptions { tracking, ..BalancerOptions::default() };
        let world = World::with(WeightedRandom, options, listing(instances(1)));
        let lease = world.pick();
        let during = lease.endpoint().in_flight();
        lease.finish_at(Outcome::Success, world.now());
        (during, world.endpoint("i-0").in_flight())
    };
    assert_eq!(in_flight(Tracking::default()), (0, 0));
    assert_eq!(in_flight(Tracking::NOTHING.with_in_flight()), (1, 0));
}
