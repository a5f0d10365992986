//! The table of owners: keys fall into slots, and every client finds the same owner of a slot, whatever else is in the set.

use crate::balance::{EndpointSet, Index, hash};

/// A slot belongs to the instance that hits it first, when all throw darts at the table, as many at a time as their weights
/// say. Where an instance's darts land depends on its id alone, so a slot changes hands only when its owner goes, or when
/// a faster one comes. (Weighted rendezvous hashing of each slot, Thaler and Ravishankar 1998, without asking
/// every instance about every slot.)
pub(super) struct OwnerTable {
    /// How many bits a key's hash is shifted to the right to be the number of its slot.
    shift: u32,
    /// The owner of each slot. Apart from the other table, because most picks look at nothing else, and at 10,000 instances wait
    /// for it.
    owners: Owners,
    /// The owner that each slot would have without its own.
    next: Owners,
}

/// The places of owners, in as little memory as will do.
enum Owners {
    Few(Box<[u16]>),
    Many(Box<[u32]>),
}

/// The owner and the runner-up of a slot while the table is made: the time of the dart above, its thrower below.
#[derive(Clone, Copy)]
struct Slot {
    owner: u64,
    next: u64,
}

/// log2 of the least number of slots.
const SLOT_BITS: u32 = 17;
/// There are at least so many slots for each instance. Their number is a power of two, so that it is the same for nearly all sizes:
/// half of the keys move when it doubles.
const SLOTS_EACH: usize = 16;
/// How many darts come down on a slot, on average, before it is looked whether any slot is still free. It takes about twelve.
const ROUND: f64 = 3.0;

impl OwnerTable {
    pub(super) fn of(set: &EndpointSet) -> Self {
        let bits = (set.len() * SLOTS_EACH).next_power_of_two().ilog2().max(SLOT_BITS);
        let mut slots = vec![Slot { owner: u64::MAX, next: u64::MAX }; 1 << bits];
        let round = ROUND * slots.len() as f64 / set.total_weight() as f64;
        // In the order of the ids: of two darts at the same time every client takes the same one for the first.
        let places: Vec<Index> = set.in_order().collect();
        let mut throwers: Vec<Thrower> = places
            .iter()
            .map(|&index| &set[index])
            .map(|endpoint| Thrower {
                bits,
                seed: hash::bytes(endpoint.id().as_str().as_bytes()),
                weight: f64::from(endpoint.weight().get()),
                thrown: 0,
            })
            .collect();
        let mut time = 0.0;
        let mut open = Open::all(slots.len());
        // All darts up to `time` are thrown: what was hit by then is settled.
        while slots.iter().any(|slot| slot.owner >= Slot::entry(time, 0)) {
            time += round;
            for (owner, thrower) in throwers.iter_mut().enumerate() {
                thrower.throw(time, &open, |at, dart| slots[dart].hit(at, owner as u32));
            }
            open = Open::after(&slots, time);
        }
        let place = |thrower: u32| places[thrower as usize];
        let owners = Owners::of(set.len(), slots.iter().map(|slot| place(slot.owner())));
        let next = Owners::of(set.len(), slots.iter().map(|slot| place(slot.next())));
        Self { shift: u64::BITS - bits, owners, next }
    }

    /// The `n`th choice of a key: first the owner of its slot, then the one that would own it otherwise, and so on.
    pub(super) fn choice(&self, key: u64, n: u32) -> Index {
        let slot = (hash::nth(key, u64::from(n / 2)) >> self.shift) as usize;
        if n.is_multiple_of(2) { self.owners.at(slot) } else { self.next.at(slot) }
    }
}

impl Owners {
    /// The owners of all slots, of which there are `instances`.
    fn of(instances: usize, owners: impl Iterator<Item = Index>) -> Self {
        if u16::try_from(instances).is_ok() {
            Self::Few(owners.map(|owner| owner.get() as u16).collect())
        } else {
            Self::Many(owners.map(|owner| owner.get() as u32).collect())
        }
    }

    fn at(&self, slot: usize) -> Index {
        Index::new(match self {
            Self::Few(owners) => usize::from(owners[slot]),
            Self::Many(owners) => owners[slot] as usize,
        })
    }
}

