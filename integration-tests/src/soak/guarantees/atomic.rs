//! Atomic: a snapshot never changes, and the difference of two of them is complete.

use std::collections::BTreeMap;

use zk_registry::{Change, Zxid};

use super::look::{Guarantee, Look, Seen, Worst, instances};

pub(super) struct Atomic;

impl Guarantee for Atomic {
    fn check(&mut self, look: &Look<'_>, _: &mut Worst) -> Result<(), String> {
        let Some(before) = look.news() else { return Ok(()) };
        if instances(&before.snapshot) != before.instances {
            return Err(format!("revision {} has changed since it was seen", before.revision));
        }
        let changes = before.snapshot.diff(&look.now.snapshot);
        is_whole(before, changes, look.now)
    }
}

/// Whether `changes` make of `before` what `now` is.
fn is_whole(before: &Seen, changes: impl Iterator<Item = Change>, now: &Seen) -> Result<(), String> {
    let mut made: BTreeMap<&str, (Zxid, Zxid)> = members(before).collect();
    let changes: Vec<_> = changes.collect();
    for change in &changes {
        match change {
            Change::Added(new) | Change::Updated { new, .. } => {
                made.insert(new.id().as_str(), (new.created(), new.modified()));
            }
            Change::Removed(old) => {
                made.remove(old.id().as_str());
            }
        }
    }
    if made.into_iter().eq(members(now)) {
        return Ok(());
    }
    Err(format!("revision {} with {changes:?} is not revision {}", before.revision, now.revision))
}

fn members(seen: &Seen) -> impl Iterator<Item = (&str, (Zxid, Zxid))> {
    seen.instances.iter().map(|(id, created, modified)| (id.as_str(), (*created, *modified)))
}

#[cfg(test)]
mod tests {
    use super::super::look::Trust::Live;
    use super::super::tests::{looks, registered, seen};
    use super::*;

    #[test]
    fn a_difference_that_lacks_something_and_a_snapshot_that_changed_are_found() {
        // The snapshots inside are empty, so that nothing differs for them.
        let then = |first, second| looks(Atomic, [(first, registered(&[])), (second, registered(&[]))]);
        assert_eq!(then(seen(1, 1, Live, &[]), seen(2, 2, Live, &[])), Ok(()));
        assert!(then(seen(1, 1, Live, &[]), seen(2, 2, Live, &[("a", 2)])).unwrap_err().contains("with []"));
        assert!(
            then(seen(1, 1, Live, &[("a", 1)]), seen(2, 2, Live, &[])).unwrap_err().contains("has changed")
        );
    }
}
