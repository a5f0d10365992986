//! The roster: from one snapshot to the next it says which instances are candidates, and which load and health go on.
//!
//! Pure. An id that stays keeps its load; with the same incarnation it keeps its health too.

use std::sync::Arc;

use super::clock::Clock;
use super::endpoint::Endpoint;
use super::event::PhaseChange;
use super::phase::Gate;
use super::sites::{Role, Sites};
use super::vitals::Vitals;
use crate::instance::Status;
use crate::snapshot::{Freshness, Member, Snapshot};

/// The instances that the last snapshot named, in the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Roster {
    known: Vec<Endpoint>,
    /// Whether ZooKeeper was heard: only then is a name that was not there before a new instance.
    heard: bool,
}

/// A snapshot sorted by what may be done with its instances.
#[derive(Debug, Default)]
pub(super) struct Adopted {
    pub(super) listed: Vec<Endpoint>,
    pub(super) suspects: Vec<Endpoint>,
    pub(super) draining: usize,
    pub(super) undialable: usize,
}

impl Roster {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Adopts `snapshot`. An instance that is new since ZooKeeper was first heard starts slowly until `ramp_end`.
    pub(super) fn adopt(
        &mut self,
        snapshot: &Snapshot,
        clock: &Arc<Clock>,
        ramp_end: u64,
        sites: &mut Sites,
        changes: &mut Vec<PhaseChange>,
    ) -> Adopted {
        let ramp_end = if self.heard { ramp_end } else { 0 };
        let mut adopted = Adopted::default();
        let mut known = Vec::with_capacity(snapshot.len() + snapshot.suspects().len());
        let mut arrivals = Arrivals { clock, ramp_end, sites, changes };

        let mut before = self.known.as_slice();
        for member in snapshot.instances() {
            let role = match member.status() {
                Status::Draining => Role::Resting,
                _ => Role::Listed,
            };
            let endpoint = arrivals.take(earlier(&mut before, member), member, role);
            if !member.is_dialable() {
                adopted.undialable += 1;
            } else if role == Role::Resting {
                adopted.draining += 1;
            } else {
                adopted.listed.push(endpoint.clone());
            }
            known.push(endpoint);
        }
        let mut before = self.known.as_slice();
        for member in snapshot.suspects() {
            let endpoint = arrivals.take(earlier(&mut before, member), member, Role::Suspect);
            if member.is_dialable() {
                adopted.suspects.push(endpoint.clone());
            }
            known.push(endpoint);
        }

        known.sort_by(|a, b| a.id().cmp(b.id()));
        for one in &self.known {
            if known.binary_search_by(|other| other.id().cmp(one.id())).is_err() {
                arrivals.let_go(one);
            }
        }
        self.known = known;
        self.heard |= snapshot.freshness() == Freshness::Live;
        adopted
    }
}

/// The predecessor of `member` among those `before`. Both sides are sorted by id, so each call goes on where the last one
/// stopped.
fn earlier<'a>(before: &mut &'a [Endpoint], member: &Member) -> Option<&'a Endpoint> {
    while let [first, rest @ ..] = before {
        if first.id() >= member.id() {
            break;
        }
        *before = rest;
    }
    before.first().filter(|first| first.id() == member.id())
}

/// The members of a snapshot on their way in, and those that go.
struct Arrivals<'a> {
    clock: &'a Arc<Clock>,
    ramp_end: u64,
    sites: &'a mut Sites,
    changes: &'a mut Vec<PhaseChange>,
}

impl Arrivals<'_> {
    /// The endpoint for `member`. The same process at the same address keeps the load and the health of its predecessor; another
    /// one keeps the load.
    fn take(&mut self, earlier: Option<&Endpoint>, member: &Arc<Member>, role: Role) -> Endpoint {
        let is_suspect = role == Role::Suspect;
        let unchanged = |earlier: &&Endpoint| earlier.member == *member && earlier.suspect == is_suspect;
        if let Some(earlier) = earlier.filter(unchanged) {
            return earlier.clone();
        }
        let was_out = earlier.is_some_and(|earlier| earlier.vitals.gate() != Gate::OPEN);
        let goes_on = earlier.is_some_and(|earlier| {
            earlier.member.incarnation() == member.incarnation()
                && (earlier.host(), earlier.port()) == (member.host(), member.port())
        });
        let vitals = earlier.map_or_else(|| Arc::new(Vitals::new()), |earlier| Arc::clone(&earlier.vitals));
        if let Some(earlier) = earlier.filter(|_| !goes_on) {
            self.sites.leave(earlier);
            vitals.reborn();
        }
        if !goes_on && !is_suspect {
            vitals.ramp_until(self.ramp_end);
        }
        let endpoint = Endpoint {
            member: Arc::clone(member),
            life: vitals.life(),
            vitals,
            suspect: is_suspect,
            weight: member.weight(),
            clock: Arc::clone(self.clock),
        };
        if goes_on {
            self.sites.change(endpoint.clone(), role);
        } else if !member.is_dialable() {
            // It is at no site: it is never called.
        } else if is_suspect {
            self.sites.arrive_unheard(endpoint.clone(), role);
        } else {
            let back = self.sites.arrive(endpoint.clone(), role);
            self.changes.extend(back.into_iter().map(|instance| PhaseChange::Available { instance }));
        }
        if was_out && endpoint.vitals.gate() == Gate::OPEN {
            self.changes.push(PhaseChange::Available { instance: endpoint.id().clone() });
        }
        endpoint
    }

    /// An instance is neither listed nor a suspect any more.
    fn let_go(&mut self, endpoint: &Endpoint) {
        self.sites.leave(endpoint);
        if endpoint.vitals.gate() != Gate::OPEN {
            self.changes.push(PhaseChange::Gone { instance: endpoint.id().clone() });
        }
    }
}
