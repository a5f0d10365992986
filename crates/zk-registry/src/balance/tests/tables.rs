//! Tables: what changed takes effect at once, as a mask over the old table; the new table comes soon, and not for each change.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use super::strategies::all_names;
use super::world::{World, alive, draining, instance, instances, listing};
use crate::balance::built::Built;
use crate::balance::strategy::{Named, RoundRobin};
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy};

/// Round robin, as slow to build as the test says.
#[derive(Debug)]
struct Slow {
    then: RoundRobin,
    built: Arc<AtomicUsize>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

/// No picker is built while it is there.
struct Hold(Arc<(Mutex<bool>, Condvar)>);

impl Slow {
    fn new() -> (Self, Arc<AtomicUsize>, impl Fn() -> Hold) {
        let (built, held) = (Arc::default(), Arc::<(Mutex<bool>, Condvar)>::default());
        let slow =
            Self { then: RoundRobin::starting_at(0), built: Arc::clone(&built), held: Arc::clone(&held) };
        let hold = move || {
            *held.0.lock().unwrap() = true;
            Hold(Arc::clone(&held))
        };
        (slow, built, hold)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.1.notify_all();
    }
}

impl Strategy for Slow {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        let (held, released) = &*self.held;
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = released.wait_while(held, |held| *held).unwrap_or_else(PoisonError::into_inner);
        drop(held);
        self.built.fetch_add(1, SeqCst);
        self.then.picker(set)
    }

    fn has_table(&self, _: &EndpointSet) -> bool {
        true
    }
}

