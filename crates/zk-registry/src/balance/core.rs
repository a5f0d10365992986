//! The core of a balancer: it adopts snapshots, and has tables rebuilt beside the calls.
//!
//! A table that takes long to build is built by a task of its own on the caller's runtime; until it is there the old one serves
//! under a mask. Without a runtime it is built at once.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::built::Built;
use super::health::Health;
use super::pick::PickError;
use super::roster::{Moment, Roster};
use super::set::EndpointSet;
use super::strategy::Strategy;
use super::tier::Tier;
use crate::instance::InstanceId;
use crate::snapshot::{Freshness, Snapshot};

/// All of a balancer but its thread cache.
pub(super) struct Core {
    pub(super) strategy: Box<dyn Strategy>,
    pub(super) health: Arc<Health>,
    /// All that a pick needs, published at once.
    pub(super) state: ArcSwap<State>,
    /// The stamp of the listed candidates; 0 = there are none.
    pub(super) stamp: AtomicU64,
    desk: Mutex<Desk>,
    /// Told of each update.
    pub(super) changes: watch::Sender<()>,
}

/// The candidates, best first, or the reason for which there are none.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) listed: Option<Arc<Tier>>,
    pub(super) suspects: Option<Arc<Tier>>,
    pub(super) nothing: PickError,
}

/// What only an update and a rebuilding touch, one at a time.
#[derive(Debug, Default)]
struct Desk {
    roster: Roster,
    tables: Tables,
}

/// The rebuilding of tables.
#[derive(Debug)]
enum Tables {
    /// All fit their sets. None is rebuilt before this time.
    AtRest { until: Option<Instant> },
    /// A task rebuilds those that do not fit.
    Rebuilding,
}

impl Default for Tables {
    fn default() -> Self {
        Self::AtRest { until: None }
    }
}

/// A table is at most so late: two buildings and the rest between them take no longer.
const LATE: Duration = Duration::from_millis(100);

impl Core {
    pub(super) fn new(strategy: Box<dyn Strategy>, health: Arc<Health>) -> Self {
        let state = State { listed: None, suspects: None, nothing: PickError::Pending };
        Self {
            strategy,
            health,
            state: ArcSwap::from_pointee(state),
            stamp: AtomicU64::new(0),
            desk: Mutex::default(),
            changes: watch::Sender::new(()),
        }
    }

    /// Adopts a snapshot at `now`, which is `wall` by the clock of the machine.
    pub(super) fn update(self: &Arc<Self>, snapshot: &Snapshot, now: Instant, wall: SystemTime) {
        let moment = Moment { at: self.health.clock.at(now), wall };
        let slow_start = self.health.options.slow_start;
        // A strategy that panicked while building has left the candidates as they were: the next update builds them.
        let mut desk = self.desk();
        let roster = &mut desk.roster;
        self.health.adopt(now, |sites, changes| {
            roster.adopt(snapshot, &self.health.clock, (moment, slow_start), sites, changes);
        });
        let nothing = match snapshot.freshness() {
            _ if roster.draining + roster.undialable > 0 => {
                PickError::Unusable { draining: roster.draining, undialable: roster.undialable }
            }
            Freshness::Disk { .. } | Freshness::Pending => PickError::Pending,
            Freshness::Live => PickError::Empty,
            Freshness::Stale { since } => PickError::Stale { since },
        };
        let (listed, suspects) = (roster.listed.publish(&self.health), roster.suspects.publish(&self.health));
        let old = self.state.load();
        let runtime = Handle::try_current().ok();
        let tier = |set: Option<_>, old: &Option<Arc<Tier>>| {
            set.map(|set| self.renew(old.as_ref(), &set, runtime.is_some()))
        };
        let state =
            State { listed: tier(listed, &old.listed), suspects: tier(suspects, &old.suspects), nothing };
        let is_stale = state.tiers().any(Tier::is_stale);
        self.publish(state);
        let at_rest = match desk.tables {
            Tables::AtRest { until } if is_stale => Some(until),
            _ => None,
        };
        if at_rest.is_some() {
            desk.tables = Tables::Rebuilding;
        }
        drop(desk);
        self.changes.send_replace(());
        if let (Some(runtime), Some(due)) = (runtime, at_rest) {
            let rebuilding = Rebuilding(Arc::downgrade(self));
            runtime.spawn_blocking(move || rebuilding.run(due));
        }
    }

