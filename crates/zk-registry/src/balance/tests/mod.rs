//! The balancer as a whole, under a clock that only the test moves.

mod churn;
mod ejection;
mod histories;
mod limit;
mod paused;
mod recovery;
mod strategies;
mod tables;
mod warm_up;
mod why;
mod world;

use std::sync::Arc;
use std::time::Duration;

use super::strategy::{LeastLoaded, Named, Random, RoundRobin};
use super::{
    Balancer, BalancerOptions, Budget, BudgetOptions, Decision, GiveUp, Lease, Outcome, PickError, Retry,
    Safety,
};
use crate::instance::Instance;
use crate::snapshot::Freshness;
use tokio::time::Instant;
use world::{World, alive, instance, instances, listing};

#[test]
fn a_pick_says_why_there_is_nothing_to_pick() {
    let world = World::new(LeastLoaded, listing([]).freshness(Freshness::Pending));
    let why = |world: &World| world.try_pick(&[]).unwrap_err();
    assert_eq!(why(&world), PickError::Pending);

    world.update(listing([]).freshness(Freshness::Disk { written: std::time::SystemTime::UNIX_EPOCH }));
    assert_eq!(why(&world), PickError::Pending);

    world.update(listing([]));
    assert_eq!(why(&world), PickError::Empty);

    let since = Instant::now();
    world.update(listing([]).freshness(Freshness::Stale { since }));
    assert_eq!(why(&world), PickError::Stale { since });

    world.update(listing([alive(instance(0)), alive(instance(1))]));
    let both = [0, 1].map(|n| instance(n).id().unwrap());
    assert_eq!(world.try_pick(&both).unwrap_err(), PickError::AllExcluded);

    let nobody_home = Instance::new("", 0).with_id("nobody".parse().unwrap());
    world.update(listing([alive(world::draining(instance(0))), alive(nobody_home)]));
    assert_eq!(why(&world), PickError::Unusable { draining: 1, undialable: 1 });
}

#[test]
fn losing_zookeeper_changes_nothing() {
    let world = World::new(RoundRobin::starting_at(0), listing(instances(3)));
    world.fail("i-1", 5);
    world.update(listing(instances(3)).freshness(Freshness::Stale { since: Instant::now() }));
    assert!(!world.is_available("i-1"));
    assert!(world.try_pick(&[]).is_ok());
}

#[test]
fn the_same_members_are_adopted_without_building_anything() {
    let world = World::new(Random, listing([]));
    let snapshot = listing(instances(3)).build();
    let adopt = || {
        world.balancer.update(&snapshot);
        world.balancer.endpoints().unwrap()
    };
    assert!(Arc::ptr_eq(&adopt(), &adopt()));
}

#[test]
fn every_thread_picks_from_the_new_candidates_and_lets_go_of_the_old() {
    let balancer = Balancer::new(Random);
    let (adopted, adopting) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    let adopt = |n| balancer.update(&listing([alive(instance(n))]).build());
    let id = |lease: &Lease| lease.instance().host().to_owned();
    adopt(0);
    let old = Arc::downgrade(&balancer.endpoints().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let call = balancer.pick().unwrap();
            adopting.wait();
            adopted.wait();
            assert_eq!(
                (id(&call), id(&balancer.pick().unwrap())),
                ("10.0.0.0".to_owned(), "10.0.0.1".to_owned())
            );
            assert!(old.upgrade().is_some(), "a call is under way");
            drop(call);
            assert!(old.upgrade().is_none());
        });
        assert_eq!(id(&balancer.pick().unwrap()), "10.0.0.0");
        adopting.wait();
        adopt(1);
        assert_eq!(id(&balancer.pick().unwrap()), "10.0.0.1");
        adopted.wait();
    });
    balancer.update(&listing([]).build());
    assert_eq!(balancer.pick().unwrap_err(), PickError::Empty);
}

