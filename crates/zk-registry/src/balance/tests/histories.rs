//! Histories that end in health, in virtual time and seeded: calls arrive at a rate, instances turn slow, fail, hang or
//! restart, and are well again. Every listed instance then gets its share back within a bounded time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::world::{World, instance, listing};
use crate::balance::strategy::{ConsistentHash, Named};
use crate::balance::{Endpoint, Lease, Outcome, Phase, PhaseChange};
use crate::instance::InstanceId;

/// The instances of each history.
const SIZE: u32 = 4;
/// The time within which an instance that is well has its share again, however it failed.
const BOUND: Duration = Duration::from_secs(10);
/// The time that a caller waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What befalls an instance.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// It is listed no more for a while.
    Away(Duration),
    /// It is a suspect for a while.
    Suspected(Duration),
    /// So many calls in a row fail at once.
    Failing(u32),
    /// Calls fail or cannot be dialled for a while.
    Unreachable(Duration),
    /// Calls take twenty times as long for a while, and half a second at least.
    Slow(Duration),
    /// Calls get no answer for a while.
    Hanging(Duration),
    /// Another process takes its place.
    Restarted,
}

/// A history under way.
struct History {
    world: World,
    rng: SmallRng,
    answer: Duration,
    between: Duration,
    next_call: Instant,
    calls: u64,
    /// Calls under way by the time at which they end.
    ends: BinaryHeap<Reverse<(Instant, usize)>>,
    leases: Vec<Option<(Lease, Outcome)>>,
    failing: u32,
    /// The instance that troubles befall.
    victim: u32,
    /// The incarnation of each instance.
    lives: [u128; SIZE as usize],
    /// The instances that an observer knows to be out.
    out: BTreeSet<InstanceId>,
}

impl History {
    fn new(strategy: &str, rate: u32, answer: Duration, seed: u64) -> Self {
        let listed = || listing((0..SIZE).map(|n| (instance(n), 0)));
        let world = match strategy {
            "consistent-hash" => World::new(ConsistentHash::default(), listed()),
            other => World::new(other.parse::<Named>().unwrap(), listed()),
        };
        let next_call = world.now();
        let (between, rng) = (Duration::from_secs(1) / rate, SmallRng::seed_from_u64(seed));
        let (ends, leases) = (BinaryHeap::new(), Vec::new());
        let (lives, out) = ([0; SIZE as usize], BTreeSet::new());
        Self {
            world,
            rng,
            answer,
            between,
            next_call,
            calls: 0,
            ends,
            leases,
            failing: 0,
            victim: 0,
            lives,
            out,
        }
    }

    /// Publishes the instances, but for those that are away or suspects.
    fn publish(&self, away: Option<u32>, suspect: Option<u32>) {
        let alive = |n: u32| (instance(n), self.lives[n as usize]);
        let listed = (0..SIZE).filter(|&n| Some(n) != away && Some(n) != suspect).map(alive);
        self.world.update(listing(listed).suspects(suspect.map(alive)));
    }

    /// What an observer has heard must be what is so.
    fn check_observer(&mut self) {
        for change in self.world.changes() {
            match change {
                PhaseChange::Ejected { instance, .. } | PhaseChange::Dropped { instance } => {
                    self.out.insert(instance);
                }
                PhaseChange::Available { instance } | PhaseChange::Gone { instance } => {
                    assert!(self.out.remove(&instance), "{instance} was not out");
                }
                _ => {}
            }
        }
        let sets = [self.world.balancer.endpoints(), self.world.balancer.suspects()];
        let is_out = |one: &&Endpoint| one.phase() != Phase::Available;
        let ids = sets.iter().flatten().flat_map(|set| set.iter().filter(is_out).map(|one| one.id().clone()));
        assert_eq!(ids.collect::<BTreeSet<_>>(), self.out, "an observer's set");
    }

