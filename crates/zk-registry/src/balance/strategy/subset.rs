//! The subset strategy: one client uses a few instances of a large set, and all clients together use each alike.

use std::any::Any;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use super::alias::SMALL;
use super::part::{Part, picker_after};
use crate::balance::{EndpointSet, Index, Picker, Strategy, Tracking, hash};
use crate::instance::InstanceId;

/// A strategy that uses a few instances of the set, and lets another strategy choose among them: a *deterministic subset*.
///
/// Use it when so many clients call so many instances that a connection from each to each is too much. Which instances a client
/// uses follows from its [`Rank`], the number that it has among the clients, and from the list alone. The list is shuffled and
/// dealt out to the ranks one after the other, then shuffled anew (Beyer and others, "Site Reliability Engineering", 2016, chapter
/// 20). Unlike there a deal that does not come out even goes on in the next one, so that with the ranks 0, 1, 2 ... taken each
/// instance has the same number of clients, or one more.
///
/// - A client that comes or goes changes nothing for the others.
/// - Of an instance that goes only its own clients move: each puts another one in its place, and keeps the others. One that
///   comes back, or is new, is taken by the clients to whom it is dealt, each of which lets go of one.
/// - What is given up for that is the exact balance after such changes: clients that have lived through different changes are not dealt
///   to from one list any more.
///
/// When all of the subset are out, calls go to any other instance. Among the listed instances only: of suspects the other strategy has all,
/// and of a set that is no larger than the subset too. Wrap it around [`Zone`](super::Zone), not the other way round: it remembers
/// what it has of one set. Costs nothing per pick on top of the other strategy, and one shuffle per update.
#[derive(Debug)]
pub struct Subset<S> {
    size: usize,
    rank: Rank,
    then: S,
    hand: Mutex<Hand>,
}

/// The rank of a client among those that use the same set: 0, 1, 2 ... without gaps, if the load is to be even. Clones share it.
///
/// It is given, for example the ordinal of a StatefulSet, or taken from ZooKeeper with
/// [`Registry::take_rank`](crate::Registry::take_rank).
#[derive(Clone, Debug)]
pub struct Rank(Arc<Ranking>);

#[derive(Debug)]
struct Ranking {
    rank: AtomicU32,
    /// How many clients there are; 0 = not known.
    clients: AtomicU32,
}

/// What a client has been dealt, and keeps.
#[derive(Debug, Default)]
struct Hand {
    rank: u32,
    kept: BTreeSet<InstanceId>,
    /// The set that it was last compared with.
    last: Option<Arc<EndpointSet>>,
}

impl Rank {
    /// A rank that is given.
    pub fn new(rank: u32) -> Self {
        Self(Arc::new(Ranking { rank: AtomicU32::new(rank), clients: AtomicU32::new(0) }))
    }

    /// The rank.
    pub fn get(&self) -> u32 {
        self.0.rank.load(Relaxed)
    }

    /// How many clients there are, as far as is known.
    pub fn clients(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.0.clients.load(Relaxed))
    }

    /// Changes the rank: the client is dealt to anew when the set changes next.
    pub fn set(&self, rank: u32) {
        self.0.rank.store(rank, Relaxed);
    }

    /// Says how many clients there are. Where they are so few that subsets would leave instances out, subsets are larger, from the next change
    /// of the set on.
    pub fn set_clients(&self, clients: NonZeroU32) {
        self.0.clients.store(clients.get(), Relaxed);
    }
}

impl<S: Strategy> Subset<S> {
    /// The least size of a subset. With fewer instances the clients of one that fails would overload the rest of theirs.
    pub const LEAST: usize = 12;

    /// Uses `size` instances, [`LEAST`](Self::LEAST) at least; `then` chooses among them.
    pub fn new(size: usize, rank: Rank, then: S) -> Self {
        Self { size: size.max(Self::LEAST), rank, then, hand: Mutex::default() }
    }

    /// The rank.
    pub fn rank(&self) -> &Rank {
        &self.rank
    }

