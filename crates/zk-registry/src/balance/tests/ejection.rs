use std::time::Duration;

use proptest::prelude::*;

use super::world::{World, alive, instance, instances, listing};
use crate::balance::strategy::{LeastLoaded, Random, RoundRobin};
use crate::balance::{BalancerOptions, Cause, Ejection, Outcome, Phase, PhaseChange};

/// The phase's end, seen from now.
fn ejected_for(world: &World, id: &str) -> Duration {
    match world.endpoint(id).phase() {
        Phase::Ejected { until } => until - world.now(),
        other => panic!("{other:?}"),
    }
}

/// Waits until it may be probed, and takes the probe.
fn probe(world: &World, id: &str, outcome: Outcome) {
    world.advance(ejected_for(world, id));
    let lease = world.pick_until(id);
    assert!(lease.is_probe());
    assert!((0..50).all(|_| world.pick_id() != id), "one probe at a time");
    lease.finish_at(outcome, world.now());
}

#[test]
fn five_failures_in_a_row_eject_and_a_success_between_them_starts_the_count_anew() {
    let mut options = BalancerOptions::default();
    options.ejection.success_margin = 2.0; // only the other rule
    let world = World::with(Random, options, listing(instances(3)));
    world.fail("i-0", 4);
    world.pick_until("i-0").finish_at(Outcome::Success, world.now());
    world.fail("i-0", 4);
    assert!(world.is_available("i-0"));
    world.fail("i-0", 1);
    assert!(!world.is_available("i-0"));
    assert!((0..100).all(|_| world.pick_id() != "i-0"));
    let changes = world.changes();
    assert!(
        matches!(&changes[..], [PhaseChange::Ejected { instance, cause: Cause::ConsecutiveFailures, times, .. }]
            if instance.as_str() == "i-0" && times.get() == 1),
        "{changes:?}"
    );
}

#[test]
fn it_returns_through_probes_and_each_step_is_observed() {
    let world = World::new(Random, listing(instances(3)));
    world.fail("i-0", 5);
    assert!((Duration::from_millis(2500)..Duration::from_secs(5)).contains(&ejected_for(&world, "i-0")));
    world.changes();
    for _ in 0..3 {
        assert!(!world.is_available("i-0"));
        probe(&world, "i-0", Outcome::Success);
    }
    assert!(world.is_available("i-0"));
    let names =
        world.changes().iter().map(|change| format!("{change:?}")[..5].to_owned()).collect::<Vec<_>>();
    assert_eq!(names, ["Probi", "Probi", "Probi", "Avail"]);
}

#[test]
fn an_ejection_that_ends_with_the_listing_is_observed_too() {
    let world = World::new(Random, listing(instances(10)));
    let named = |n| instance(n).id().unwrap();
    let eject = |n: u32| {
        world.fail_alone(&format!("i-{n}"), 5);
        world.changes();
    };
    eject(0);
    world.update(listing((0..10).map(|n| (instance(n), u128::from(n == 0)))));
    assert_eq!(world.changes(), [PhaseChange::Available { instance: named(0) }], "restarted");
    eject(1);
    world.update(listing((2..10).map(|n| alive(instance(n)))));
    assert_eq!(world.changes(), [PhaseChange::Gone { instance: named(1) }], "not listed");

    world.update(listing([]).suspects([alive(instance(2))]));
    world.pick().finish_at(Outcome::Unreachable, world.now());
    world.changes();
    world.update(listing([alive(instance(2))]));
    assert_eq!(world.changes(), [PhaseChange::Available { instance: named(2) }], "listed again");
}

#[test]
fn a_failed_probe_ejects_for_twice_as_long_up_to_the_cap() {
    let world = World::new(Random, listing(instances(3)));
    world.fail("i-0", 5);
    let mut times = vec![ejected_for(&world, "i-0")];
    for _ in 0..9 {
        probe(&world, "i-0", Outcome::Refused);
        times.push(ejected_for(&world, "i-0"));
    }
    for (n, time) in times.into_iter().enumerate() {
        let full = Duration::from_secs((5 << n).min(300));
        assert!((full / 2..=full).contains(&time), "{n}: {time:?} of {full:?}");
    }
}

