//! One service over several nodes: its own, and its shards. Pure.
//!
//! An instance that is gone from one node may stand in another that is not known to be read as far: it stays listed until it is.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use super::assembly::worst_freshness;
use crate::format::shards::Shards;
use crate::instance::{InstanceId, ServiceName};
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Contents, Freshness, Member, Rejected, Snapshot, Zxid};

/// The service's own node among the parts; the shard `n` is part `n + 1`.
pub(super) const OWN: usize = 0;

/// The snapshots of a service's nodes, and the instances that they make together.
#[derive(Debug)]
pub(super) struct ShardUnion {
    service: ServiceName,
    shards: Shards,
    parts: Vec<Snapshot>,
    members: Members,
    /// Instances that are gone from a part, and listed until it is known that they are gone from all.
    missed: BTreeMap<InstanceId, Missed>,
    /// Suspects of a part that were seen in another one since, in a node that was created then.
    moved: BTreeMap<InstanceId, Zxid>,
    stage: Stage,
    marker: Steadiness,
    revision: u64,
    watermark: Zxid,
}

/// How far the union was ever known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Some part was never read, or not as far as another: the union is no fresher than this.
    Gathering(Freshness),
    /// Every part was read once. A part that is added later counts from its first read on.
    Known,
}

/// Whether the marker says how it is, or another thing whenever it is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Steadiness {
    /// The marker changed while a question was under way. The next question is put to all parts, so that its answer holds for any marker.
    Changing,
    Steady,
}

/// An instance that is gone from a part.
#[derive(Debug)]
struct Missed {
    member: Arc<Member>,
    part: usize,
    /// At this point of history at the latest.
    gone: Zxid,
}

/// Instances that are listed until these parts are known up to a point of history.
#[derive(Debug)]
pub(super) struct Question {
    missed: Vec<InstanceId>,
    /// The shards as they were known when it was asked.
    shards: Shards,
    pub(super) parts: Vec<usize>,
    pub(super) until: Zxid,
    pub(super) cause: Cause,
}

/// Why a question is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    /// Every part was read once, each at a time of its own: an instance that moved meanwhile may be in none.
    First,
    /// An instance left its place.
    Gone,
    /// An instance left another node than its place: events are likely to tell of it before a request does.
    Moving,
}

/// What became of a question.
#[derive(Debug)]
pub(super) enum Answered {
    /// The parts are known that far.
    Known(Question),
    /// They are not: it is asked again where that is for want of a connection.
    Overdue(Question),
}

impl ShardUnion {
    /// A service whose own node was known so far, and made this snapshot.
    pub(super) fn new(own: Snapshot, shards: Shards) -> Self {
        let stage = match own.freshness() {
            freshness @ (Freshness::Disk { .. } | Freshness::Pending) => Stage::Gathering(freshness),
            Freshness::Live | Freshness::Stale { .. } => Stage::Known,
        };
        let mut union = Self {
            service: own.service().clone(),
            shards: Shards::NONE,
            members: own.0.members.clone(),
            missed: BTreeMap::new(),
            moved: BTreeMap::new(),
            stage,
            marker: Steadiness::Steady,
            revision: own.revision(),
            watermark: own.watermark(),
            parts: vec![own],
        };
        union.reshard(shards);
        union
    }

    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Adopts the number of shards that the marker states; shards that were read stay parts. Returns how many parts are new.
    pub(super) fn reshard(&mut self, shards: Shards) -> usize {
        self.shards = Shards { count: shards.count, read: self.shards.read.max(shards.read) };
        let new = (1 + usize::from(self.shards.read)).saturating_sub(self.parts.len());
        self.parts.extend((0..new).map(|_| Snapshot::pending(&self.service)));
        new
    }

    /// A part looks like this now. Whether that is news.
    pub(super) fn take_up(&mut self, part: usize, newer: Snapshot) -> bool {
        let Some(older) = self.parts.get_mut(part) else { return false };
        if Arc::ptr_eq(&older.0, &newer.0) {
            return false;
        }
        let older = mem::replace(older, newer.clone());
        for change in older.diff(&newer) {
            match change {
                Change::Added(member) | Change::Updated { new: member, .. } => self.stands(member),
                // A younger node of it is known, which counts.
                Change::Removed(member) if self.listed(&member.id) > Some(member.created) => {}
                Change::Removed(member) => {
                    let id = member.id.clone();
                    self.missed.insert(id.clone(), Missed { member, part, gone: newer.watermark() });
                    self.settle(&id);
                }
            }
        }
        true
    }

