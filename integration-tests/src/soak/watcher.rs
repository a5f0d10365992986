//! A reader that is never believed: each snapshot is compared with what is registered, all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{Freshness, Resolve, ServiceWatch, Snapshot, Zxid};

use super::ledger::Ledger;
use super::report::SoakReport;
use super::service::{open, service};
use crate::fair_time::Stopwatch;

pub(super) struct CheckedReader {
    watch: ServiceWatch,
    checking: AbortOnDropHandle<()>,
}

impl CheckedReader {
    pub(super) fn new(to: &str, ledger: &Arc<Ledger>, report: &Arc<SoakReport>) -> Self {
        let watch = open(to).watch(&service());
        let check = ReaderCheck {
            watch: watch.clone(),
            ledger: ledger.clone(),
            report: report.clone(),
            missing: HashMap::new(),
            revision: 0,
            watermark: Zxid(0),
        };
        Self { watch, checking: AbortOnDropHandle::new(tokio::spawn(check.run())) }
    }

    pub(super) fn current(&mut self) -> &Snapshot {
        self.watch.current()
    }

    /// # Panics
    ///
    /// When a violation was found: the panic that says which came before this one.
    pub(super) fn check(&self) {
        assert!(!self.checking.is_finished(), "a reader saw what must not be");
    }
}

struct ReaderCheck {
    watch: ServiceWatch,
    ledger: Arc<Ledger>,
    report: Arc<SoakReport>,
    /// Since when an instance that is registered, by the same write ever since, is missing from live snapshots.
    missing: HashMap<String, (Zxid, Stopwatch)>,
    revision: u64,
    watermark: Zxid,
}

impl ReaderCheck {
    /// Looks at each snapshot, and in between often enough.
    async fn run(mut self) {
        loop {
            if let Ok(changed) = timeout(LOOK, self.watch.changed()).await {
                changed.expect("nobody closes this registry");
            }
            let snapshot = self.watch.current().clone();
            self.grows(&snapshot);
            if self.watch.freshness(tokio::time::Instant::now()) == Freshness::Live {
                self.lacks_nobody(&snapshot);
                self.lists_nobody_who_left(&snapshot);
            } else {
                self.missing.clear();
            }
        }
    }

    fn grows(&mut self, snapshot: &Snapshot) {
        if snapshot.revision() == self.revision {
            return;
        }
        self.report.change("snapshots seen by readers");
        assert!(
            snapshot.revision() > self.revision,
            "revision {} after {}",
            snapshot.revision(),
            self.revision
        );
        assert!(snapshot.watermark() >= self.watermark, "{} after {}", snapshot.watermark(), self.watermark);
        let sorted = snapshot.instances().is_sorted_by(|a, b| a.id() < b.id());
        assert!(sorted, "an instance is listed twice, or out of order");
        (self.revision, self.watermark) = (snapshot.revision(), snapshot.watermark());
    }

    fn lacks_nobody(&mut self, snapshot: &Snapshot) {
        let before = std::mem::take(&mut self.missing);
        for (id, zxid) in self.ledger.registered() {
            if id.parse().is_ok_and(|id| snapshot.get(&id).is_some()) {
                continue;
            }
            let since = match before.get(&id) {
                Some((same, since)) if *same == zxid => *since,
                _ => Stopwatch::start(),
            };
            let lasting = since.fair();
            self.report.worst("registered, and missing from a live snapshot", lasting);
            let at = snapshot.watermark();
            assert!(lasting <= WRONG, "registered at {zxid}, and missing live at {at} for {lasting:?}: {id}");
            self.missing.insert(id, (zxid, since));
        }
    }

    fn lists_nobody_who_left(&self, snapshot: &Snapshot) {
        for member in snapshot.instances() {
            if let Some(gone) = self.ledger.gone(member.id().as_str()) {
                self.report.worst("withdrawn, and listed by a live snapshot", gone.fair());
                let (ago, at) = (gone.fair(), snapshot.watermark());
                assert!(ago <= WRONG, "withdrawn {ago:?} ago, and listed live at {at}: {member:?}");
            }
        }
    }
}

/// For how long a live snapshot may lack an instance that is registered, or list one that was withdrawn: a server may be
/// 2 seconds behind its leader without being silent, and silence is announced within 1.125 seconds, or 1.625 where the
/// machine lets the thread wait that would say so.
const WRONG: Duration = Duration::from_secs(4);
const LOOK: Duration = Duration::from_millis(20);
