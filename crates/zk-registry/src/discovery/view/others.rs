//! The children of a service that are no instances, and those among them that wait for room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::child::Other;
use crate::format::sealed::Rules;
use crate::instance::InstanceId;
use crate::snapshot::Rejected;

/// Children that are no instances, by name.
#[derive(Debug, Default)]
pub(super) struct Others {
    children: BTreeMap<String, Other>,
    /// Those that found no room, the oldest first: `czxid` and name.
    waiting: BTreeSet<(i64, String)>,
    /// Those that claim the id of an instance, by it, the youngest last: `czxid` and name.
    shadows: BTreeMap<InstanceId, BTreeSet<(i64, String)>>,
    /// How many of those there are.
    shadowed: usize,
}

impl Others {
    pub(super) fn len(&self) -> usize {
        self.children.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Other> {
        self.children.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.children.keys()
    }

    pub(super) fn insert(&mut self, name: String, other: Other) {
        self.remove(&name);
        if let (Some(_), Some((czxid, _))) = (other.room, other.identity) {
            self.waiting.insert((czxid, name.clone()));
        }
        if let (Some(id), Some((czxid, _))) = (&other.shadow, other.identity) {
            self.shadowed +=
                usize::from(self.shadows.entry(id.clone()).or_default().insert((czxid, name.clone())));
        }
        self.children.insert(name, other);
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Other> {
        let other = self.children.remove(name)?;
        if let (Some(_), Some((czxid, _))) = (other.room, other.identity) {
            self.waiting.remove(&(czxid, name.to_owned()));
        }
        if let (Some(id), Some((czxid, _))) = (&other.shadow, other.identity)
            && let Some(shadows) = self.shadows.get_mut(id)
        {
            self.shadowed -= usize::from(shadows.remove(&(czxid, name.to_owned())));
            if shadows.is_empty() {
                self.shadows.remove(id);
            }
        }
        Some(other)
    }

    /// Replaces what is known of a child that is rejected for the same reason as before; what snapshots show of it stays
    /// shared with them. `false`: it is not rejected for the same reason.
    pub(super) fn renew(&mut self, name: &str, other: &Other) -> bool {
        let Some(old) = self.children.get(name).filter(|old| !other.is_news_after(Some(old))) else {
            return false;
        };
        let renewed = Other { rejected: old.rejected.clone(), ..other.clone() };
        self.insert(name.to_owned(), renewed);
        true
    }

    /// The oldest child that found no room: `czxid`, name, and the bytes that it waits for.
    pub(super) fn first_waiting(&self) -> Option<(i64, &str, usize)> {
        let (czxid, name) = self.waiting.first()?;
        Some((*czxid, name, self.children.get(name)?.room?))
    }

    /// The youngest node that claims this id.
    pub(super) fn youngest_shadow(&self, id: &InstanceId) -> Option<String> {
        self.shadows.get(id)?.last().map(|(_, name)| name.clone())
    }

    /// The ids that are claimed by nodes which do not have them.
    pub(super) fn claimed(&self) -> impl Iterator<Item = &InstanceId> {
        self.shadows.keys()
    }

    /// How many nodes claim the id of an instance.
    pub(super) fn shadows(&self) -> usize {
        self.shadowed
    }

    /// The rules, in the order of their nodes' names.
    pub(super) fn rules(&self) -> impl Iterator<Item = Arc<Rules>> {
        self.children.values().filter_map(|other| other.rules.clone())
    }

    /// The children that could not be read.
    pub(super) fn unreadable(&self) -> Vec<String> {
        let unreadable = self.children.iter().filter(|(_, other)| other.identity.is_none());
        unreadable.map(|(name, _)| name.clone()).collect()
    }

    /// What snapshots show of these children, by name.
    pub(super) fn rejected(&self) -> impl Iterator<Item = Arc<Rejected>> {
        self.children.values().filter_map(|other| other.rejected.clone())
    }
}
