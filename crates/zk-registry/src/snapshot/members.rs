//! The instances of a service, sorted by id, in leaves that snapshots share; and how two lists of them differ.

use std::sync::Arc;

use crate::instance::InstanceId;
use crate::snapshot::{Change, Member};
use crate::sorted::{Keyed, Pair, Sorted};

/// The instances of a service.
pub(crate) type Members = Sorted<Arc<Member>>;

impl Keyed for Arc<Member> {
    fn key(&self) -> &InstanceId {
        &self.id
    }
}

impl Members {
    /// What happened between `self` and `newer`, in the order of the ids. Shared leaves cost one comparison.
    pub(crate) fn diff(&self, newer: &Self) -> Vec<Change> {
        let change = |pair: Pair<'_, Arc<Member>>| match pair {
            Pair::Old(old) => Some(Change::Removed(Arc::clone(old))),
            Pair::New(new) => Some(Change::Added(Arc::clone(new))),
            Pair::Both(old, new) if Arc::ptr_eq(old, new) || old == new => None,
            Pair::Both(old, new) => Some(Change::Updated { old: Arc::clone(old), new: Arc::clone(new) }),
        };
        self.pairs(newer).filter_map(change).collect()
    }
}

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