    /// Lets calls arrive for `time`; the share of the victim in them, and how many failed.
    fn run(&mut self, time: Duration, trouble: Option<Trouble>) -> (f64, u32) {
        let until = self.world.now() + time;
        let (mut all, mut first, mut failed) = (0_u32, 0_u32, 0_u32);
        loop {
            let end = self.ends.peek().map(|Reverse((at, _))| *at).filter(|at| *at <= self.next_call);
            let at = end.unwrap_or(self.next_call);
            if at > until {
                self.world.advance(until - self.world.now());
                return (f64::from(first) / f64::from(all.max(1)), failed);
            }
            self.world.advance(at.saturating_duration_since(self.world.now()));
            if let Some(Reverse((_, call))) = end.and_then(|_| self.ends.pop()) {
                let (lease, outcome) = self.leases[call].take().unwrap();
                failed += u32::from(outcome != Outcome::Success);
                lease.finish_at(outcome, at);
                continue;
            }
            let lease = self.world.pick_key(self.calls.wrapping_mul(0x9e37_79b9));
            let is_first = *lease.endpoint().id() == instance(self.victim).id().unwrap();
            all += 1;
            first += u32::from(is_first);
            self.calls += 1;
            let (took, outcome) = self.answer_of(if is_first { trouble } else { None });
            self.ends.push(Reverse((at + took, self.leases.len())));
            self.leases.push(Some((lease, outcome)));
            self.next_call = at + self.between.mul_f64(-(1.0 - self.rng.random::<f64>()).ln());
        }
    }

    /// How a call ends, and after which time.
    fn answer_of(&mut self, trouble: Option<Trouble>) -> (Duration, Outcome) {
        let well = self.answer.mul_f64(0.8 + 0.4 * self.rng.random::<f64>());
        match trouble {
            Some(Trouble::Failing(_)) if self.failing > 0 => {
                self.failing -= 1;
                (well, Outcome::Failure)
            }
            Some(Trouble::Unreachable(_)) => (Duration::from_millis(1), Outcome::Unreachable),
            Some(Trouble::Slow(_)) => ((well * 20).max(TIMEOUT / 2), Outcome::Success),
            Some(Trouble::Hanging(_)) => (TIMEOUT, Outcome::Failure),
            _ => (well, Outcome::Success),
        }
    }

    /// The trouble comes, lasts and goes.
    fn suffer(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Failing(times) => {
                self.failing = times;
                for _ in 0..600 {
                    self.run(Duration::from_millis(100), Some(trouble));
                    if self.failing == 0 {
                        return;
                    }
                }
            }
            Trouble::Unreachable(time) | Trouble::Slow(time) | Trouble::Hanging(time) => {
                self.run(time, Some(trouble));
            }
            Trouble::Away(time) => {
                self.publish(Some(self.victim), None);
                self.run(time, None);
                self.publish(None, None);
            }
            Trouble::Suspected(time) => {
                self.publish(None, Some(self.victim));
                self.run(time, None);
                self.publish(None, None);
            }
            Trouble::Restarted => {
                self.lives[self.victim as usize] += 1;
                self.publish(None, None);
            }
        }
    }
}

/// Strategies under which each instance has a share of its own.
const SHARING: [&str; 7] = [
    "consistent-hash",
    "least-loaded",
    "peak-ewma",
    "random",
    "round-robin",
    "weighted-random",
    "weighted-round-robin",
];

#[test]
fn an_instance_that_is_well_again_has_its_share_again() {
    let ten = Duration::from_secs(10);
    let troubles = [
        Trouble::Failing(1),
        Trouble::Failing(5),
        Trouble::Unreachable(ten),
        Trouble::Slow(ten),
        Trouble::Hanging(ten),
        Trouble::Restarted,
    ];
    for strategy in SHARING {
        for (rate, answer) in [(10, 1), (10, 200), (100, 20), (1000, 1)] {
            for trouble in troubles {
                let (mut before, mut after) = (0.0, 0.0);
                for seed in 0..4 {
                    let mut history = History::new(strategy, rate, Duration::from_millis(answer), seed);
                    before += history.run(Duration::from_secs(20), None).0 / 4.0;
                    history.suffer(trouble);
                    // An ejection that had begun goes on for its time, twice or four times the first.
                    let ejected = match trouble {
                        Trouble::Unreachable(_) | Trouble::Hanging(_) => Duration::from_secs(20),
                        Trouble::Failing(5) => Duration::from_secs(5),
                        _ => Duration::ZERO,
                    };
                    history.run(ejected + BOUND, None);
                    after += history.run(Duration::from_secs(20), None).0 / 4.0;
                }
                assert!(
                    after > 0.9 * before - 0.02,
                    "{strategy}, {rate} calls a second, {answer} ms, {trouble:?}: {after:.3}, before {before:.3}"
                );
            }
        }
    }
}

