//! A reader that is never believed: at each look every guarantee of its watches is checked.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use zk_registry::{Registry, Resolve, ServiceName, ServiceWatch};

use super::guarantees::{Guarantees, Seen, Worst};
use super::ledger::Ledger;
use super::report::SoakReport;

/// One registry, and the watches of these services.
pub(super) struct CheckedReader {
    watches: Vec<ServiceWatch>,
    checking: AbortOnDropHandle<()>,
}

impl CheckedReader {
    pub(super) fn new(
        registry: &Registry,
        services: impl Iterator<Item = ServiceName>,
        ledger: &Arc<Ledger>,
        report: &Arc<SoakReport>,
    ) -> Self {
        let watches: Vec<_> = services.map(|service| registry.watch(&service)).collect();
        let checks = watches.iter().map(WatchCheck::new).collect();
        let checking = tokio::spawn(check(checks, ledger.clone(), report.clone()));
        Self { watches, checking: AbortOnDropHandle::new(checking) }
    }

    /// # Panics
    ///
    /// When a violation was found: the panic that says which came before this one.
    pub(super) fn watches(&mut self) -> &mut [ServiceWatch] {
        assert!(!self.checking.is_finished(), "a reader saw what must not be");
        &mut self.watches
    }
}

/// One watch, and what it guarantees.
struct WatchCheck {
    service: ServiceName,
    watch: ServiceWatch,
    guarantees: Guarantees,
    looked: (u64, Instant),
}

impl WatchCheck {
    fn new(watch: &ServiceWatch) -> Self {
        let mut watch = watch.clone();
        let service = watch.current().service().clone();
        Self { service, watch, guarantees: Guarantees::new(), looked: (0, Instant::now()) }
    }

    /// Waits for a snapshot that was not seen yet, not for long.
    async fn changed(&mut self) {
        if let Ok(changed) = timeout(LOOK, self.watch.changed()).await {
            let snapshot = changed.expect("the registry is not closed");
            assert!(snapshot.revision() != self.looked.0, "not unique: one publication, told twice");
        }
    }

    /// Checks everything that is seen now, if something new may be.
    fn look(&mut self, ledger: &Ledger, worst: &mut Worst, report: &SoakReport) {
        let (snapshot, now) = (self.watch.current().clone(), Instant::now());
        let (revision, at) = self.looked;
        if snapshot.revision() == revision && now < at + LOOK {
            return;
        }
        if snapshot.revision() != revision {
            report.change("snapshots seen by readers");
        }
        self.looked = (snapshot.revision(), now);
        let seen = Seen::new(&snapshot, self.watch.freshness(now));
        let listed = seen.instances.iter().map(|(id, ..)| id.as_str());
        let expected = ledger.expected(&self.service, listed);
        if let Err(why) = self.guarantees.check(seen, &expected, worst) {
            panic!("{}: {why}", self.service);
        }
    }
}

/// Looks at every watch, over and over.
async fn check(mut checks: Vec<WatchCheck>, ledger: Arc<Ledger>, report: Arc<SoakReport>) {
    let mut worst = Worst::new();
    loop {
        match &mut checks[..] {
            [only] => only.changed().await,
            _ => sleep(LOOK_AT_MANY).await,
        }
        for check in &mut checks {
            check.look(&ledger, &mut worst, &report);
        }
        worst.iter().for_each(|(what, lasting)| report.worst(what, *lasting));
    }
}

const LOOK: Duration = Duration::from_millis(20);
const LOOK_AT_MANY: Duration = Duration::from_millis(100);
