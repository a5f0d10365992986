//! Instances whose records ask for a warm-up.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU64};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::world::{World, alive, instance, listing};
use crate::balance::BalancerOptions;
use crate::balance::strategy::Random;
use crate::instance::Instance;
use crate::instance::warm_up::StatedWarmUp;

/// Ten minutes, of which so many seconds are over.
fn warming(n: u32, since: u64) -> Instance {
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - Duration::from_secs(since);
    heavy(n).with_warm_up(ten_minutes(began))
}

fn ten_minutes(began: Duration) -> StatedWarmUp {
    StatedWarmUp { began: NonZeroU64::new(began.as_millis().try_into().unwrap()), span: Some(600_000) }
}

fn heavy(n: u32) -> Instance {
    instance(n).with_weight(NonZeroU16::new(100).unwrap())
}

/// The share of the picks that each instance has.
fn shares(world: &World) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for _ in 0..20_000 {
        *shares.entry(world.pick_id()).or_insert(0.0) += 1.0 / 20_000.0;
    }
    shares
}

#[track_caller]
fn is_about(shares: &BTreeMap<String, f64>, id: &str, expected: f64) {
    let share = shares.get(id).copied().unwrap_or_default();
    assert!((share - expected).abs() < 0.015, "{id}: {share} instead of {expected}: {shares:?}");
}

#[test]
fn the_share_grows_with_the_time_since_it_began_also_where_slow_starts_are_off() {
    let options = BalancerOptions { slow_start: Duration::ZERO, ..BalancerOptions::default() };
    let others = (0..3).map(heavy);
    let world = World::with(Random, options, listing(others.chain([warming(3, 150)]).map(alive)));
    is_about(&shares(&world), "i-3", 0.25 / 3.25);
    world.advance(Duration::from_secs(225));
    is_about(&shares(&world), "i-3", 0.625 / 3.625);
    world.advance(Duration::from_secs(226));
    is_about(&shares(&world), "i-3", 0.25);
}

#[test]
fn where_all_have_just_begun_none_has_less_than_the_others() {
    let world = World::new(Random, listing((0..4).map(|n| alive(warming(n, 1)))));
    let shares = shares(&world);
    (0..4).for_each(|n| is_about(&shares, &format!("i-{n}"), 0.25));
}

#[test]
fn what_has_just_begun_or_begins_by_a_clock_that_is_ahead_has_a_little() {
    let ahead = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(1_000_000);
    for new in [heavy(3).with_warm_up(ten_minutes(ahead)), warming(3, 0)] {
        let world = World::new(Random, listing((0..3).map(heavy).chain([new]).map(alive)));
        let shares = shares(&world);
        is_about(&shares, "i-3", 0.01 / 3.01);
        assert!(shares["i-3"] > 0.0, "{shares:?}");
    }
}

#[test]
fn one_that_becomes_known_after_a_snapshot_file_without_it_counts() {
    let world = World::new(Random, listing([heavy(0), heavy(1)].map(alive)));
    world.update(listing([heavy(0), warming(1, 300)].map(alive)));
    is_about(&shares(&world), "i-1", 0.5 / 1.5);
    world.update(listing([heavy(0), heavy(1)].map(alive)));
    is_about(&shares(&world), "i-1", 0.5);
}
