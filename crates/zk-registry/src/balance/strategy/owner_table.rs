//! The table of owners: keys fall into slots, and every client finds the same owner of a slot, whatever else is in the set.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::board::{Board, Thrower};
use crate::balance::{EndpointSet, Index, hash};
use crate::instance::InstanceId;

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
    /// What makes the next table cheaper than this one was.
    history: History,
}

/// Who changed lately, so that the others need not throw again for each of their changes.
#[derive(Default)]
struct History {
    /// Those for whose coming, going or new weight tables were made.
    restless: BTreeSet<InstanceId>,
    /// The board without the restless, once one of them has changed twice.
    steady: Option<Arc<Board>>,
}

/// The places of owners, in as little memory as will do.
enum Owners {
    Few(Vec<u16>),
    Many(Vec<u32>),
}

/// log2 of the least number of slots.
const SLOT_BITS: u32 = 17;
/// There are at least so many slots for each instance. Their number is a power of two, so that it is the same for nearly all sizes:
/// half of the keys move when it doubles.
const SLOTS_EACH: usize = 16;
/// The restless have at most this part of the weight: what they throw for each table is a small part of all darts.
const RESTLESS: u64 = 8;

impl OwnerTable {
    pub(super) fn of(set: &EndpointSet) -> Self {
        Self::with(set, History::default())
    }

    /// The table of `set`, the same as if it was made of that alone; this one is of `old`. Only those that changed throw their darts
    /// again, if they are few and have changed before.
    pub(super) fn renewed(&self, old: &EndpointSet, set: &EndpointSet) -> Self {
        Self::with(set, self.history.after(old, set))
    }

    fn with(set: &EndpointSet, history: History) -> Self {
        // In the order of the ids: of two darts at the same time every client takes the same one for the first.
        let places: Vec<Index> = set.in_order().collect();
        let (mut steady, mut restless) = (Vec::with_capacity(places.len()), Vec::new());
        for (number, &place) in (0..).zip(&places) {
            if history.steady.is_some() && history.restless.contains(set[place].id()) {
                restless.push((number, Thrower::of(&set[place])));
            } else {
                steady.push(number);
            }
        }
        let all = || Board::of(bits(set), places.iter().map(|&place| Thrower::of(&set[place])).collect());
        let board = history.steady.clone().unwrap_or_else(|| Arc::new(all()));
        let (mut owners, mut next) =
            (Owners::new(set.len(), board.len()), Owners::new(set.len(), board.len()));
        board.tell(restless, &steady, |owner, second| {
            owners.push(places[owner as usize]);
            next.push(places[second as usize]);
        });
        Self { shift: u64::BITS - bits(set), owners, next, history }
    }

    /// The `n`th choice of a key: first the owner of its slot, then the one that would own it otherwise, and so on.
    pub(super) fn choice(&self, key: u64, n: u32) -> Index {
        let slot = (hash::nth(key, u64::from(n / 2)) >> self.shift) as usize;
        if n.is_multiple_of(2) { self.owners.at(slot) } else { self.next.at(slot) }
    }
}

/// log2 of the number of slots.
fn bits(set: &EndpointSet) -> u32 {
    (set.len() * SLOTS_EACH).next_power_of_two().ilog2().max(SLOT_BITS)
}

impl History {
    /// The history after the change from `old` to `set`.
    fn after(&self, old: &EndpointSet, set: &EndpointSet) -> Self {
        let changed = set.changes_since(old);
        let weighs_little = |restless: &BTreeSet<InstanceId>| {
            let weights =
                restless.iter().filter_map(|id| set.by_id(id)).map(|endpoint| endpoint.weight().get());
            weights.map(u64::from).sum::<u64>() * RESTLESS <= set.total_weight()
        };
        let is_restless = |id: &InstanceId| self.restless.contains(id);
        let has_changed_before = self.steady.is_some() || changed.iter().any(is_restless);
        if has_changed_before && bits(old) == bits(set) {
            let here = self.restless.iter().filter(|id| set.by_id(id).is_some());
            let restless: BTreeSet<_> = here.chain(&changed).cloned().collect();
            if weighs_little(&restless) {
                let is_steady = |id: &InstanceId| !is_restless(id) && old.by_id(id).is_some();
                let steady = match &self.steady {
                    Some(board) if !changed.iter().any(is_steady) => Arc::clone(board),
                    _ => {
                        let steady = set.in_order().map(|place| &set[place]);
                        let steady = steady.filter(|endpoint| !restless.contains(endpoint.id()));
                        Arc::new(Board::of(bits(set), steady.map(Thrower::of).collect()))
                    }
                };
                return Self { restless, steady: Some(steady) };
            }
        }
        let restless = if weighs_little(&changed) { changed } else { BTreeSet::new() };
        Self { restless, steady: None }
    }
}