    /// The strategy that chooses within the subset.
    pub fn then(&self) -> &S {
        &self.then
    }

    /// The instances that this client uses of the last set, in the order of their ids; none while the other strategy has all.
    pub fn instances(&self) -> Vec<InstanceId> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner).kept.iter().cloned().collect()
    }

    /// The picker for `set`, with what can be used of an earlier one.
    fn after(&self, set: &Arc<EndpointSet>, earlier: Option<&dyn Picker>) -> Box<dyn Picker> {
        let size = self.size(set.len());
        if set[Index::new(0)].is_suspect() {
            return picker_after(&self.then, set, earlier);
        }
        let part = {
            let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
            if set.len() <= size {
                *hand = Hand::default();
                None
            } else {
                hand.adopt(set, self.rank.get(), size);
                set.part(|endpoint| hand.kept.contains(endpoint.id()))
            }
        };
        match part {
            Some(part) => {
                let earlier = earlier.and_then(|earlier| (earlier as &dyn Any).downcast_ref());
                Box::new(Part::of(&self.then, part, earlier))
            }
            None => picker_after(&self.then, set, earlier),
        }
    }

    /// How many of `len` instances are used: as many as asked for, or so many more, in doublings, that all clients together can reach
    /// each.
    fn size(&self, len: usize) -> usize {
        let share = self.rank.clients().map_or(0, |clients| len.div_ceil(clients.get() as usize));
        let doublings = share.div_ceil(self.size).next_power_of_two();
        self.size.saturating_mul(doublings)
    }
}

impl<S: Strategy> Strategy for Subset<S> {
    fn picker(&self, set: &Arc<EndpointSet>) -> Box<dyn Picker> {
        self.after(set, None)
    }

    fn renewed(&self, set: &Arc<EndpointSet>, earlier: &dyn Picker) -> Box<dyn Picker> {
        self.after(set, Some(earlier))
    }

    fn has_table(&self, set: &EndpointSet) -> bool {
        set.len() > SMALL || self.then.has_table(set)
    }

    fn tracking(&self) -> Tracking {
        self.then.tracking()
    }
}

impl Hand {
    /// Keeps what is still there, takes what is new and dealt to this rank, and fills up.
    fn adopt(&mut self, set: &Arc<EndpointSet>, rank: u32, size: usize) {
        // In an order in which one that is new stands anywhere: else new ones would be dealt to the same ranks again and again.
        let word = |id: &InstanceId| hash::bytes(id.as_str().as_bytes());
        let mut ids: Vec<&InstanceId> = set.in_order().map(|place| set[place].id()).collect();
        ids.sort_by_cached_key(|id| word(id));
        let dealt: Vec<&InstanceId> =
            deal(ids.len(), size, rank).into_iter().map(|place| ids[place]).collect();
        if self.rank != rank {
            self.kept.clear();
        }
        self.rank = rank;
        self.kept.retain(|id| set.by_id(id).is_some());
        let last = self.last.replace(Arc::clone(set));
        let is_new = |id: &InstanceId| last.as_ref().is_some_and(|last| last.by_id(id).is_none());
        for &id in dealt.iter().filter(|&&id| is_new(id)) {
            if self.kept.len() >= size && !self.kept.contains(id) {
                // Any of the rest: which one differs from client to client, and from one that comes to the next. Else
                // those that were not let go of once would never be.
                let rest = self.kept.iter().filter(|kept| !dealt.contains(kept));
                let chance = |kept: &&InstanceId| hash::nth(word(kept) ^ word(id), u64::from(rank));
                let rest = rest.min_by_key(chance).cloned();
                let Some(given) = rest else { continue };
                self.kept.remove(&given);
            }
            self.kept.insert(id.clone());
        }
        for &id in &dealt {
            if self.kept.len() < size {
                self.kept.insert(id.clone());
            }
        }
    }
}