/// An instance with its darts, which come down one after the other at even intervals, give or take one.
struct Thrower {
    /// log2 of the number of slots.
    bits: u32,
    seed: u64,
    weight: f64,
    thrown: u64,
}

impl Thrower {
    /// Throws what comes down up to `time`, and a little more, onto the slots that are open.
    fn throw(&mut self, time: f64, open: &Open, mut land: impl FnMut(f64, usize)) {
        let until = (time * self.weight).ceil() as u64;
        for nth in self.thrown..until {
            let dart = hash::nth(self.seed, nth);
            let slot = (dart >> (u64::BITS - self.bits)) as usize;
            if open.has(slot) {
                let at = (nth as f64 + hash::unit(dart << self.bits)) / self.weight;
                land(at, slot);
            }
        }
        self.thrown = until;
    }
}

/// The slots to which a later dart can make a difference, a bit each: after the first round they are few, and the bits lie in the
/// nearest cache, where the slots do not.
struct Open(Vec<u64>);

impl Open {
    fn all(slots: usize) -> Self {
        Self(vec![u64::MAX; slots.div_ceil(64)])
    }

    /// Those that are open when all darts up to `time` are thrown: with fewer than two instances that hit them before.
    fn after(slots: &[Slot], time: f64) -> Self {
        let end = Slot::entry(time, 0);
        let word =
            |slots: &[Slot]| slots.iter().rev().fold(0, |word, slot| word << 1 | u64::from(slot.next >= end));
        Self(slots.chunks(64).map(word).collect())
    }

    fn has(&self, slot: usize) -> bool {
        self.0[slot / 64] >> (slot % 64) & 1 == 1
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

    fn owner(&self) -> u32 {
        self.owner as u32
    }

    /// The runner-up; the owner again where no other hit the slot.
    fn next(&self) -> u32 {
        if self.next == u64::MAX { self.owner() } else { self.next as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{Instance, ServiceName};
    use crate::snapshot::Snapshot;

    #[test]
    fn owners_are_the_same_as_if_no_slot_was_ever_closed() {
        let service: ServiceName = "time".parse().unwrap();
        let instance = |n: u16| {
            let instance = Instance::new(format!("10.0.0.{}", n % 250), 1_000 + n);
            instance.with_weight(std::num::NonZeroU16::MIN.saturating_add(n % 7))
        };
        let set = EndpointSet::of(&Snapshot::fixed(&service, (0..300).map(instance))).unwrap();
        let table = OwnerTable::of(&set);
        let slots = 1_usize << (u64::BITS - table.shift);
        let mut plain = vec![Slot { owner: u64::MAX, next: u64::MAX }; slots];
        let places: Vec<Index> = set.in_order().collect();
        let thrower = |&index: &Index| Thrower {
            bits: slots.ilog2(),
            seed: hash::bytes(set[index].id().as_str().as_bytes()),
            weight: f64::from(set[index].weight().get()),
            thrown: 0,
        };
        let mut throwers: Vec<_> = places.iter().map(thrower).collect();
        let mut time = 0.0;
        while plain.iter().any(|slot| slot.owner >= Slot::entry(time, 0)) {
            time += ROUND * slots as f64 / set.total_weight() as f64;
            for (owner, thrower) in throwers.iter_mut().enumerate() {
                thrower.throw(time, &Open::all(slots), |at, dart| plain[dart].hit(at, owner as u32));
            }
        }
        for (slot, plain) in plain.iter().enumerate() {
            assert_eq!(table.owners.at(slot), places[plain.owner() as usize], "slot {slot}");
            assert_eq!(table.next.at(slot), places[plain.next() as usize], "slot {slot}");
        }
    }

    #[test]
    fn of_many_instances_each_owns_a_slot() {
        let service: ServiceName = "time".parse().unwrap();
        let instances = (0..20_000_u32).map(|n| Instance::new(format!("10.0.{}.{}", n / 256, n % 256), 80));
        let set = EndpointSet::of(&Snapshot::fixed(&service, instances)).unwrap();
        let table = OwnerTable::of(&set);
        let mut owns = vec![false; set.len()];
        let slots = 1 << (u64::BITS - table.shift);
        (0..slots).for_each(|slot| owns[table.owners.at(slot).get()] = true);
        assert_eq!(owns.iter().filter(|owns| !**owns).count(), 0, "of {slots} slots they own none");
    }
}
