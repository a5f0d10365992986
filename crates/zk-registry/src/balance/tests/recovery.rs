//! Instances that get well again, and those that never do: nothing is starved, and nothing is asked in vain for long.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::world::{World, alive, instance, instances, listing};
use crate::balance::strategy::{ConsistentHash, Named, PeakEwma, Random, RoundRobin, WeightedRandom};
use crate::balance::{
    Balancer, BalancerOptions, Budget, BudgetOptions, Cause, Decision, EndpointSet, Event, Index, Lease,
    Outcome, Phase, PhaseChange, Pick, PickError, Picker, Retry, Safety, Strategy,
};
use crate::instance::{Instance, InstanceId};
use tokio::time::Instant;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Calls one after the other, each answered after a millisecond, for so long; the share of `id` in them.
fn share_of(world: &World, id: &str, time: Duration) -> f64 {
    let end = world.now() + time;
    let (mut calls, mut its) = (0_u32, 0_u32);
    while world.now() < end {
        let lease = world.pick();
        its += u32::from(lease.endpoint().id().as_str() == id);
        calls += 1;
        lease.finish_at(Outcome::Success, world.later(MILLISECOND));
    }
    f64::from(its) / f64::from(calls)
}

#[test]
fn a_failure_costs_an_instance_its_share_for_seconds_only() {
    for failures in 1..=4 {
        let world = World::new(PeakEwma::default(), listing(instances(4)));
        share_of(&world, "i-0", Duration::from_secs(1));
        world.fail_alone("i-0", failures);
        share_of(&world, "i-0", Duration::from_secs(10));
        let share = share_of(&world, "i-0", Duration::from_secs(2));
        assert!((0.22..0.28).contains(&share), "{failures} failures: {share}");
    }
}

/// Always the first.
#[derive(Debug)]
struct First;

impl Strategy for First {
    fn picker(&self, _: &Arc<EndpointSet>) -> Box<dyn Picker> {
        Box::new(Self)
    }
}

impl Picker for First {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        Index::new(pick.attempt() as usize)
    }
}

#[test]
fn a_probe_that_is_due_is_made_although_the_strategy_never_proposes_the_instance() {
    let world = World::new(First, listing(instances(3)));
    world.fail_alone("i-2", 5);
    world.advance(Duration::from_secs(5));
    let mut probes = Vec::new();
    for call in 0..200 {
        let lease = world.pick();
        if lease.is_probe() {
            probes.push(call);
        }
        lease.finish_at(Outcome::Success, world.now());
    }
    assert!(world.is_available("i-2"));
    assert_eq!(probes, [0, 20, 40], "one call of twenty at most");
}

#[test]
fn a_retry_is_never_a_probe_while_another_instance_is_left() {
    let world = World::new(Random, listing(instances(10)));
    for n in 0..5 {
        world.fail_alone(&format!("i-{n}"), 5);
    }
    world.advance(Duration::from_secs(60));
    let tried = [instance(9).id().unwrap()];
    for _ in 0..200 {
        let lease = world.try_pick(&tried).unwrap();
        assert!(!lease.is_probe() && lease.endpoint().phase() == Phase::Available);
    }
}

#[test]
fn where_all_are_new_the_weights_hold_from_the_start() {
    let weighing = |n: u32, weight: u16| alive(instance(n).with_weight(weight.try_into().unwrap()));
    let world = World::new(WeightedRandom, listing([]));
    world.update(listing([weighing(0, 1), weighing(1, 9)]));
    for second in [0, 3, 3, 3] {
        world.advance(Duration::from_secs(second));
        let light = (0..10_000).filter(|_| world.pick_id() == "i-0").count() as f64 / 10_000.0;
        assert!((0.08..0.12).contains(&light), "{light}");
    }
}

#[test]
fn where_all_are_new_each_key_is_at_its_instance_from_the_start() {
    let world = World::new(ConsistentHash::UNBOUNDED, listing([]));
    world.update(listing(instances(5)));
    let owners = || -> Vec<String> {
        (0..1000_u64).map(|key| world.pick_key(key).endpoint().id().to_string()).collect()
    };
    let at_first = owners();
    for _ in 0..4 {
        world.advance(Duration::from_secs(3));
        assert_eq!(owners(), at_first);
    }
}

#[test]
fn one_that_came_later_is_new_beside_those_that_came_first() {
    let world = World::new(Random, listing([]));
    world.update(listing(instances(4)));
    world.advance(Duration::from_secs(5));
    world.update(listing(instances(5)));
    let late = (0..20_000).filter(|_| world.pick_id() == "i-4").count() as f64 / 20_000.0;
    assert!((0.02..0.08).contains(&late), "a tenth of its share beside half of theirs: {late}");
}

