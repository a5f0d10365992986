//! The board: slots, and the darts that instances throw at them, all at the same time.

use crate::balance::{Endpoint, hash};

/// Slots, with the first two throwers that hit each of them, when all darts up to some time are thrown.
pub(super) struct Board {
    slots: Vec<Slot>,
    /// Each slot is hit by then.
    end: f64,
    /// The slot that was hit last of all.
    last: usize,
}

/// An instance with its darts, which come down one after the other at even intervals, give or take one.
pub(super) struct Thrower {
    seed: u64,
    weight: f64,
    thrown: u64,
}

/// The first and the second to hit a slot: the time of the dart above, its thrower below.
#[derive(Clone, Copy)]
struct Slot {
    first: u64,
    second: u64,
}

/// The slots to which a later dart can make a difference, a bit each: after the first round they are few, and the bits lie in the
/// nearest cache, where the slots do not.
struct Open(Vec<u64>);

/// How many darts come down on a slot, on average, before it is looked whether any slot is still free. It takes about twelve.
const ROUND: f64 = 3.0;

impl Board {
    /// The board of `2^bits` slots when each of them is hit. The number of a thrower is its place in the list.
    pub(super) fn of(bits: u32, mut throwers: Vec<Thrower>) -> Self {
        let mut board = Self { slots: vec![Slot::FREE; 1 << bits], end: 0.0, last: 0 };
        let total: f64 = throwers.iter().map(|thrower| thrower.weight).sum();
        let round = ROUND * board.slots.len() as f64 / total;
        let mut open = Open::all(board.slots.len());
        while board.slots.iter().any(|slot| slot.first >= Slot::entry(board.end, 0)) {
            board.end += round;
            for (number, thrower) in throwers.iter_mut().enumerate() {
                thrower.throw(
                    bits,
                    board.end,
                    |slot| open.has(slot),
                    |at, slot| board.slots[slot].hit(Slot::entry(at, number as u32)),
                );
            }
            open = Open::after(&board.slots, board.end);
        }
        let since = |(_, slot): &(usize, &Slot)| slot.owned_since();
        board.last = board.slots.iter().enumerate().max_by_key(since).map_or(0, |(n, _)| n);
        board
    }

    /// Tells of each slot the numbers of the first and the second to hit it, when `joining` throw at the board too; of the first twice
    /// where no other hit the slot before the last one of all was hit. `numbers` says for each that threw before which number it
    /// has among them all, in the same order.
    pub(super) fn tell(
        &self,
        joining: Vec<(u32, Thrower)>,
        numbers: &[u32],
        mut owners: impl FnMut(u32, u32),
    ) {
        let bits = self.slots.len().ilog2();
        let mut hits = Vec::new();
        for (number, mut thrower) in joining {
            let matters = |slot: usize, entry| entry <= self.slots[slot].second;
            thrower.throw(
                bits,
                self.end,
                |_| true,
                |at, slot| {
                    let entry = Slot::entry(at, number);
                    // Those at the same time are told apart by their numbers.
                    if matters(slot, entry >> 32 << 32) {
                        hits.push((slot, entry));
                    }
                },
            );
        }
        hits.sort_unstable();
        // Of the darts that come down later not all were thrown.
        let end = match hits.iter().any(|(slot, _)| *slot == self.last) {
            false => self.slots[self.last].owned_since(),
            true => self.joined(&hits, numbers).map(|slot| slot.owned_since()).max().unwrap_or_default(),
        };
        self.joined(&hits, numbers).for_each(|slot| owners(slot.owner(), slot.next(end)));
    }

    /// How many slots there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slots with these hits, which are sorted.
    fn joined<'a>(&'a self, hits: &'a [(usize, u64)], numbers: &'a [u32]) -> impl Iterator<Item = Slot> + 'a {
        let mut hits = hits.iter().peekable();
        self.slots.iter().enumerate().map(move |(n, slot)| {
            let mut slot = slot.renumbered(numbers);
            while let Some((_, entry)) = hits.next_if(|(at, _)| *at == n) {
                slot.hit(*entry);
            }
            slot
        })
    }
}

