//! The instances of a service, sorted by id, in leaves that snapshots share.
//!
//! A publication must not copy 100,000 pointers for one change: a clone copies the spine, and a change copies the one leaf
//! that it touches.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::instance::InstanceId;
use crate::snapshot::{Change, Member};

/// A leaf is split when it grows past this.
const LEAF: usize = 128;

/// Sorted by id; clones share their leaves. No leaf is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    leaves: Vec<Arc<Vec<Arc<Member>>>>,
    len: usize,
}

impl Members {
    /// From members in the order of their ids, each id once.
    pub(crate) fn from_sorted(members: Vec<Arc<Member>>) -> Self {
        let len = members.len();
        let leaves = members.chunks(LEAF / 2).map(|leaf| Arc::new(leaf.to_vec())).collect();
        Self { leaves, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&Arc<Member>> {
        let leaf = self.leaves.get(self.leaf_of(id)?)?;
        let at = leaf.binary_search_by(|member| member.id.cmp(id)).ok()?;
        leaf.get(at)
    }

    /// Puts the member in its place, and returns whom it replaced.
    pub(crate) fn insert(&mut self, member: Arc<Member>) -> Option<Arc<Member>> {
        let Some(leaf_at) = self.leaf_of(&member.id) else {
            self.leaves.push(Arc::new(vec![member]));
            self.len = 1;
            return None;
        };
        let leaf = Arc::make_mut(&mut self.leaves[leaf_at]);
        match leaf.binary_search_by(|other| other.id.cmp(&member.id)) {
            Ok(at) => Some(std::mem::replace(&mut leaf[at], member)),
            Err(at) => {
                leaf.insert(at, member);
                if leaf.len() > LEAF {
                    let upper = leaf.split_off(LEAF / 2);
                    self.leaves.insert(leaf_at + 1, Arc::new(upper));
                }
                self.len += 1;
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<Arc<Member>> {
        let leaf_at = self.leaf_of(id)?;
        let at = self.leaves[leaf_at].binary_search_by(|member| member.id.cmp(id)).ok()?;
        let leaf = Arc::make_mut(&mut self.leaves[leaf_at]);
        let removed = leaf.remove(at);
        if leaf.is_empty() {
            self.leaves.remove(leaf_at);
        }
        self.join_small(leaf_at);
        self.len -= 1;
        Some(removed)
    }

    /// Joins the leaf with a neighbour if one would do for both, so that the spine stays short.
    fn join_small(&mut self, leaf_at: usize) {
        let first = leaf_at.min(self.leaves.len().saturating_sub(2));
        if let Some([one, next]) = self.leaves.get(first..first + 2)
            && one.len() + next.len() <= LEAF / 2
        {
            let next = self.leaves.remove(first + 1);
            Arc::make_mut(&mut self.leaves[first]).extend(next.iter().cloned());
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        Iter { leaves: &self.leaves, at: 0, left: self.len }
    }

    /// What happened between `self` and `newer`, in the order of the ids. Shared leaves cost one comparison.
    pub(crate) fn diff(&self, newer: &Self) -> Vec<Change> {
        let (mut old, mut new) = (self.iter(), newer.iter());
        let mut changes = Vec::new();
        loop {
            Iter::skip_shared(&mut old, &mut new);
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.id.cmp(&new.id),
            };
            match order {
                Ordering::Less => changes.extend(old.next().cloned().map(Change::Removed)),
                Ordering::Greater => changes.extend(new.next().cloned().map(Change::Added)),
                Ordering::Equal => {
                    if let (Some(old), Some(new)) = (old.next(), new.next())
                        && !Arc::ptr_eq(old, new)
                        && old != new
                    {
                        changes.push(Change::Updated { old: old.clone(), new: new.clone() });
                    }
                }
            }
        }
    }

    /// The leaf that holds the id, or would; `None` when there is no leaf at all.
    fn leaf_of(&self, id: &InstanceId) -> Option<usize> {
        let after = self.leaves.partition_point(|leaf| leaf.first().is_some_and(|first| first.id <= *id));
        (!self.leaves.is_empty()).then(|| after.saturating_sub(1))
    }
}

/// In the order of the ids.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'a> {
    /// The leaves from the current one on.
    leaves: &'a [Arc<Vec<Arc<Member>>>],
    /// The place in the first of them.
    at: usize,
    left: usize,
}

impl<'a> Iter<'a> {
    fn peek(&self) -> Option<&'a Arc<Member>> {
        self.leaves.first()?.get(self.at)
    }

    /// Skips the leaves that both have, as long as both stand at the beginning of one.
    fn skip_shared(one: &mut Self, other: &mut Self) {
        while let (Some(a), Some(b)) = (one.leaves.first(), other.leaves.first())
            && one.at == 0
            && other.at == 0
            && Arc::ptr_eq(a, b)
        {
            one.skip_leaf();
            other.skip_leaf();
        }
    }

    fn skip_leaf(&mut self) {
        if let Some((leaf, rest)) = self.leaves.split_first() {
            self.left -= leaf.len() - self.at;
            (self.leaves, self.at) = (rest, 0);
        }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Member>;

    fn next(&mut self) -> Option<Self::Item> {
        let (leaf, rest) = self.leaves.split_first()?;
        let member = leaf.get(self.at)?;
        self.at += 1;
        self.left -= 1;
        if self.at == leaf.len() {
            (self.leaves, self.at) = (rest, 0);
        }
        Some(member)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::instance::Instance;
    use crate::snapshot::{Incarnation, Zxid};

    fn member(port: u16, zxid: i64) -> Arc<Member> {
        let instance = Instance::new("h", port);
        Arc::new(Member {
            id: instance.id().unwrap(),
            instance,
            incarnation: Incarnation(0),
            session: 1,
            created: Zxid(zxid),
            modified: Zxid(zxid),
        })
    }

    proptest! {
        #[test]
        fn members_behave_like_a_sorted_map(steps in prop::collection::vec((any::<bool>(), 0_u16..600), 0..900)) {
            let mut members = Members::default();
            let mut model = BTreeMap::new();
            for (n, (insert, port)) in steps.into_iter().enumerate() {
                let before = members.clone();
                let old = model.clone();
                let one = member(port, n as i64);
                if insert {
                    prop_assert_eq!(members.insert(one.clone()), model.insert(one.id.clone(), one));
                } else {
                    prop_assert_eq!(members.remove(&one.id), model.remove(&one.id));
                }
                prop_assert_eq!(members.len(), model.len());
                if n % 50 == 0 {
                    prop_assert!(members.iter().eq(model.values()));
                    prop_assert!(before.iter().eq(old.values()), "a clone never changes");
                }
                prop_assert!(before.diff(&members).len() <= 1);
            }
            prop_assert_eq!(members.iter().len(), model.len());
            for (id, one) in &model {
                prop_assert_eq!(members.get(id), Some(one));
            }
        }

        #[test]
        fn a_diff_leads_from_the_old_to_the_new(
            base in prop::collection::btree_set(0_u16..800, 0..600),
            changes in prop::collection::vec((any::<bool>(), 0_u16..800), 0..60),
        ) {
            let mut ids: Vec<_> = base.into_iter().map(|port| member(port, 0)).collect();
            ids.sort_by(|a, b| a.id.cmp(&b.id));
            let old = Members::from_sorted(ids);
            let mut new = old.clone();
            for (n, (insert, port)) in changes.into_iter().enumerate() {
                let one = member(port, n as i64 + 1);
                if insert { new.insert(one); } else { new.remove(&one.id); }
            }
            let mut led = old.clone();
            for change in old.diff(&new) {
                match change {
                    Change::Added(member) => prop_assert!(led.insert(member).is_none()),
                    Change::Removed(member) => prop_assert!(led.remove(&member.id).is_some()),
                    Change::Updated { old, new } => prop_assert_eq!(led.insert(new), Some(old)),
                }
            }
            prop_assert!(led.iter().eq(new.iter()));
        }
    }
}