#[test]
fn a_draining_instance_is_picked_no_more_and_keeps_its_load() {
    let world = World::new(LeastLoaded, listing(instances(2)));
    let lease = world.pick_until("i-0");
    world.update(listing([alive(world::draining(instance(0))), alive(instance(1))]));
    assert!((0..50).all(|_| world.pick_id() == "i-1"));

    world.update(listing(instances(2)));
    assert_eq!(world.endpoint("i-0").in_flight(), 1, "the call is still under way");
    lease.finish(Outcome::Success);
    assert_eq!(world.endpoint("i-0").in_flight(), 0);
}

#[test]
fn a_new_weight_ends_neither_load_nor_ejection_but_a_new_process_starts_clean() {
    let world = World::new(LeastLoaded, listing(instances(3)));
    let lease = world.pick_until("i-0");
    world.fail_alone("i-0", 5);
    assert!(!world.is_available("i-0"));

    let heavier = instance(0).with_weight(7.try_into().unwrap());
    world.update(listing([alive(heavier.clone()), alive(instance(1)), alive(instance(2))]));
    assert!(!world.is_available("i-0"));
    assert_eq!(world.endpoint("i-0").weight().get(), 7);
    assert_eq!(world.endpoint("i-0").in_flight(), 1);

    world.update(listing([(heavier, 1), alive(instance(1)), alive(instance(2))]));
    assert!(world.is_available("i-0"));
    assert_eq!(world.endpoint("i-0").in_flight(), 1);
    lease.finish_at(Outcome::Failure, world.now());
    assert_eq!(world.endpoint("i-0").success_rate(), 1.0, "that was the process before");
    assert_eq!(world.endpoint("i-0").in_flight(), 0);
}

#[test]
fn a_dropped_lease_frees_the_slot_and_blames_nobody() {
    let world = World::new("peak-ewma".parse::<Named>().unwrap(), listing(instances(1)));
    let lease = world.pick();
    assert_eq!(world.endpoint("i-0").in_flight(), 1);
    drop(lease);
    assert_eq!(world.endpoint("i-0").in_flight(), 0);
    assert_eq!(world.endpoint("i-0").success_rate(), 1.0);

    world.pick().finish_at(Outcome::Success, world.later(Duration::from_millis(100)));
    world.pick().finish_at(Outcome::Cancelled, world.now());
    let known = world.endpoint("i-0").latency(world.now()).unwrap();
    assert!(known > Duration::from_millis(99), "a cancelled call is no fast answer: {known:?}");
}

#[test]
fn an_instance_whose_first_call_was_given_up_is_as_unknown_as_before() {
    let world = World::new("peak-ewma".parse::<Named>().unwrap(), listing(instances(1)));
    let lease = world.pick();
    lease.finish_at(Outcome::Cancelled, world.later(Duration::from_millis(1)));
    assert_eq!(world.endpoint("i-0").latency(world.now()), None);
    world.pick().finish_at(Outcome::Failure, world.later(Duration::from_millis(1)));
    assert!(world.endpoint("i-0").latency(world.now()).is_some(), "a failure is known, and costs");
}

#[test]
fn suspects_are_picked_only_when_nothing_better_is_left() {
    let world = World::new(Random, listing(instances(1)).suspects([alive(instance(8)), alive(instance(9))]));
    assert!((0..50).all(|_| world.pick_id() == "i-0"));

    let tried = [instance(0).id().unwrap()];
    let lease = world.try_pick(&tried).unwrap();
    assert!(lease.endpoint().is_suspect());

    world.update(listing([]).suspects([alive(instance(8)), alive(instance(9))]));
    assert!(world.pick().endpoint().is_suspect());
}

#[test]
fn a_failed_dial_drops_a_suspect_until_it_is_listed_again() {
    let world = World::new(Random, listing([]).suspects([alive(instance(8)), alive(instance(9))]));
    world.pick_until("i-8").finish(Outcome::Failure);
    assert!((0..50).any(|_| world.pick_id() == "i-8"), "it answered, if badly: somebody is there");
    world.pick_until("i-8").finish(Outcome::Unreachable);
    assert!((0..50).all(|_| world.pick_id() == "i-9"));
    world.pick_until("i-9").finish(Outcome::Unreachable);
    assert_eq!(world.try_pick(&[]).unwrap_err(), PickError::Empty);

    world.update(listing([alive(instance(8))]));
    assert_eq!(world.pick_id(), "i-8");
}