    /// The tier for this set: the old one if it has the same.
    fn renew(&self, old: Option<&Arc<Tier>>, set: &Arc<EndpointSet>, may_wait: bool) -> Arc<Tier> {
        match old {
            Some(old) if Arc::ptr_eq(old.set(), set) => Arc::clone(old),
            Some(old) if may_wait && self.strategy.has_table(set) => {
                Arc::new(Tier::new(old.built().clone(), set))
            }
            Some(old) => Arc::new(Tier::new(old.built().renewed(set, &*self.strategy), set)),
            None => Arc::new(Tier::new(Built::of(set, &*self.strategy), set)),
        }
    }

    fn publish(&self, state: State) {
        self.health.listed(state.listed.as_ref().map(|tier| tier.set().endpoints().spine()));
        let stamp = state.listed.as_ref().map_or(0, |tier| tier.stamp);
        self.state.store(Arc::new(state));
        // A thread that sees the stamp sees the state.
        self.stamp.store(stamp, Release);
    }

    /// Rebuilds each table that does not fit its set. Returns when to do it again, because sets changed meanwhile; `None`: all fit.
    fn rebuild(&self) -> Option<Instant> {
        let began = Instant::now();
        let State { listed, suspects, .. } = State::clone(&self.state.load());
        let build = |tier: Option<Arc<Tier>>| {
            tier.filter(|tier| tier.is_stale()).map(|tier| tier.built().renewed(tier.set(), &*self.strategy))
        };
        let (listed, suspects) = (build(listed), build(suspects));

        let mut desk = self.desk();
        let State { listed: old_listed, suspects: old_suspects, nothing } = State::clone(&self.state.load());
        let renew = |old: Option<Arc<Tier>>, built: Option<Built>| match (old, built) {
            (Some(old), Some(built)) => Some(Arc::new(Tier::new(built, old.set()))),
            (old, _) => old,
        };
        let state =
            State { listed: renew(old_listed, listed), suspects: renew(old_suspects, suspects), nothing };
        let is_stale = state.tiers().any(Tier::is_stale);
        self.publish(state);
        let taken = began.elapsed();
        let until = Some(Instant::now() + LATE.saturating_sub(2 * taken).max(taken));
        if is_stale {
            return until;
        }
        desk.tables = Tables::AtRest { until };
        None
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an instance stands in the last snapshot.
    pub(super) fn standing(&self, instance: &InstanceId) -> &'static str {
        self.desk().roster.standing(instance)
    }

    /// How many instances are remembered.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.desk().roster.len()
    }
}

impl State {
    fn tiers(&self) -> impl Iterator<Item = &Tier> {
        self.listed.iter().chain(&self.suspects).map(|tier| &**tier)
    }
}

/// The task that rebuilds tables until all fit. Where it ends early, because the runtime does or a strategy panics, the next update
/// begins another one.
struct Rebuilding(Weak<Core>);

impl Rebuilding {
    /// Begins at `due`; without one at once.
    fn run(mut self, mut due: Option<Instant>) {
        loop {
            if let Some(due) = due {
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let Some(core) = self.0.upgrade() else { return };
            due = core.rebuild();
            if due.is_none() {
                self.0 = Weak::new(); // it has said so itself
                return;
            }
        }
    }
}

impl Drop for Rebuilding {
    fn drop(&mut self) {
        if let Some(core) = self.0.upgrade() {
            core.desk().tables = Tables::default();
        }
    }
}