/// The places, among `len` in their order, that are dealt to this rank: `size` different ones, fewer than there are.
///
/// All deals one after the other are one sequence, of which each rank has the next `size`: so each place is dealt equally often,
/// or once more, to the ranks below any.
fn deal(len: usize, size: usize, rank: u32) -> Vec<usize> {
    let first = u64::from(rank) * size as u64;
    let place = |at: u64| (at / len as u64, (at % len as u64) as usize);
    let (number, offset) = place(first);
    // Among few there is no room to keep apart what one rank gets of two deals.
    if len < 3 * size {
        let one = shuffled(len, 0);
        return (0..size).map(|n| one[(offset + n) % len]).collect();
    }
    let own = dealt(len, size, number);
    let mut places: Vec<usize> = own.iter().copied().skip(offset).take(size).collect();
    if places.len() < size {
        let rest = size - places.len();
        places.extend(dealt(len, size, number + 1).into_iter().take(rest));
    }
    places
}

/// The `number`th deal. The rank that has the end of the deal before it, and its head, gets no place twice: what of its head stands
/// in that end changes places with the middle. Its own end stays as it was shuffled.
fn dealt(len: usize, size: usize, number: u64) -> Vec<usize> {
    let mut deal = shuffled(len, number);
    let ends = (number * len as u64 % size as u64) as usize;
    if ends > 0 {
        let before = shuffled(len, number - 1);
        let end: BTreeSet<usize> = before[len - ends..].iter().copied().collect();
        let mut middle = size..len - size;
        for at in 0..size - ends {
            if end.contains(&deal[at])
                && let Some(other) = middle.find(|&other| !end.contains(&deal[other]))
            {
                deal.swap(at, other);
            }
        }
    }
    deal
}

