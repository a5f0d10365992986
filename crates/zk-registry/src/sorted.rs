//! Values sorted by the id of their instance, in leaves that clones share.
//!
//! A publication must not copy 100,000 pointers for one change: a clone copies the spine, and a change copies the one leaf
//! that it touches.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::instance::InstanceId;

/// A leaf is split when it grows past this.
const LEAF: usize = 128;

/// A value that stands under the id of its instance.
pub(crate) trait Keyed: Clone {
    /// The id.
    fn key(&self) -> &InstanceId;
}

/// Sorted by id; clones share their leaves. No leaf is empty.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<T> {
    leaves: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { leaves: Vec::new(), len: 0 }
    }
}

impl<T: Keyed> Sorted<T> {
    /// From values in the order of their ids, each id once.
    pub(crate) fn from_sorted(values: Vec<T>) -> Self {
        let len = values.len();
        let mut values = values.into_iter();
        let leaf = |_| Arc::new(values.by_ref().take(LEAF / 2).collect());
        Self { leaves: (0..len.div_ceil(LEAF / 2)).map(leaf).collect(), len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &InstanceId) -> Option<&T> {
        self.find(id.as_str())
    }

    /// The value whose id reads like this.
    pub(crate) fn find(&self, id: &str) -> Option<&T> {
        let leaf = self.leaves.get(self.leaf_of(id)?)?;
        let at = leaf.binary_search_by(|value| value.key().as_str().cmp(id)).ok()?;
        leaf.get(at)
    }

    /// Puts the value in its place, and returns the one that it replaced.
    pub(crate) fn insert(&mut self, value: T) -> Option<T> {
        let Some(leaf_at) = self.leaf_of(value.key().as_str()) else {
            self.leaves.push(Arc::new(vec![value]));
            self.len = 1;
            return None;
        };
        let leaf = Arc::make_mut(&mut self.leaves[leaf_at]);
        match leaf.binary_search_by(|other| other.key().cmp(value.key())) {
            Ok(at) => Some(std::mem::replace(&mut leaf[at], value)),
            Err(at) => {
                leaf.insert(at, value);
                if leaf.len() > LEAF {
                    let upper = leaf.split_off(LEAF / 2);
                    self.leaves.insert(leaf_at + 1, Arc::new(upper));
                }
                self.len += 1;
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &InstanceId) -> Option<T> {
        let leaf_at = self.leaf_of(id.as_str())?;
        let at = self.leaves[leaf_at].binary_search_by(|value| value.key().cmp(id)).ok()?;
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

    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter { leaves: &self.leaves, at: 0, left: self.len }
    }

    /// The pairs of values with one id that stand in different leaves of `self` and `newer`, in the order of the ids. Shared
    /// leaves cost one comparison; values of other leaves are paired although they may be the same.
    pub(crate) fn pairs<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = Pair<'a, T>> {
        let (mut old, mut new) = (self.iter(), newer.iter());
        std::iter::from_fn(move || {
            Iter::skip_shared(&mut old, &mut new);
            let order = match (old.peek(), new.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key().cmp(new.key()),
            };
            match order {
                Ordering::Less => old.next().map(Pair::Old),
                Ordering::Greater => new.next().map(Pair::New),
                Ordering::Equal => Some(Pair::Both(old.next()?, new.next()?)),
            }
        })
    }

    /// The leaf that holds the id, or would; `None` when there is no leaf at all.
    fn leaf_of(&self, id: &str) -> Option<usize> {
        let is_before = |leaf: &Arc<Vec<T>>| leaf.first().is_some_and(|first| first.key().as_str() <= id);
        let after = self.leaves.partition_point(is_before);
        (!self.leaves.is_empty()).then(|| after.saturating_sub(1))
    }
}

/// The values under one id in an old and in a new list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pair<'a, T> {
    /// Both have one.
    Both(&'a T, &'a T),
    /// The new list alone has one.
    New(&'a T),
    /// The old list alone has one.
    Old(&'a T),
}

/// In the order of the ids.
#[derive(Clone, Debug)]
pub(crate) struct Iter<'a, T> {
    /// The leaves from the current one on.
    leaves: &'a [Arc<Vec<T>>],
    /// The place in the first of them.
    at: usize,
    left: usize,
}

impl<'a, T> Iter<'a, T> {
    fn peek(&self) -> Option<&'a T> {
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

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a T;

    fn next(&mut self) -> Option<Self::Item> {
        let (leaf, rest) = self.leaves.split_first()?;
        let value = leaf.get(self.at)?;
        self.at += 1;
        self.left -= 1;
        if self.at == leaf.len() {
            (self.leaves, self.at) = (rest, 0);
        }
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Iter<'_, T> {}