impl Owners {
    /// Room for so many slots, owned by so many instances.
    fn new(instances: usize, slots: usize) -> Self {
        if u16::try_from(instances).is_ok() {
            Self::Few(Vec::with_capacity(slots))
        } else {
            Self::Many(Vec::with_capacity(slots))
        }
    }

    fn push(&mut self, owner: Index) {
        match self {
            Self::Few(owners) => owners.push(owner.get() as u16),
            Self::Many(owners) => owners.push(owner.get() as u32),
        }
    }

    fn at(&self, slot: usize) -> Index {
        Index::new(match self {
            Self::Few(owners) => usize::from(owners[slot]),
            Self::Many(owners) => owners[slot] as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::instance::{Instance, ServiceName};
    use crate::snapshot::Snapshot;

    fn instance(n: u16, weight: u16) -> Instance {
        let instance = Instance::new(format!("10.0.0.{}", n % 250), 1_000 + n);
        instance.with_weight(std::num::NonZeroU16::MIN.saturating_add(weight - 1))
    }

    fn set(instances: impl IntoIterator<Item = Instance>) -> Arc<EndpointSet> {
        let service: ServiceName = "time".parse().unwrap();
        EndpointSet::of(&Snapshot::fixed(&service, instances)).unwrap()
    }

    /// The ids of the first two choices of each slot.
    fn choices(table: &OwnerTable, set: &EndpointSet) -> Vec<(InstanceId, InstanceId)> {
        let id = |index: Index| set[index].id().clone();
        (0..1 << (u64::BITS - table.shift)).map(|n| (id(table.owners.at(n)), id(table.next.at(n)))).collect()
    }

    #[test]
    fn a_renewed_table_is_the_same_as_a_new_one() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(17);
        let mut weights: BTreeMap<u16, u16> = (0..200).map(|n| (n, 1 + n % 3)).collect();
        let all = |weights: &BTreeMap<u16, u16>| set(weights.iter().map(|(&n, &weight)| instance(n, weight)));
        let mut old = all(&weights);
        let mut table = OwnerTable::of(&old);
        let (mut cheap, mut heavy) = (0, 0);
        for step in 0..60 {
            // A few change again and again, others now and then; once one of them takes nearly all of the weight.
            for _ in 0..rng.random_range(1..4) {
                let n =
                    if rng.random_ratio(4, 5) { rng.random_range(0..5) } else { rng.random_range(0..210) };
                match rng.random_range(0..3) {
                    0 => drop(weights.remove(&n)),
                    _ if step == 40 => drop(weights.insert(n, 9_000)),
                    _ => drop(weights.insert(n, rng.random_range(1..6))),
                }
            }
            let set = all(&weights);
            let before = table.history.steady.clone();
            table = table.renewed(&old, &set);
            let after = &table.history.steady;
            cheap += usize::from(
                before.zip(after.clone()).is_some_and(|(before, after)| Arc::ptr_eq(&before, &after)),
            );
            heavy += usize::from(step > 2 && after.is_none());
            assert!(choices(&table, &set) == choices(&OwnerTable::of(&set), &set), "step {step}");
            old = set;
        }
        assert!(cheap > 15, "the others threw again for all but {cheap} of 60 changes");
        assert!(heavy > 0, "what has nearly all of the weight is not among the restless");
    }

    #[test]
    fn of_many_instances_each_owns_a_slot() {
        let set = set((0..20_000_u32).map(|n| Instance::new(format!("10.0.{}.{}", n / 256, n % 256), 80)));
        let table = OwnerTable::of(&set);
        let mut owns = vec![false; set.len()];
        let slots = 1 << (u64::BITS - table.shift);
        (0..slots).for_each(|slot| owns[table.owners.at(slot).get()] = true);
        assert_eq!(owns.iter().filter(|owns| !**owns).count(), 0, "of {slots} slots they own none");
    }
}