#[test]
fn an_instance_that_comes_later_starts_slowly_and_the_first_ones_do_not() {
    let world = World::new(Random, listing(instances(4)));
    let share_of_the_new =
        |world: &World| (0..20_000).filter(|_| world.pick_id() == "i-4").count() as f64 / 20_000.0;
    assert!((0..2000).filter(|_| world.pick_id() == "i-0").count() > 400);

    world.update(listing(instances(5)));
    let at_first = share_of_the_new(&world);
    world.advance(Duration::from_secs(5));
    let half_way = share_of_the_new(&world);
    world.advance(Duration::from_secs(5));
    let at_the_end = share_of_the_new(&world);
    assert_eq!(world.endpoint("i-4").vitals.ramp_end(), 0, "it is looked at no more");
    assert!((0.01..0.05).contains(&at_first), "{at_first}");
    assert!((0.09..0.16).contains(&half_way), "{half_way}");
    assert!((0.18..0.22).contains(&at_the_end), "{at_the_end}");
}

#[test]
fn what_was_tried_is_not_picked_while_another_is_left() {
    for name in Named::NAMES {
        let world = World::new(name.parse::<Named>().unwrap(), listing(instances(10)));
        let mut tried = Vec::new();
        while let Ok(lease) = world.try_pick(&tried) {
            assert!(!tried.contains(lease.endpoint().id()), "{name}");
            tried.push(lease.endpoint().id().clone());
        }
        assert_eq!(tried.len(), 10, "{name}");
    }
}

#[test]
fn an_ejected_instance_that_was_not_tried_is_better_than_none() {
    let world = World::new(Random, listing(instances(2)));
    world.fail("i-0", 5);
    assert!((0..50).all(|_| world.pick_id() == "i-1"));
    let lease = world.try_pick(&[instance(1).id().unwrap()]).unwrap();
    assert_eq!(lease.endpoint().id().as_str(), "i-0");
}

#[test]
fn times_without_end_are_only_very_long() {
    let mut options =
        BalancerOptions { slow_start: Duration::MAX, decay: Duration::MAX, ..BalancerOptions::default() };
    (options.ejection.base, options.ejection.cap) = (Duration::MAX, Duration::MAX);
    let world = World::with(Random, options, listing(instances(2)));
    world.update(listing(instances(3)));
    assert!((0..1000).filter(|_| world.pick_id() == "i-2").count() < 200);
    world.fail("i-0", 5);
    world.advance(Duration::from_secs(1 << 30));
    assert!(!world.is_available("i-0"));
    for _ in 0..3 {
        let others = [1, 2].map(|n| instance(n).id().unwrap());
        world.try_pick(&others).unwrap().finish_at(Outcome::Success, world.now());
    }
    assert!(world.is_available("i-0"));

    let mut rules = BudgetOptions::default();
    (rules.window, rules.share) = (Duration::MAX, f64::INFINITY);
    let budget = Arc::new(Budget::starting(rules, world.now()));
    let mut retry = Retry::default();
    (retry.pause, retry.pause_cap, retry.least) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let deadline = Some(world.now() + Duration::from_secs(1));
    let mut attempts = retry.begin_at(&budget, Safety::Idempotent, deadline, world.now());
    let id = instance(0).id().unwrap();
    let decision = attempts.ended(id, Outcome::Failure, world.now(), &mut rand::random::<u64>);
    assert_eq!(decision, Decision::GiveUp(GiveUp::Deadline));
}