#[test]
fn a_dial_begun_while_the_instance_was_a_suspect_says_nothing_once_it_is_listed() {
    let world = World::new(Random, listing([]).suspects([alive(instance(0))]));
    let lease = world.pick();
    world.update(listing(instances(2)));
    lease.finish_at(Outcome::Unreachable, world.now());
    assert!(world.is_available("i-0"));
    assert_eq!(world.changes(), []);
}

#[test]
fn an_instance_that_went_is_not_ejected_any_more() {
    let world = World::new(Random, listing(instances(4)));
    let late = world.pick_until("i-0");
    world.fail("i-0", 4);
    world.update(listing((1..4).map(|n| alive(instance(n)))));
    late.finish_at(Outcome::Failure, world.now());
    assert_eq!(world.changes(), []);
}

#[test]
fn a_restarted_process_does_not_start_ejected() {
    let world = World::new(Random, listing(instances(4)));
    let late = world.pick_until("i-0");
    world.fail("i-0", 4);
    world.update(listing((0..4).map(|n| (instance(n), u128::from(n == 0)))));
    late.finish_at(Outcome::Failure, world.now());
    assert!(world.is_available("i-0"));
    assert_eq!(world.changes(), []);
}

#[test]
fn an_instance_whose_calls_are_only_given_up_is_not_asked_again_and_again() {
    let world = World::new(PeakEwma::default(), listing(instances(3)));
    let mut in_vain = 0;
    for _ in 0..300 {
        let lease = world.pick();
        if lease.endpoint().id().as_str() == "i-0" {
            in_vain += 1;
            lease.finish_at(Outcome::Cancelled, world.later(Duration::from_secs(1)));
        } else {
            lease.finish_at(Outcome::Success, world.later(MILLISECOND));
        }
    }
    assert!(in_vain <= 3, "{in_vain} of 300 calls");
}

/// One query with its retries; whether it was answered. Only the instances whose number `lives` allows can be dialled.
fn query(world: &World, rules: Retry, budget: &Arc<Budget>, lives: impl Fn(&InstanceId) -> bool) -> bool {
    let mut attempts = rules.begin_at(budget, Safety::Once, None, world.now());
    loop {
        let lease = match world.try_pick(attempts.tried()) {
            Err(PickError::AllExcluded) => {
                attempts.start_over();
                continue;
            }
            picked => picked.unwrap(),
        };
        let outcome = if lives(lease.endpoint().id()) { Outcome::Success } else { Outcome::Unreachable };
        match attempts.finish(lease, outcome, world.now(), &mut rand::random::<u64>) {
            Decision::Done => return true,
            Decision::GiveUp(_) => return false,
            Decision::Retry { after } => world.advance(after),
        }
    }
}

#[test]
fn a_set_of_ghosts_with_one_that_lives_settles_on_it() {
    let zoned = |n: u32| instance(n).with_zone(if n.is_multiple_of(2) { "a" } else { "b" });
    for name in Named::NAMES.into_iter().chain(["zone:a/least-loaded", "zone:b/peak-ewma"]) {
        for size in [2, 10, 100] {
            let world =
                World::new(name.parse::<Named>().unwrap(), listing((0..size).map(|n| alive(zoned(n)))));
            let budget = Arc::new(Budget::starting(BudgetOptions::default(), world.now()));
            let last = instance(size - 1).id().unwrap();
            let ask = |seconds: u32| -> u32 {
                let queries = 0..seconds * 20;
                queries
                    .map(|_| {
                        world.advance(Duration::from_millis(50));
                        u32::from(!query(&world, Retry::default(), &budget, |id| *id == last))
                    })
                    .sum()
            };
            ask(10);
            assert_eq!(ask(600), 0, "{name}, 1 of {size}");
        }
    }
}

#[test]
fn if_nothing_can_be_dialled_everything_is_tried() {
    let world = World::new(Random, listing(instances(5)));
    let budget = Arc::new(Budget::starting(BudgetOptions::default(), world.now()));
    for _ in 0..50 {
        world.advance(Duration::from_millis(50));
        assert!(!query(&world, Retry::default(), &budget, |_| false));
    }
    let ids: std::collections::BTreeSet<String> = (0..200).map(|_| world.pick_id()).collect();
    assert_eq!(ids.len(), 5);
}

/// Five ids of one address and a sixth of another.
fn of_one_address() -> Vec<Instance> {
    let id = |n: u32| format!("i-{n}").parse().unwrap();
    let twins = (0..5).map(|n| Instance::new("10.9.9.9", 80).with_id(id(n)));
    twins.chain([instance(5)]).collect()
}

