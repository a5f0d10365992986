//! Resumable: after a cut everything is read again before the watch is live. What it listed before, and what still stands by the
//! same write, is in the first live snapshot.

use std::collections::BTreeMap;

use zk_registry::Zxid;

use super::look::{Guarantee, Look, Trust, Worst};

/// What was registered and listed when the watch was last live.
#[derive(Default)]
pub(super) struct Resumable(BTreeMap<String, Zxid>);

impl Guarantee for Resumable {
    fn check(&mut self, look: &Look<'_>, _: &mut Worst) -> Result<(), String> {
        if look.now.trust != Trust::Live {
            return Ok(());
        }
        if look.before.is_some_and(|before| before.trust != Trust::Live) {
            let lost = self.0.iter().find(|(id, zxid)| {
                look.expected.registered.get(*id) == Some(*zxid) && look.now.modified(id).is_none()
            });
            if let Some((id, zxid)) = lost {
                let at = look.now.watermark;
                return Err(format!(
                    "listed before the cut, registered at {zxid}, and missing live at {at}: {id}"
                ));
            }
        }
        let registered = look.expected.registered.iter();
        let listed = registered.filter(|(id, zxid)| look.now.modified(id).is_some_and(|seen| seen >= **zxid));
        self.0 = listed.map(|(id, zxid)| (id.clone(), *zxid)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Trust::{Live, Not};
    use super::super::tests::{looks, registered, seen};
    use super::*;

    #[test]
    fn a_watch_that_is_live_again_without_what_it_had_is_found() {
        let resumed = |last, expected: &[(&str, i64)]| {
            let a = registered(&[("a", 1)]);
            let first =
                [(seen(1, 1, Live, &[("a", 1)]), registered(&[("a", 1)])), (seen(2, 1, Not, &[("a", 1)]), a)];
            looks(Resumable::default(), first.into_iter().chain([(last, registered(expected))]))
        };
        assert_eq!(resumed(seen(3, 3, Live, &[("a", 1)]), &[("a", 1)]), Ok(()));
        assert_eq!(resumed(seen(3, 3, Live, &[]), &[]), Ok(()), "it was withdrawn meanwhile");
        assert_eq!(resumed(seen(3, 3, Live, &[]), &[("a", 4)]), Ok(()), "it came back later");
        assert!(resumed(seen(3, 3, Live, &[]), &[("a", 1)]).unwrap_err().contains("missing live"));
    }
}