#[tokio::test]
async fn a_followed_watch_is_adopted_until_its_registry_closes() {
    let (sender, mut watch) = crate::resolve::ServiceWatch::channel(listing(instances(1)).build());
    let balancer = Arc::new(Balancer::new(Random));
    let task = tokio::spawn({
        let balancer = Arc::clone(&balancer);
        async move { balancer.follow(&mut watch).await }
    });
    sender.send(listing(instances(3)).build());
    while balancer.endpoints().is_none_or(|set| set.len() != 3) {
        tokio::task::yield_now().await;
    }
    drop(sender);
    task.await.unwrap();
    assert!(balancer.pick().is_ok(), "what is known stays");
}

#[test]
fn an_answer_counts_from_its_head_and_its_load_until_its_end() {
    let world = World::new("peak-ewma".parse::<Named>().unwrap(), listing(instances(1)));
    let mut lease = world.pick();
    lease.answered_at(Outcome::Success, world.later(Duration::from_millis(5)));
    world.advance(Duration::from_secs(1));
    assert_eq!(world.endpoint("i-0").in_flight(), 1);
    lease.answered_at(Outcome::Failure, world.now());
    lease.finish_at(Outcome::Success, world.now());
    let endpoint = world.endpoint("i-0");
    assert_eq!((endpoint.in_flight(), endpoint.success_rate()), (0, 1.0));
    assert!(endpoint.latency(world.now()).unwrap() <= Duration::from_millis(5));

    let mut lease = world.pick();
    lease.answered_at(Outcome::Success, world.now());
    lease.finish_at(Outcome::Failure, world.now());
    assert!(world.endpoint("i-0").success_rate() < 1.0, "its body broke");
    let mut lease = world.pick();
    lease.answered_at(Outcome::Success, world.now());
    drop(lease);
    assert_eq!(world.endpoint("i-0").in_flight(), 0);
}

#[test]
fn an_instance_with_too_much_to_do_is_left_alone_for_as_long_as_it_asks() {
    let world = World::new(Random, listing(instances(3)));
    let retry_after = Duration::from_secs(7);
    world.pick_until("i-0").finish_at(Outcome::Overloaded { retry_after }, world.now());
    assert_eq!(world.endpoint("i-0").success_rate(), 1.0, "no failure");
    world.advance(Duration::from_millis(6999));
    assert!((0..100).all(|_| world.pick_id() != "i-0"));
    world.advance(Duration::from_millis(1));
    world.pick_until("i-0").finish_at(Outcome::Success, world.now());
    assert!(world.is_available("i-0"));

    for n in 0..3 {
        let others: Vec<_> = (0..3).filter(|m| *m != n).map(|m| instance(m).id().unwrap()).collect();
        world.try_pick(&others).unwrap().finish_at(Outcome::Overloaded { retry_after }, world.now());
    }
    assert_eq!(world.ejected(), 2, "one is always left");
}

#[test]
fn a_health_check_ejects_and_restores_by_id() {
    let world = World::new(Random, listing(instances(3)));
    let id = |n| instance(n).id().unwrap();
    assert!(!world.balancer.eject_at(&id(7), Duration::from_secs(60), world.now()));
    assert!(!world.balancer.restore_at(&id(0), world.now()));
    assert!(world.balancer.eject_at(&id(0), Duration::from_secs(60), world.now()));
    world.advance(Duration::from_secs(59));
    assert!((0..100).all(|_| world.pick_id() != "i-0"));
    assert!(world.balancer.restore_at(&id(0), world.now()));
    assert!((0..100).any(|_| world.pick_id() == "i-0"));
    assert_eq!(world.changes().len(), 2);
}

#[tokio::test]
async fn the_first_instance_is_awaited() {
    let balancer = Balancer::new(Random);
    let update = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            balancer.update(&listing([]).build());
            assert!(balancer.pick().is_err());
        }
        balancer.update(&listing(instances(1)).build());
    };
    let wait = async {
        balancer.usable().await;
        assert!(balancer.pick().is_ok());
    };
    tokio::join!(wait, update);
    balancer.usable().await;
}