#[test]
fn instances_of_one_address_are_tried_ejected_and_readmitted_together() {
    let world = World::new(Random, listing(of_one_address().into_iter().map(alive)));
    for _ in 0..20 {
        let tried = [instance(3).id().unwrap()];
        assert_eq!(world.try_pick(&tried).unwrap().endpoint().id().as_str(), "i-5", "another address");
    }
    world.pick_until("i-3").finish_at(Outcome::Unreachable, world.now());
    assert!((0..100).all(|_| world.pick_id() == "i-5"));
    let changes = world.changes();
    assert_eq!(changes.len(), 5, "{changes:?}");
    let is_dial =
        |change: &PhaseChange| matches!(change, PhaseChange::Ejected { cause: Cause::FailedDial, .. });
    assert!(changes.iter().all(is_dial));

    world.advance(Duration::from_secs(5));
    let probe = (0..20).map(|_| world.pick()).find(|lease| lease.is_probe()).expect("one is due");
    assert!((0..100).all(|_| world.pick_id() == "i-5"), "the address has one probe");
    probe.finish_at(Outcome::Success, world.now());
    assert_eq!(world.ejected(), 0, "it could be dialled");
}

#[test]
fn a_new_process_at_an_address_ends_its_ejection() {
    let world = World::new(Random, listing(of_one_address().into_iter().map(alive)));
    world.pick_until("i-3").finish_at(Outcome::Unreachable, world.now());
    assert_eq!(world.ejected(), 5);
    world.changes();
    world.update(listing(of_one_address().into_iter().enumerate().map(|(n, one)| (one, u128::from(n == 1)))));
    assert_eq!(world.ejected(), 0);
    let mut back = BTreeMap::new();
    for change in world.changes() {
        let PhaseChange::Available { instance } = change else { panic!("{change:?}") };
        *back.entry(instance).or_insert(0) += 1;
    }
    assert_eq!(back.len(), 5);
    assert!(back.values().all(|&times| times == 1), "{back:?}");
}

#[test]
fn what_cannot_be_dialled_takes_no_room_from_what_answers_badly() {
    let world = World::new(Random, listing(instances(10)));
    for n in 0..8 {
        let others: Vec<_> = (0..10).filter(|m| *m != n).map(|m| instance(m).id().unwrap()).collect();
        world.try_pick(&others).unwrap().finish_at(Outcome::Unreachable, world.now());
    }
    assert_eq!(world.ejected(), 8);
    assert!(!world.balancer.is_panicking(), "both that can be dialled are available");
    world.fail_any(200);
    assert_eq!(world.ejected(), 9, "of two that answer one may be ejected");
    assert!(!world.balancer.is_panicking());
}

#[test]
fn a_late_fifth_failure_of_a_predecessor_does_not_eject_its_successor() {
    // While another change of phase is told, the restart and the failure both wait for their turn.
    let (telling, told) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let observer = {
        let (telling, told) = (Arc::clone(&telling), Arc::clone(&told));
        move |event: &Event| {
            if matches!(&event.change, PhaseChange::Ejected { cause: Cause::Asked, .. }) {
                telling.wait();
                told.wait();
            }
        }
    };
    let options = BalancerOptions::default().with_observer(observer);
    let balancer = Balancer::with_options(RoundRobin::starting_at(0), options);
    let other = instance(1).id().unwrap();
    for life in 1..=30 {
        let now = Instant::now();
        let snapshot = |life| listing([(instance(0), life), (instance(1), life)]).build();
        balancer.update_at(&snapshot(life), now);
        let mut calls: Vec<Lease> =
            (0..5).map(|_| balancer.pick_avoiding(std::slice::from_ref(&other)).unwrap()).collect();
        let last = calls.pop().unwrap();
        calls.into_iter().for_each(|call| call.finish_at(Outcome::Failure, now));
        std::thread::scope(|scope| {
            scope.spawn(|| balancer.eject_at(&other, Duration::from_secs(1), now));
            telling.wait();
            scope.spawn(|| balancer.update_at(&snapshot(life + 1), now));
            std::thread::sleep(Duration::from_millis(5));
            scope.spawn(|| last.finish_at(Outcome::Failure, now));
            std::thread::sleep(Duration::from_millis(5));
            told.wait();
        });
        let set = balancer.endpoints().unwrap();
        let successor = set.by_id(&instance(0).id().unwrap()).unwrap();
        assert_eq!(successor.phase(), Phase::Available, "life {life}");
    }
}
