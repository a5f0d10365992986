//! The guarantees of a watch, as docs/SERVICE-LEVEL.md states them, each checked at every look of every reader. A further one
//! is a file beside this one and a line in [`Guarantees::new`].

mod atomic;
mod bookmarkable;
mod ordered;
mod reliable;
mod resumable;
mod unique;

use std::collections::BTreeMap;
use std::time::Duration;

use zk_registry::{Freshness, Snapshot, Zxid};

use super::ledger::Expected;
use atomic::Atomic;
use bookmarkable::Bookmarkable;
use ordered::Ordered;
use reliable::Reliable;
use resumable::Resumable;
use unique::Unique;

/// Everything that a reader sees at one look.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) revision: u64,
    pub(super) watermark: Zxid,
    /// As published.
    pub(super) freshness: Freshness,
    /// Whether it is live, judged at the look.
    pub(super) trust: Trust,
    /// The ids as they are listed, each with the writes that created and changed it.
    pub(super) instances: Vec<(String, Zxid, Zxid)>,
    /// The ids of rejected nodes and of suspects.
    pub(super) others: Vec<String>,
    /// What it was made from.
    pub(super) snapshot: Snapshot,
}

/// Whether a reader may believe what it sees to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Live,
    Not,
}

impl Seen {
    /// `judged` is the freshness at the look.
    pub(super) fn new(snapshot: &Snapshot, judged: Freshness) -> Self {
        let rejected = snapshot.rejected().iter().map(|one| format!("{}: {}", one.id, one.reason));
        let suspects = snapshot.suspects().map(|one| one.id().to_string());
        Self {
            revision: snapshot.revision(),
            watermark: snapshot.watermark(),
            freshness: snapshot.freshness(),
            trust: if judged == Freshness::Live { Trust::Live } else { Trust::Not },
            instances: instances(snapshot),
            others: rejected.chain(suspects).collect(),
            snapshot: snapshot.clone(),
        }
    }

    pub(super) fn modified(&self, id: &str) -> Option<Zxid> {
        let at = self.instances.binary_search_by(|(other, ..)| other.as_str().cmp(id)).ok()?;
        Some(self.instances[at].2)
    }
}

fn instances(snapshot: &Snapshot) -> Vec<(String, Zxid, Zxid)> {
    snapshot.instances().map(|one| (one.id().to_string(), one.created(), one.modified())).collect()
}

/// One look of a reader.
pub(super) struct Look<'a> {
    /// The look before it.
    pub(super) before: Option<&'a Seen>,
    pub(super) now: &'a Seen,
    /// What should be listed, as known after the look.
    pub(super) expected: &'a Expected,
}

impl Look<'_> {
    /// The look before, if another snapshot was seen at it.
    fn news(&self) -> Option<&Seen> {
        self.before.filter(|before| before.revision != self.now.revision)
    }
}

/// The worst cases that guarantees with a bound saw.
pub(super) type Worst = BTreeMap<&'static str, Duration>;

/// One guarantee, checked at every look.
trait Guarantee: Send {
    /// What it has seen to be wrong.
    fn check(&mut self, look: &Look<'_>, worst: &mut Worst) -> Result<(), String>;
}

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