#[test]
fn a_cancelled_probe_lets_the_next_call_probe() {
    let world = World::new(Random, listing(instances(3)));
    world.fail("i-0", 5);
    probe(&world, "i-0", Outcome::Cancelled);
    probe(&world, "i-0", Outcome::Success);
}

#[test]
fn a_probe_that_never_ends_keeps_nobody_out() {
    let world = World::new(Random, listing(instances(3)));
    world.fail("i-0", 5);
    world.advance(ejected_for(&world, "i-0"));
    let endless = world.pick_until("i-0");
    assert!((0..50).all(|_| world.pick_id() != "i-0"));
    world.advance(Duration::from_secs(5));
    let next = world.pick_until("i-0");
    assert!(next.is_probe());

    // What the first one finds out in the end is not about this probe.
    world.changes();
    endless.finish_at(Outcome::Failure, world.now());
    assert_eq!((world.endpoint("i-0").phase(), world.changes()), (Phase::Probing, Vec::new()));
    next.finish_at(Outcome::Success, world.now());
    assert!(world.pick_until("i-0").is_probe(), "it may be probed again at once");
}

#[test]
fn a_suspect_that_failed_its_probe_is_probed_again_once_it_is_listed() {
    let world = World::new(Random, listing(instances(3)));
    world.fail("i-0", 5);
    world.advance(ejected_for(&world, "i-0"));
    world.update(listing([]).suspects([alive(instance(0))]));
    let lease = world.pick();
    assert!(lease.is_probe() && lease.endpoint().is_suspect());
    lease.finish_at(Outcome::Failure, world.now());

    world.update(listing(instances(3)));
    for _ in 0..3 {
        world.pick_until("i-0").finish_at(Outcome::Success, world.now());
    }
    assert!(world.is_available("i-0"));
}

#[test]
fn who_was_well_for_long_enough_starts_with_a_short_ejection_again() {
    let world = World::new(Random, listing(instances(3)));
    let come_back = || (0..3).for_each(|_| probe(&world, "i-0", Outcome::Success));
    world.fail("i-0", 5);
    come_back();
    world.fail("i-0", 5);
    assert!(ejected_for(&world, "i-0") >= Duration::from_secs(5), "it came back too soon");
    come_back();
    world.advance(Duration::from_secs(11));
    world.fail("i-0", 5);
    assert!(ejected_for(&world, "i-0") < Duration::from_secs(5));
}

#[test]
fn an_instance_that_fails_more_often_than_the_others_is_ejected() {
    let world = World::new(Random, listing(instances(4)));
    // Every other call fails: never five in a row.
    for _ in 0..30 {
        world.advance(Duration::from_millis(100));
        world.pick_until("i-0").finish_at(Outcome::Success, world.now());
        world.pick_until("i-0").finish_at(Outcome::Failure, world.now());
        if !world.is_available("i-0") {
            break;
        }
    }
    let changes = world.changes();
    assert!(matches!(&changes[..], [PhaseChange::Ejected { cause: Cause::SuccessRate, .. }]), "{changes:?}");
}

#[test]
fn when_all_fail_alike_nobody_is_worse_than_the_others() {
    let mut options = BalancerOptions::default();
    options.ejection.consecutive_failures = None;
    let world = World::with(RoundRobin::default(), options, listing(instances(4)));
    for _ in 0..2000 {
        world.advance(Duration::from_millis(100));
        world.pick().finish_at(Outcome::Failure, world.now());
    }
    assert_eq!(world.ejected(), 0);
}

#[test]
fn an_outage_of_all_ejects_a_share_and_the_rest_goes_on() {
    let world = World::new(Random, listing(instances(10)));
    world.fail_any(1000);
    assert_eq!(world.ejected(), 7);
}

#[test]
fn the_only_instance_is_never_ejected() {
    let world = World::new(Random, listing(instances(1)));
    world.fail_any(100);
    assert_eq!(world.pick_id(), "i-0");
}