/// How many of 300 calls each instance gets.
fn calls(world: &World) -> BTreeMap<String, u32> {
    (0..300).fold(BTreeMap::new(), |mut calls, _| {
        *calls.entry(world.pick_id()).or_default() += 1;
        calls
    })
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn an_update_waits_for_no_table_and_takes_effect_at_once() {
    let (slow, _, hold) = Slow::new();
    let world = World::new(slow, listing(instances(4)));
    let held = hold();
    // One goes, one drains, one is restarted, one comes.
    let restarted = (instance(2), 1);
    world.update(listing([alive(draining(instance(1))), restarted, alive(instance(3)), alive(instance(4))]));
    let before = calls(&world);
    assert!(!before.contains_key("i-0") && !before.contains_key("i-1"), "{before:?}");
    assert!(before["i-2"] > 60 && before["i-3"] > 60, "{before:?}");
    assert_eq!(world.endpoint("i-2").member().incarnation(), 1.into());
    let of_the_new_process = world.pick_until("i-2");
    assert_eq!(of_the_new_process.endpoint().life, 1);
    drop(of_the_new_process);

    drop(held);
    world.advance(Duration::from_secs(60));
    until("the new instance has its share", || calls(&world).get("i-4").is_some_and(|&calls| calls > 60))
        .await;
}

#[tokio::test]
async fn when_nothing_of_the_old_table_is_left_calls_go_to_the_others() {
    let (slow, _, hold) = Slow::new();
    let world = World::new(slow, listing(instances(4)));
    let held = hold();
    world.update(listing((10..14).map(|n| alive(instance(n)))));
    assert_eq!(calls(&world).len(), 4);
    drop(held);
}

#[tokio::test]
async fn a_table_is_not_rebuilt_for_each_change_but_for_the_last_one() {
    let (slow, built, _) = Slow::new();
    let world = World::new(slow, listing(instances(4)));
    let began = std::time::Instant::now();
    for n in 0..400 {
        world.update(listing((n..n + 4).map(|n| alive(instance(n)))));
    }
    until("the table is rebuilt", || calls(&world).keys().eq(["i-399", "i-400", "i-401", "i-402"])).await;
    // The first and the last one, and those that were due meanwhile.
    let due = 3 + began.elapsed().as_millis() as usize / 50;
    assert!(built.load(SeqCst) <= due, "{} for 400 changes, {due} were due", built.load(SeqCst));
}

#[tokio::test]
async fn a_table_whose_building_panics_is_built_after_the_next_update() {
    #[derive(Debug)]
    struct Panicking(Arc<AtomicUsize>, RoundRobin);
    impl Strategy for Panicking {
        fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
            assert_ne!(self.0.fetch_add(1, SeqCst), 1, "the second building fails, as the test wants it");
            self.1.picker(set)
        }
        fn has_table(&self, _: &EndpointSet) -> bool {
            true
        }
    }
    let built = Arc::<AtomicUsize>::default();
    let world = World::new(Panicking(Arc::clone(&built), RoundRobin::starting_at(0)), listing(instances(2)));
    world.update(listing(instances(3)));
    until("the second building has failed", || built.load(SeqCst) == 2).await;
    until("the table is rebuilt", || {
        world.update(listing(instances(3)));
        world.advance(Duration::from_secs(20));
        calls(&world).len() == 3
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn under_a_mask_a_picker_proposes_what_it_would_but_for_what_went(
        name in prop::sample::select(all_names()),
        before in prop::collection::btree_map(0_u32..40, 0_u128..2, 1..40),
        after in prop::collection::btree_map(0_u32..40, 0_u128..2, 1..40),
        seed: u64,
    ) {
        let world = World::new(RoundRobin::starting_at(0), listing(before.iter().map(|(&n, &life)| (instance(n), life))));
        let old = world.balancer.endpoints().unwrap();
        world.update(listing(after.iter().map(|(&n, &life)| (instance(n), life))));
        let new = world.balancer.endpoints().unwrap();
        let built = Built::of(&old, &name.parse::<Named>().unwrap());
        let (plain, masked) = (built.picker(&old), built.picker(&new));
        let ask = |picker: &dyn Picker, key: u64| {
            let mut rng = SmallRng::seed_from_u64(seed ^ key);
            let mut words = || rng.next_u64();
            let mut pick = Pick::new(Instant::now(), &mut words).with_key(key);
            picker.pick(&mut pick)
        };
        let takes_turns = name.contains("round-robin");
        for key in 0..50 {
            let wanted = old[ask(&*plain, key)].id().clone();
            let proposed: Index = ask(&*masked, key);
            match new.get(proposed) {
                // Turns are taken by both.
                Some(endpoint) if takes_turns => prop_assert!(old.by_id(endpoint.id()).is_some()),
                Some(endpoint) => prop_assert_eq!(endpoint.id(), &wanted),
                None if takes_turns => {}
                None => prop_assert!(new.by_id(&wanted).is_none(), "{} is still there", wanted),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_renewed_picker_proposes_what_a_new_one_would(
        name in prop::sample::select(vec!["consistent-hash", "zone:z-0/consistent-hash"]),
        changes in prop::collection::vec((0_u32..40, 0_u16..4), 2..12),
        seed: u64,
    ) {
        let weighing = |n: u32, weight: u16| {
            let weight = NonZeroU16::new(weight).unwrap();
            instance(n).with_weight(weight).with_zone(format!("z-{}", n % 3))
        };
        let mut weights: BTreeMap<u32, u16> = (0..40).map(|n| (n, 1)).collect();
        let set = |weights: &BTreeMap<u32, u16>| {
            let there = weights.iter().filter(|(_, weight)| **weight > 0);
            let listing = listing(there.map(|(&n, &weight)| alive(weighing(n, weight))));
            World::new(RoundRobin::starting_at(0), listing).balancer.endpoints().unwrap()
        };
        let strategy: Named = name.parse().unwrap();
        let mut built = Built::of(&set(&weights), &strategy);
        for (n, weight) in changes {
            weights.insert(n, weight);
            let set = set(&weights);
            built = built.renewed(&set, &strategy);
            let (renewed, new) = (built.picker(&set), Built::of(&set, &strategy).picker(&set));
            for key in 0..50 {
                let ask = |picker: &dyn Picker| {
                    let mut rng = SmallRng::seed_from_u64(seed ^ key);
                    let mut words = || rng.next_u64();
                    picker.pick(&mut Pick::new(Instant::now(), &mut words).with_key(key))
                };
                prop_assert_eq!(ask(&*renewed), ask(&*new));
            }
        }
    }
}