    /// What has to be asked before the instances that are missed may go.
    pub(super) fn question(&self) -> Option<Question> {
        let is_read = |part: &Snapshot| matches!(part.freshness(), Freshness::Live | Freshness::Stale { .. });
        let is_first = matches!(self.stage, Stage::Gathering(_)) && self.parts.iter().all(is_read);
        if self.missed.is_empty() && !is_first {
            return None;
        }
        let (mut parts, mut cause): (Vec<usize>, _) = match is_first {
            true => ((0..self.parts.len()).collect(), Cause::First),
            false if self.marker == Steadiness::Changing => ((0..self.parts.len()).collect(), Cause::Moving),
            false => {
                // Of several changes some may have called it to a node that is not known yet, or not any more.
                let unsure = |part: &usize| self.parts[*part].freshness() != Freshness::Live;
                (std::iter::once(OWN).chain((1..self.parts.len()).filter(unsure)).collect(), Cause::Gone)
            }
        };
        for Missed { member, part, .. } in self.missed.values() {
            // One that left its place is gone, unless a marker that is not known yet has called it away.
            let place = self.shards.of(&member.id).map_or(OWN, |shard| usize::from(shard) + 1);
            if place != *part && !is_first {
                cause = Cause::Moving;
                parts.push(place);
            }
        }
        let gone = self.missed.values().map(|missed| missed.gone);
        let read = self.parts.iter().map(Snapshot::watermark).filter(|_| is_first);
        parts.sort_unstable();
        parts.dedup();
        Some(Question {
            missed: self.missed.keys().cloned().collect(),
            shards: self.shards,
            parts,
            until: gone.chain(read).max().unwrap_or_default(),
            cause,
        })
    }

    /// A question was answered, or was not. Whether that is news.
    pub(super) fn answered(&mut self, answered: &Answered) -> bool {
        let can_be_asked = |part: &usize| {
            self.parts
                .get(*part)
                .is_some_and(|part| part.freshness() != Freshness::Live && part.cause().is_none())
        };
        let question = match answered {
            Answered::Known(question) => question,
            Answered::Overdue(question) if question.parts.iter().any(can_be_asked) => return false,
            Answered::Overdue(question) => question,
        };
        // With another marker there is another place to look, unless that was done.
        if question.shards != self.shards && question.parts.len() < self.parts.len() {
            self.marker = Steadiness::Changing;
            return false;
        }
        self.marker = Steadiness::Steady;
        let mut news = question.cause == Cause::First;
        if news {
            self.stage = Stage::Known;
        }
        for id in &question.missed {
            if self.missed.get(id).is_some_and(|missed| missed.gone <= question.until) {
                self.missed.remove(id);
                self.settle(id);
                news = true;
            }
        }
        news
    }

    /// When the node was created by which an instance is listed.
    fn listed(&self, id: &InstanceId) -> Option<Zxid> {
        self.members.get(id).map(|member| member.created)
    }

    /// A part has this instance. Whether others have it too is of interest where theirs may be younger: there may be a thousand.
    fn stands(&mut self, member: Arc<Member>) {
        if self.listed(&member.id) > Some(member.created) {
            return self.settle(&member.id);
        }
        self.missed.remove(&member.id);
        drop(self.members.insert(member));
    }

    fn settle(&mut self, id: &InstanceId) {
        // The youngest node counts: the others are on their way, or what a crashed process left.
        let standing = self.parts.iter().filter_map(|part| part.get(id)).max_by_key(|member| member.created);
        match (standing, self.missed.get(id)) {
            (Some(member), _) => {
                drop(self.members.insert(member.clone()));
                self.missed.remove(id);
            }
            (None, Some(missed)) => drop(self.members.insert(missed.member.clone())),
            (None, None) => drop(self.members.remove(id)),
        }
    }

    fn freshness(&self) -> Freshness {
        let is_known = |part: &&Snapshot| part.freshness() != Freshness::Pending || part.cause().is_some();
        match self.stage {
            Stage::Gathering(freshness) => freshness,
            Stage::Known => worst_freshness(self.parts.iter().filter(is_known)),
        }
    }

    /// The suspects of the parts, but for those that have only moved: what became of them later was seen elsewhere.
    fn suspects(&mut self) -> Members {
        let (mut suspects, mut moved) = (BTreeMap::new(), BTreeMap::new());
        for suspect in self.parts.iter().flat_map(Snapshot::suspects) {
            let member = self.members.get(&suspect.id);
            let created =
                member.map(|member| member.created).or_else(|| self.moved.get(&suspect.id).copied());
            if let Some(created) = created.filter(|created| *created > suspect.created) {
                moved.insert(suspect.id.clone(), created);
            } else if member.is_none() {
                suspects.insert(&suspect.id, suspect.clone());
            }
        }
        let suspects = Members::from_sorted(suspects.into_values().collect());
        self.moved = moved;
        suspects
    }

