//! The guarantees of a watch, as docs/SERVICE-LEVEL.md states them, each checked at every look of every reader. A further one
//! is a file beside this one and a line in [`Guarantees::new`].

mod atomic;
mod bookmarkable;
mod look;
mod ordered;
mod reliable;
mod resumable;
mod unique;

use super::ledger::Expected;
use atomic::Atomic;
use bookmarkable::Bookmarkable;
use look::Guarantee;
pub(super) use look::{Look, Seen, Worst};
use ordered::Ordered;
use reliable::Reliable;
use resumable::Resumable;
use unique::Unique;

/// All guarantees of one watch.
pub(super) struct Guarantees {
    all: [(&'static str, Box<dyn Guarantee>); 6],
    before: Option<Seen>,
}

impl Guarantees {
    pub(super) fn new() -> Self {
        let all: [(_, Box<dyn Guarantee>); 6] = [
            ("ordered", Box::<Ordered>::default()),
            ("unique", Box::new(Unique)),
            ("atomic", Box::new(Atomic)),
            ("reliable", Box::<Reliable>::default()),
            ("resumable", Box::<Resumable>::default()),
            ("bookmarkable", Box::new(Bookmarkable)),
        ];
        Self { all, before: None }
    }

    /// Checks every guarantee; the first that does not hold is the error, by its name.
    pub(super) fn check(&mut self, now: Seen, expected: &Expected, worst: &mut Worst) -> Result<(), String> {
        let look = Look { before: self.before.as_ref(), now: &now, expected };
        for (name, guarantee) in &mut self.all {
            guarantee.check(&look, worst).map_err(|why| format!("not {name}: {why}"))?;
        }
        self.before = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use zk_registry::{Freshness, Snapshot, Zxid};

    use super::look::Trust;

    use super::*;

    /// A look at these ids, all written at the zxid beside them.
    pub(super) fn seen(revision: u64, watermark: i64, trust: Trust, ids: &[(&str, i64)]) -> Seen {
        let service = "soak".parse().expect("it is a name");
        let snapshot = Snapshot::pending(&service).with_revision(revision).with_watermark(Zxid(watermark));
        let instances = ids.iter().map(|(id, zxid)| ((*id).to_owned(), Zxid(*zxid), Zxid(*zxid))).collect();
        let freshness = if trust == Trust::Live { Freshness::Live } else { Freshness::Pending };
        Seen {
            revision,
            watermark: Zxid(watermark),
            freshness,
            trust,
            instances,
            others: Vec::new(),
            snapshot,
        }
    }

    pub(super) fn registered(ids: &[(&str, i64)]) -> Expected {
        let registered = ids.iter().map(|(id, zxid)| ((*id).to_owned(), Zxid(*zxid))).collect();
        Expected { registered, gone: BTreeMap::new() }
    }

    /// The outcome of these looks, of one guarantee.
    pub(super) fn looks(
        mut guarantee: impl Guarantee,
        looks: impl IntoIterator<Item = (Seen, Expected)>,
    ) -> Result<(), String> {
        let mut before = None;
        for (now, expected) in looks {
            let look = Look { before: before.as_ref(), now: &now, expected: &expected };
            guarantee.check(&look, &mut Worst::new())?;
            before = Some(now);
        }
        Ok(())
    }

    #[test]
    fn what_does_not_hold_is_told_by_its_name() {
        let (mut all, nobody) = (Guarantees::new(), registered(&[]));
        let mut look = |revision| {
            all.check(seen(revision, revision as i64, Trust::Live, &[]), &nobody, &mut Worst::new())
        };
        assert_eq!(look(2), Ok(()));
        assert_eq!(look(1), Err("not ordered: revision 1 after 2".to_owned()));
    }
}