fn trouble() -> impl Strategy<Value = Trouble> {
    let time = || (1_u64..15).prop_map(Duration::from_secs);
    prop_oneof![
        (1_u32..7).prop_map(Trouble::Failing),
        time().prop_map(Trouble::Away),
        time().prop_map(Trouble::Suspected),
        time().prop_map(Trouble::Unreachable),
        time().prop_map(Trouble::Slow),
        time().prop_map(Trouble::Hanging),
        Just(Trouble::Restarted),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_that_ends_in_health_each_instance_has_half_its_share_at_least(
        troubles in proptest::collection::vec((trouble(), 0..SIZE, 0_u64..10), 1..6),
        strategy in proptest::sample::select(&SHARING[..]),
        rate in proptest::sample::select(&[20_u32, 100, 500][..]),
        answer in proptest::sample::select(&[1_u64, 20, 200][..]),
        seed: u64,
    ) {
        let mut history = History::new(strategy, rate, Duration::from_millis(answer), seed);
        for (trouble, victim, pause) in troubles {
            history.victim = victim;
            history.suffer(trouble);
            history.check_observer();
            history.run(Duration::from_secs(pause), None);
        }
        // The longest ejection that so many troubles can lead to, and the bound.
        history.run(Duration::from_secs(300) + BOUND, None);
        for victim in 0..SIZE {
            history.victim = victim;
            let (share, failed) = history.run(Duration::from_secs(30), None);
            prop_assert_eq!(failed, 0);
            // The keys of a table are not shared out evenly to a percent, and few calls are not either.
            prop_assert!(share >= 0.5 / f64::from(SIZE), "{}: {} of i-{}", strategy, share, victim);
        }
        history.check_observer();
        prop_assert!(history.out.is_empty(), "out: {:?}", history.out);
    }

    #[test]
    fn at_ten_thousand_calls_a_second_too_each_instance_has_half_its_share_soon(
        trouble in trouble(),
        victim in 0..SIZE,
        strategy in proptest::sample::select(&SHARING[..]),
        answer in proptest::sample::select(&[1_u64, 20][..]),
        seed: u64,
    ) {
        let mut history = History::new(strategy, 10_000, Duration::from_millis(answer), seed);
        history.victim = victim;
        history.suffer(match trouble {
            Trouble::Unreachable(_) | Trouble::Hanging(_) => Trouble::Failing(5),
            Trouble::Slow(_) => Trouble::Slow(Duration::from_secs(2)),
            Trouble::Away(_) => Trouble::Away(Duration::from_secs(1)),
            Trouble::Suspected(_) => Trouble::Suspected(Duration::from_secs(1)),
            other => other,
        });
        // The first ejection, and the bound.
        history.run(Duration::from_secs(5) + BOUND, None);
        let (share, failed) = history.run(Duration::from_secs(1), None);
        prop_assert_eq!(failed, 0);
        prop_assert!(share >= 0.5 / f64::from(SIZE), "{}, {:?}: {}", strategy, trouble, share);
        history.check_observer();
    }
}

#[test]
fn at_ten_thousand_calls_a_second_peak_ewma_gives_a_slow_instance_its_share_back() {
    let mut history = History::new("peak-ewma", 10_000, Duration::from_millis(20), 0);
    history.suffer(Trouble::Slow(Duration::from_secs(2)));
    history.run(Duration::from_secs(5) + BOUND, None);
    let (share, _) = history.run(Duration::from_secs(1), None);
    assert!(share >= 0.9 / f64::from(SIZE), "{share}");
}
