//! The table of owners: keys fall into slots, and every client finds the same owner of a slot, whatever else is in the set.

use crate::balance::{EndpointSet, Index, hash};

/// A slot belongs to the instance that hits it first, when all throw darts at the table, as many at a time as their weights
/// say. Where an instance's darts land depends on its id alone, so a slot changes hands only when its owner goes, or when
/// a faster one comes. (Weighted rendezvous hashing of each slot, Thaler and Ravishankar 1998, without asking
/// every instance about every slot.)
pub(super) struct OwnerTable {
    /// The owner of each slot. Apart from the other table, because most picks look at nothing else, and at 10,000 instances wait
    /// for it.
    owners: Box<[u32]>,
    /// The owner that each slot would have without its own.
    next: Box<[u32]>,
}

/// The owner and the runner-up of a slot while the table is made: the time of the dart above, its thrower below.
#[derive(Clone, Copy)]
struct Slot {
    owner: u64,
    next: u64,
}

/// log2 of the number of slots: 13 for each of 10,000 instances, and two tables of 512 KiB.
const SLOT_BITS: u32 = 17;
/// How many darts come down on a slot, on average, before it is looked whether any slot is still free. It takes about twelve.
const ROUND: f64 = 3.0;

impl OwnerTable {
    pub(super) fn of(set: &EndpointSet) -> Self {
        let mut slots = vec![Slot { owner: u64::MAX, next: u64::MAX }; 1 << SLOT_BITS];
        let round = ROUND * slots.len() as f64 / set.total_weight() as f64;
        let mut throwers: Vec<Thrower> = set
            .iter()
            .map(|endpoint| Thrower {
                seed: hash::bytes(endpoint.id().as_str().as_bytes()),
                weight: f64::from(endpoint.weight().get()),
                thrown: 0,
            })
            .collect();
        let mut time = 0.0;
        // All darts up to `time` are thrown: what was hit by then is settled.
        while slots.iter().any(|slot| slot.owner >= Slot::entry(time, 0)) {
            time += round;
            for (owner, thrower) in throwers.iter_mut().enumerate() {
                thrower.throw(time, |at, dart| slots[dart].hit(at, owner as u32));
            }
        }
        let (owners, next): (Vec<_>, Vec<_>) = slots.iter().map(Slot::places).unzip();
        Self { owners: owners.into(), next: next.into() }
    }

    /// The `n`th choice of a key: first the owner of its slot, then the one that would own it otherwise, and so on.
    pub(super) fn choice(&self, key: u64, n: u32) -> Index {
        let slot = (hash::nth(key, u64::from(n / 2)) >> (64 - SLOT_BITS)) as usize;
        let table = if n.is_multiple_of(2) { &self.owners } else { &self.next };
        Index::new(table[slot] as usize)
    }
}

/// An instance with its darts, which come down one after the other at even intervals, give or take one.
struct Thrower {
    seed: u64,
    weight: f64,
    thrown: u64,
}

impl Thrower {
    /// Throws what comes down up to `time`, and a little more.
    fn throw(&mut self, time: f64, mut land: impl FnMut(f64, usize)) {
        let until = (time * self.weight).ceil() as u64;
        for nth in self.thrown..until {
            let dart = hash::nth(self.seed, nth);
            let at = (nth as f64 + hash::unit(dart << SLOT_BITS)) / self.weight;
            land(at, (dart >> (64 - SLOT_BITS)) as usize);
        }
        self.thrown = until;
    }
}

impl Slot {
    fn entry(at: f64, owner: u32) -> u64 {
        u64::from((at as f32).to_bits()) << 32 | u64::from(owner)
    }

    /// Of the same thrower the first dart came first.
    fn hit(&mut self, at: f64, owner: u32) {
        let entry = Self::entry(at, owner);
        if entry < self.owner {
            *self = Self { owner: entry, next: self.owner };
        } else if entry < self.next && self.owner as u32 != owner {
            self.next = entry;
        }
    }

    /// Owner and runner-up; the owner again where no other hit the slot.
    fn places(&self) -> (u32, u32) {
        let next = if self.next == u64::MAX { self.owner } else { self.next };
        (self.owner as u32, next as u32)
    }
}