/// The places in the order of the `number`th shuffle (Fisher and Yates), which is the same for every client.
fn shuffled(len: usize, number: u64) -> Vec<usize> {
    let seed = hash::nth(number, len as u64);
    let mut places: Vec<usize> = (0..len).collect();
    for end in (1..len).rev() {
        places.swap(end, hash::below(hash::halves(hash::nth(seed, end as u64)).0, end + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::balance::Balancer;
    use crate::balance::strategy::Random;
    use crate::instance::{Instance, ServiceName};
    use crate::snapshot::Snapshot;

    /// The set of these instances.
    fn set(numbers: impl IntoIterator<Item = u32>) -> Arc<EndpointSet> {
        let service: ServiceName = "time".parse().unwrap();
        let instance = |n: u32| {
            Instance::new(format!("10.0.{}.{}", n / 256, n % 256), 80)
                .with_id(format!("i-{n:05}").parse().unwrap())
        };
        EndpointSet::of(&Snapshot::fixed(&service, numbers.into_iter().map(instance))).unwrap()
    }

    /// The connections of each instance.
    fn connections(hands: &[Hand]) -> BTreeMap<InstanceId, u32> {
        let mut connections = BTreeMap::new();
        for id in hands.iter().flat_map(|hand| &hand.kept) {
            *connections.entry(id.clone()).or_default() += 1;
        }
        connections
    }

    fn spread(hands: &[Hand]) -> u32 {
        let connections = connections(hands);
        connections.values().max().unwrap() - connections.values().min().unwrap()
    }

    /// Lets all clients adopt the set; how many connections were begun.
    fn adopt(hands: &mut [Hand], set: &Arc<EndpointSet>) -> usize {
        let adopt = |(rank, hand): (usize, &mut Hand)| {
            let before = hand.kept.clone();
            hand.adopt(set, rank as u32, SIZE);
            hand.kept.difference(&before).count()
        };
        hands.iter_mut().enumerate().map(adopt).sum()
    }

    const SIZE: usize = 12;
    /// As many for each server as with 10,000 clients and 1,000 servers.
    const CLIENTS: usize = 1_000;
    const SERVERS: u32 = 100;

    #[test]
    fn each_rank_is_dealt_different_places_and_each_place_is_dealt_as_often_as_any_other() {
        for len in [13, 24, 35, 36, 37, 100, 101, 143] {
            let mut times = vec![0_u32; len];
            for rank in 0..200 {
                let dealt = deal(len, 12, rank);
                assert_eq!(
                    dealt.iter().collect::<BTreeSet<_>>().len(),
                    12,
                    "{len} places, rank {rank}: {dealt:?}"
                );
                dealt.into_iter().for_each(|place| times[place] += 1);
                let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
                assert!(most - least <= 1, "{len} places, up to rank {rank}: {least} to {most}");
            }
        }
        deal(13, 12, u32::MAX);
    }

    #[test]
    fn clients_load_all_servers_alike_and_only_those_of_a_server_that_goes_move() {
        let mut hands: Vec<Hand> = (0..CLIENTS).map(|_| Hand::default()).collect();
        let all = set(0..SERVERS);
        assert_eq!(adopt(&mut hands, &all), CLIENTS * SIZE);
        assert!(spread(&hands) <= 1, "{}", spread(&hands));

        // One goes: its own connections are all that move.
        let own = connections(&hands)[all[Index::new(50)].id()] as usize;
        let gone = all[Index::new(50)].id().clone();
        let without = set((0..SERVERS).filter(|n| format!("i-{n:05}") != gone.as_str()));
        assert_eq!(adopt(&mut hands, &without), own);
        assert!(spread(&hands) <= 6, "{}", spread(&hands));
        assert!(hands.iter().all(|hand| hand.kept.len() == SIZE));

        // It comes back: the same again, and the balance is what it was.
        assert_eq!(adopt(&mut hands, &all), own);
        assert!(spread(&hands) <= 1, "{}", spread(&hands));

        // A new one is taken by its share of the clients.
        let more = set(0..=SERVERS);
        let moved = adopt(&mut hands, &more);
        let new = connections(&hands)[&"i-00100".parse::<InstanceId>().unwrap()] as usize;
        assert_eq!(moved, new);
        assert!((100..=140).contains(&new), "{new}");
        assert!(spread(&hands) <= 6, "{}", spread(&hands));
    }

    #[test]
    fn after_a_tenth_of_the_servers_was_replaced_each_has_a_third_to_twice_of_its_share() {
        let mut hands: Vec<Hand> = (0..CLIENTS / 2).map(|_| Hand::default()).collect();
        adopt(&mut hands, &set(0..SERVERS));
        for replaced in 0..SERVERS / 10 {
            adopt(&mut hands, &set(replaced + 1..SERVERS + replaced));
            adopt(&mut hands, &set(replaced + 1..SERVERS + replaced + 1));
        }
        let connections = connections(&hands);
        let (least, most) = (connections.values().min().unwrap(), connections.values().max().unwrap());
        assert!(*least >= 20 && *most <= 120, "{least} to {most}, where 60 would be even");
    }

    #[test]
    fn a_balancer_picks_within_the_subset_and_beyond_it_when_all_of_it_is_out() {
        let service: ServiceName = "time".parse().unwrap();
        let instances = (0..100).map(|n| Instance::new(format!("10.0.0.{n}"), 80));
        let balancer = Balancer::new(Subset::new(1, Rank::new(3), Random));
        balancer.update(&Snapshot::fixed(&service, instances));
        let used = || -> BTreeSet<InstanceId> {
            (0..2_000).map(|_| balancer.pick().unwrap().endpoint().id().clone()).collect()
        };
        let subset = used();
        assert_eq!(subset.len(), Subset::<Random>::LEAST);
        for id in &subset {
            balancer.eject(id, std::time::Duration::from_secs(60));
        }
        let others = used();
        assert!(others.len() > 50 && others.is_disjoint(&subset));
    }

    #[test]
    fn few_clients_use_so_many_instances_that_each_is_used() {
        let rank = Rank::new(0);
        let subset = Subset::new(12, rank.clone(), Random);
        for (clients, size) in [(10_000, 12), (84, 12), (83, 24), (10, 192), (1, 1_536)] {
            rank.set_clients(NonZeroU32::new(clients).unwrap());
            assert_eq!(subset.size(1_000), size, "{clients}");
        }
    }
}
