//! Reliable: a live snapshot neither lacks what is registered nor lists what was withdrawn, for longer than a server may lag.

use std::collections::BTreeMap;
use std::time::Duration;

use zk_registry::Zxid;

use super::look::{Guarantee, Look, Trust, Worst};
use crate::fair_time::Stopwatch;

/// For how long a live snapshot may lack an instance that is registered, or list one that was withdrawn: a server may be
/// 2 seconds behind its leader without being silent, and silence is announced within 1.125 seconds, or 1.625 where the
/// machine lets the thread wait that would say so.
const WRONG: Duration = Duration::from_secs(4);

pub(super) struct Reliable {
    wrong: Duration,
    /// Since when an instance that is registered, by the same write ever since, is missing from live snapshots.
    missing: BTreeMap<String, (Zxid, Stopwatch)>,
}

impl Default for Reliable {
    fn default() -> Self {
        Self { wrong: WRONG, missing: BTreeMap::new() }
    }
}

impl Guarantee for Reliable {
    fn check(&mut self, look: &Look<'_>, worst: &mut Worst) -> Result<(), String> {
        let before = std::mem::take(&mut self.missing);
        if look.now.trust != Trust::Live {
            return Ok(());
        }
        let at = look.now.watermark;
        for (id, zxid) in &look.expected.registered {
            if look.now.modified(id).is_some() {
                continue;
            }
            let since = match before.get(id) {
                Some((same, since)) if same == zxid => *since,
                _ => Stopwatch::start(),
            };
            let lasting = since.fair();
            note(worst, "registered, and missing from a live snapshot", lasting);
            if lasting > self.wrong {
                return Err(format!("registered at {zxid}, and missing live at {at} for {lasting:?}: {id}"));
            }
            self.missing.insert(id.clone(), (*zxid, since));
        }
        for (id, ..) in &look.now.instances {
            let Some(gone) = look.expected.gone.get(id) else { continue };
            let lasting = gone.fair();
            note(worst, "withdrawn, and listed by a live snapshot", lasting);
            if lasting > self.wrong {
                return Err(format!("withdrawn {lasting:?} ago, and listed live at {at}: {id}"));
            }
        }
        Ok(())
    }
}

fn note(worst: &mut Worst, what: &'static str, lasting: Duration) {
    let worst = worst.entry(what).or_default();
    *worst = lasting.max(*worst);
}

#[cfg(test)]
mod tests {
    use super::super::Seen;
    use super::super::look::Trust::{Live, Not};
    use super::super::tests::{registered, seen};
    use super::*;
    use crate::eventually::eventually;
    use crate::soak::ledger::Expected;

    fn check(reliable: &mut Reliable, now: &Seen, expected: &Expected) -> Result<(), String> {
        reliable.check(&Look { before: None, now, expected }, &mut Worst::new())
    }

    #[tokio::test]
    async fn what_is_missing_or_stays_for_too_long_is_found_and_what_is_not_live_may_lack_anything() {
        let strict = || Reliable { wrong: Duration::ZERO, missing: BTreeMap::new() };
        let (a, none) = (registered(&[("a", 1)]), registered(&[]));
        let gone = Expected { gone: [("b".to_owned(), Stopwatch::start())].into(), ..none };
        let (lacking, listing) = (seen(1, 1, Live, &[]), seen(1, 1, Live, &[("b", 1)]));
        assert_eq!(check(&mut Reliable::default(), &lacking, &a), Ok(()));
        assert_eq!(check(&mut Reliable::default(), &listing, &gone), Ok(()));
        let (mut missing, mut returned) = (strict(), strict());
        for (reliable, seen, expected, why) in
            [(&mut missing, &lacking, &a, "missing live"), (&mut returned, &listing, &gone, "listed live")]
        {
            eventually(Duration::from_secs(10), why, async || {
                check(reliable, seen, expected).is_err_and(|found| found.contains(why))
            })
            .await;
        }
        assert_eq!(check(&mut strict(), &seen(1, 1, Not, &[("b", 1)]), &gone), Ok(()));
    }
}