#[test]
fn ejections_are_ignored_when_too_few_would_be_left() {
    let world = World::new(Random, listing(instances(10)));
    world.fail_any(1000);
    let left = world.balancer.endpoints().unwrap();
    let ejected = left.iter().filter(|endpoint| endpoint.phase() != Phase::Available);
    world.update(listing(ejected.map(|endpoint| alive(endpoint.member().instance.clone()))));
    assert!(world.balancer.is_panicking());
    let picked: std::collections::BTreeSet<String> = (0..500).map(|_| world.pick_id()).collect();
    assert_eq!(picked.len(), 7, "all rather than none");

    // They are well again: successes count as probes, and the panic ends.
    for _ in 0..200 {
        world.pick().finish_at(Outcome::Success, world.now());
    }
    assert!(!world.balancer.is_panicking());
    let changes = world.changes();
    assert!(changes.contains(&PhaseChange::PanicBegan { available: 0, total: 7 }), "{changes:?}");
    assert!(changes.contains(&PhaseChange::PanicEnded));
}

/// How many ejections in a row each instance had at most.
fn most_times(changes: &[PhaseChange]) -> u32 {
    let times = |change: &PhaseChange| match change {
        PhaseChange::Ejected { times, .. } => times.get(),
        _ => 0,
    };
    changes.iter().map(times).max().unwrap_or(0)
}

#[test]
fn calls_that_had_nowhere_else_to_go_do_not_prolong_an_ejection() {
    let world = World::new(LeastLoaded, listing(instances(3)));
    // Two seconds in which everything fails and every call tries all of them.
    for _ in 0..20 {
        let mut tried = Vec::new();
        while let Ok(lease) = world.try_pick(&tried) {
            tried.push(lease.endpoint().id().clone());
            lease.finish_at(Outcome::Failure, world.now());
        }
        assert_eq!(tried.len(), 3);
        world.advance(Duration::from_millis(100));
    }
    assert_eq!(world.ejected(), 2);
    assert_eq!(most_times(&world.changes()), 1);
}

#[test]
fn a_panic_does_not_prolong_ejections() {
    let world = World::new(Random, listing(instances(10)));
    world.fail_any(1000);
    let all = world.balancer.endpoints().unwrap();
    let ejected = all.iter().filter(|endpoint| endpoint.phase() != Phase::Available);
    world.update(listing(ejected.map(|endpoint| alive(endpoint.member().instance.clone()))));
    assert!(world.balancer.is_panicking());
    world.fail_any(1000);
    assert_eq!(most_times(&world.changes()), 1);
}

#[test]
fn a_success_of_a_call_that_had_nowhere_else_to_go_counts_for_the_return() {
    let world = World::new(Random, listing(instances(2)));
    world.fail("i-0", 5);
    for _ in 0..3 {
        let lease = world.try_pick(&[instance(1).id().unwrap()]).unwrap();
        assert!(!lease.is_probe());
        lease.finish_at(Outcome::Success, world.now());
    }
    assert!(world.is_available("i-0"));
}

#[test]
fn ejection_can_be_switched_off() {
    let options = BalancerOptions { ejection: Ejection::off(), ..BalancerOptions::default() };
    let world = World::with(Random, options, listing(instances(3)));
    world.fail_any(1000);
    assert_eq!(world.ejected(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u16),
    Call(u8),
    Resize(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0_u16..20_000).prop_map(Step::Advance),
        8 => any::<u8>().prop_map(Step::Call),
        1 => (1_u8..20).prop_map(Step::Resize),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn never_more_than_the_share_is_ejected_and_there_is_always_somebody_to_pick(
        steps in proptest::collection::vec(step(), 1..400),
        share in 0.0_f64..1.0,
    ) {
        let mut options = BalancerOptions::default();
        options.ejection.max_share = share;
        let world = World::with(Random, options, listing(instances(10)));
        let mut size = 10_u32;
        for step in steps {
            let before = world.ejected();
            let mut room = (share * f64::from(size)) as usize;
            match step {
                Step::Advance(millis) => world.advance(Duration::from_millis(millis.into())),
                Step::Call(kind) => {
                    let outcome = match kind % 4 {
                        0 => Outcome::Success,
                        1 => Outcome::Cancelled,
                        _ => Outcome::Failure,
                    };
                    world.try_pick(&[]).unwrap().finish_at(outcome, world.now());
                }
                Step::Resize(to) => {
                    (size, room) = (to.into(), 0);
                    world.update(listing((0..size).map(|n| alive(instance(n)))));
                }
            }
            // In a set that shrank more may be ejected than the share, but nobody is ejected on top.
            let ejected = world.ejected();
            prop_assert!(ejected <= before.max(room), "{} of {}, before {}", ejected, size, before);
        }
    }
}