    /// What the parts make.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        self.revision += 1;
        let freshness = self.freshness();
        let suspects = self.suspects();
        let parts = || self.parts.iter();
        let mut rejected: Vec<Arc<Rejected>> = parts().flat_map(Snapshot::rejected).cloned().collect();
        rejected.sort_by(|a, b| a.id.cmp(&b.id));
        // A part that was never there has no point of history to speak of; one that came later was first read after the others.
        let watermarks = parts().map(Snapshot::watermark).filter(|watermark| *watermark > Zxid(0));
        let is_whole = self.missed.is_empty() && parts().all(|part| part.freshness() != Freshness::Pending);
        if is_whole {
            self.watermark = self.watermark.max(watermarks.min().unwrap_or_default());
        }
        Snapshot::new(Contents {
            service: self.service.clone(),
            members: self.members.clone(),
            suspects,
            rejected: rejected.into(),
            rules: Arc::default(),
            shadows: parts().map(Snapshot::shadows).sum(),
            freshness,
            cause: parts().find_map(Snapshot::cause).cloned(),
            revision: self.revision,
            watermark: self.watermark,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::instance::Instance;
    use crate::snapshot::Incarnation;

    fn member(port: u16, zxid: i64) -> Arc<Member> {
        let instance = Instance::new("h", port);
        Arc::new(Member {
            node: None,
            id: instance.id().unwrap(),
            instance,
            format: None,
            incarnation: Incarnation::from(0),
            session: 1,
            created: Zxid(zxid),
            modified: Zxid(zxid),
            ctime: 0,
        })
    }

    fn part(members: &[&Arc<Member>], watermark: i64) -> Snapshot {
        let empty = Snapshot::fixed(&"time".parse().unwrap(), []);
        let mut contents = Contents::clone(&empty.0);
        for member in members {
            contents.members.insert((*member).clone());
        }
        contents.watermark = Zxid(watermark);
        Snapshot::new(contents)
    }

    fn ports(union: &mut ShardUnion) -> Vec<u16> {
        union.snapshot().instances().map(|member| member.port()).collect()
    }

    #[test]
    fn an_instance_that_moves_is_listed_whichever_node_is_read_first() {
        let (old, new) = (member(1, 5), member(1, 9));
        let place = usize::from(Shards::new(2).of(&old.id).unwrap()) + 1;
        for old_first in [true, false] {
            let mut union = ShardUnion::new(part(&[&old], 5), Shards::new(2));
            union.take_up(3 - place, part(&[], 6));
            let steps = [(OWN, part(&[], 9)), (place, part(&[&new], 9))];
            let order = if old_first { [0, 1] } else { [1, 0] };
            for step in order {
                let (number, snapshot) = steps[step].clone();
                union.take_up(number, snapshot);
                assert_eq!(ports(&mut union), [1], "{old_first}");
            }
            assert!(union.question().is_none(), "it was found");
            assert_eq!(union.snapshot().get(&old.id).unwrap().created, Zxid(9), "the younger node counts");
        }
    }

    #[test]
    fn an_instance_is_gone_once_the_marker_is_known_to_be_the_same() {
        let one = member(1, 5);
        let place = usize::from(Shards::new(2).of(&one.id).unwrap()) + 1;
        let mut union = ShardUnion::new(part(&[], 1), Shards::new(2));
        union.take_up(place, part(&[&one], 5));
        union.take_up(3 - place, part(&[], 5));
        union.take_up(place, part(&[], 6));
        let question = union.question().unwrap();
        assert_eq!(
            (question.parts.as_slice(), question.until, question.cause),
            (&[OWN][..], Zxid(6), Cause::Gone)
        );
        assert_eq!(ports(&mut union), [1]);
        // The marker was another one: it is asked again.
        assert_eq!(union.reshard(Shards::new(4)), 2);
        assert!(!union.answered(&Answered::Known(question)));
        assert_eq!(ports(&mut union), [1]);
        let question = union.question().unwrap();
        assert!(union.answered(&Answered::Known(question)));
        assert!(ports(&mut union).is_empty());
    }

    #[test]
    fn a_part_that_comes_later_makes_nothing_less_fresh_and_one_that_was_never_read_at_first_does() {
        let mut union = ShardUnion::new(part(&[], 3), Shards::new(2));
        assert_eq!(union.snapshot().freshness(), Freshness::Live);
        let mut union = ShardUnion::new(Snapshot::pending(&"time".parse().unwrap()), Shards::new(2));
        for number in [2, OWN, 1] {
            assert!(union.question().is_none());
            union.take_up(number, part(&[], 3));
            assert_eq!(union.snapshot().freshness(), Freshness::Pending);
        }
        let question = union.question().unwrap();
        assert_eq!((question.parts.as_slice(), question.until), (&[0, 1, 2][..], Zxid(3)));
        assert!(union.answered(&Answered::Known(question)));
        union.reshard(Shards::new(4));
        assert_eq!(union.snapshot().freshness(), Freshness::Live);
        assert_eq!(union.snapshot().watermark(), Zxid(3));
    }

    /// How long it takes until the first part has thousands of instances, beside so many others.
    fn taking_up(shards: u16) -> Duration {
        let mut union = ShardUnion::new(part(&[], 1), Shards::new(shards));
        for (shard, port) in (1..=usize::from(shards)).zip(1..) {
            union.take_up(shard, part(&[&member(port, 2)], 2));
        }
        let members: Vec<_> = (10_000..14_000).map(|port| member(port, 5)).collect();
        let full = part(&members.iter().collect::<Vec<_>>(), 5);
        let began = Instant::now();
        union.take_up(1, full);
        began.elapsed()
    }

    #[test]
    fn instances_cost_as_much_beside_a_thousand_shards_as_beside_two() {
        let best = |shards| (0..5).map(|_| taking_up(shards)).min().unwrap();
        let (two, thousand) = (best(2), best(1_000));
        assert!(thousand < two * 5, "{thousand:?}, and {two:?} beside two");
    }
}