impl Thrower {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        let seed = hash::bytes(endpoint.id().as_str().as_bytes());
        Self { seed, weight: f64::from(endpoint.weight().get()), thrown: 0 }
    }

    /// Throws what comes down up to `time`, and a little more, onto those of `2^bits` slots that are open.
    fn throw(
        &mut self,
        bits: u32,
        time: f64,
        is_open: impl Fn(usize) -> bool,
        mut land: impl FnMut(f64, usize),
    ) {
        let until = (time * self.weight).ceil() as u64;
        for nth in self.thrown..until {
            let dart = hash::nth(self.seed, nth);
            let slot = (dart >> (u64::BITS - bits)) as usize;
            if is_open(slot) {
                land((nth as f64 + hash::unit(dart << bits)) / self.weight, slot);
            }
        }
        self.thrown = until;
    }
}

impl Slot {
    const FREE: Self = Self { first: u64::MAX, second: u64::MAX };

    fn entry(at: f64, thrower: u32) -> u64 {
        u64::from((at as f32).to_bits()) << 32 | u64::from(thrower)
    }

    /// Of the same thrower the first dart came first.
    fn hit(&mut self, entry: u64) {
        if entry < self.first {
            *self = Self { first: entry, second: self.first };
        } else if entry < self.second && self.first as u32 != entry as u32 {
            self.second = entry;
        }
    }

    fn renumbered(self, numbers: &[u32]) -> Self {
        let renumbered = |entry: u64| match numbers.get(entry as u32 as usize) {
            Some(&number) => entry >> 32 << 32 | u64::from(number),
            None => entry, // nobody's
        };
        Self { first: renumbered(self.first), second: renumbered(self.second) }
    }

    /// The first to hit the slot.
    fn owner(self) -> u32 {
        self.first as u32
    }

    /// When it did; times are in the order of their numbers.
    fn owned_since(&self) -> u32 {
        (self.first >> 32) as u32
    }

    /// The second; the first again where no other hit the slot until `end`.
    fn next(self, end: u32) -> u32 {
        if (self.second >> 32) as u32 <= end { self.second as u32 } else { self.owner() }
    }
}

impl Open {
    fn all(slots: usize) -> Self {
        Self(vec![u64::MAX; slots.div_ceil(64)])
    }

    /// Those that are open when all darts up to `time` are thrown: with fewer than two instances that hit them before.
    fn after(slots: &[Slot], time: f64) -> Self {
        let end = Slot::entry(time, 0);
        let word = |slots: &[Slot]| {
            slots.iter().rev().fold(0, |word, slot| word << 1 | u64::from(slot.second >= end))
        };
        Self(slots.chunks(64).map(word).collect())
    }

    fn has(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::EndpointSet;
    use crate::instance::{Instance, ServiceName};
    use crate::snapshot::Snapshot;

    #[test]
    fn slots_are_the_same_as_if_none_was_ever_closed() {
        let service: ServiceName = "time".parse().unwrap();
        let instance = |n: u16| {
            let weight = std::num::NonZeroU16::MIN.saturating_add(n % 7);
            Instance::new(format!("10.0.0.{}", n % 250), 1_000 + n).with_weight(weight)
        };
        let set = EndpointSet::of(&Snapshot::fixed(&service, (0..300).map(instance))).unwrap();
        let throwers = || set.in_order().map(|place| Thrower::of(&set[place]));
        let board = Board::of(17, throwers().collect());
        let mut plain = vec![Slot::FREE; board.slots.len()];
        for (number, mut thrower) in (0..).zip(throwers()) {
            thrower.throw(17, board.end, |_| true, |at, slot| plain[slot].hit(Slot::entry(at, number)));
        }
        let end = plain.iter().map(|slot| slot.owned_since()).max().unwrap();
        for (n, (slot, plain)) in board.slots.iter().zip(&plain).enumerate() {
            assert_eq!((slot.first, slot.next(end)), (plain.first, plain.next(end)), "slot {n}");
        }
    }
}
