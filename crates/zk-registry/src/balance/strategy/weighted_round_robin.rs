//! The weighted round-robin strategy: one instance after the other, each as often as its weight says, evenly spread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::alias::SMALL;
use super::round_robin::RoundRobin;
use super::turns::Turns;
use crate::balance::{EndpointSet, Index, Pick, Picker, Strategy, hash};

/// A strategy that goes round a schedule in which each instance has as many turns as its weight says, as far apart as possible.
///
/// Use it when instances differ in size, calls cost the same and there are few clients. As smooth as nginx's weighted
/// round robin, but the schedule is made beforehand (worst-case fair queueing, Bennett and Zhang 1996), so that a pick is the
/// next number and one look into a table. Weights are rounded when their sum, divided by what they have in common,
/// exceeds 65,536 and eight turns per instance.
#[derive(Clone, Debug, Default)]
pub struct WeightedRoundRobin(RoundRobin);

impl Strategy for WeightedRoundRobin {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        let weights: Vec<u64> = set.iter().map(|endpoint| u64::from(endpoint.weight().get())).collect();
        Box::new(Schedule { taken: Arc::clone(&self.0.turns), turns: schedule(&reduce(&weights)) })
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        set.len() > SMALL || !set.has_equal_weights()
    }
}

struct Schedule {
    taken: Arc<Turns>,
    turns: Box<[u32]>,
}

impl Picker for Schedule {
    fn pick(&self, pick: &mut Pick<'_>) -> Index {
        let len = self.turns.len();
        let turn = if pick.attempt() > 0 {
            pick.below(len)
        } else {
            (self.taken.next(|| pick.now()) % len as u64) as usize
        };
        Index::new(self.turns[turn] as usize)
    }
}

/// The same proportions with the smallest numbers, or nearly the same ones with numbers whose sum is small enough.
fn reduce(weights: &[u64]) -> Vec<u64> {
    let common = weights.iter().fold(0, |a, &b| hash::gcd(a, b)).max(1);
    let sum = weights.iter().sum::<u64>() / common;
    let most = (weights.len() as u64 * 8).max(1 << 16);
    if sum <= most {
        return weights.iter().map(|weight| weight / common).collect();
    }
    let scale = most as f64 / (sum * common) as f64;
    weights.iter().map(|&weight| ((weight as f64 * scale).round() as u64).max(1)).collect()
}

/// Spreads `sum of weights` turns: the kth turn of one with weight w lies between k/w and (k + 1)/w of the round. Of those
/// whose time has come the one that has to be over first takes the turn.
fn schedule(weights: &[u64]) -> Box<[u32]> {
    const FINE: u64 = 1 << 20; // deadlines are not whole turns
    let sum: u64 = weights.iter().sum();
    let turn = |place: usize, k: u64| {
        let weight = weights[place];
        let (release, deadline) = ((k * sum).div_ceil(weight), (k + 1) * sum * FINE / weight);
        (release, deadline, place, k)
    };
    let mut waiting: BinaryHeap<_> = (0..weights.len()).map(|place| Reverse(turn(place, 0))).collect();
    let mut ready = BinaryHeap::new();
    let mut turns = Vec::with_capacity(sum as usize);
    for now in 0..sum {
        while let Some(&Reverse((release, deadline, place, k))) = waiting.peek()
            && release <= now
        {
            waiting.pop();
            ready.push(Reverse((deadline, place, k)));
        }
        if let Some(Reverse((_, place, k))) = ready.pop() {
            turns.push(place as u32);
            waiting.push(Reverse(turn(place, k + 1)));
        }
    }
    turns.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(weights: &[u64]) -> String {
        schedule(weights).iter().map(|&place| char::from(b'a' + place as u8)).collect()
    }

    #[test]
    fn turns_are_spread_and_not_bunched() {
        assert_eq!(letters(&[1, 1, 1]), "abc");
        assert_eq!(letters(&[2, 1]), "aba");
        assert_eq!(letters(&[5, 1, 1]), "abaacaa");
    }

    #[test]
    fn each_has_as_many_turns_as_its_weight() {
        let weights = [1, 7, 30, 100, 3];
        let turns = schedule(&weights);
        for (place, weight) in weights.into_iter().enumerate() {
            assert_eq!(turns.iter().filter(|&&turn| turn as usize == place).count() as u64, weight);
        }
    }

    #[test]
    fn common_factors_are_taken_out_and_large_sums_rounded() {
        assert_eq!(reduce(&[100, 200, 100]), [1, 2, 1]);
        let rounded = reduce(&[65_535, 1, 65_534]);
        assert!(rounded.iter().sum::<u64>() <= (1 << 16) + 1 && rounded[1] == 1, "{rounded:?}");
    }
}
