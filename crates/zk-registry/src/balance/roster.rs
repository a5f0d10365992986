//! The roster: from one snapshot to the next it says which instances are candidates, and which load and health go on.
//!
//! Pure. An id that stays keeps its load; with the same incarnation it keeps its health too.

use std::sync::Arc;

use super::clock::Clock;
use super::endpoint::Endpoint;
use super::event::PhaseChange;
use super::phase::Gate;
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
    /// The instances whose ejection ended with the snapshot.
    pub(super) changes: Vec<PhaseChange>,
}

impl Roster {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Adopts `snapshot`. An instance that is new since ZooKeeper was first heard starts slowly until `ramp_end`.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot, clock: &Arc<Clock>, ramp_end: u64) -> Adopted {
        let ramp_end = if self.heard { ramp_end } else { 0 };
        let mut adopted = Adopted::default();
        let mut known = Vec::with_capacity(snapshot.len() + snapshot.suspects().len());

        let mut before = self.known.as_slice();
        for member in snapshot.instances() {
            let was_out = is_out(&mut before, member);
            let endpoint = inherit(&mut before, member, false, clock, ramp_end);
            endpoint.vitals.relisted();
            adopted.returned(was_out, &endpoint);
            if !member.is_dialable() {
                adopted.undialable += 1;
            } else if member.status() == Status::Draining {
                adopted.draining += 1;
            } else {
                adopted.listed.push(endpoint.clone());
            }
            known.push(endpoint);
        }
        let mut before = self.known.as_slice();
        for member in snapshot.suspects() {
            let was_out = is_out(&mut before, member);
            let endpoint = inherit(&mut before, member, true, clock, 0);
            adopted.returned(was_out, &endpoint);
            if member.is_dialable() {
                adopted.suspects.push(endpoint.clone());
            }
            known.push(endpoint);
        }

        known.sort_by(|a, b| a.id().cmp(b.id()));
        let is_known = |one: &Endpoint| known.binary_search_by(|other| other.id().cmp(one.id())).is_ok();
        let gone = self.known.iter().filter(|one| one.vitals.gate() != Gate::OPEN && !is_known(one));
        adopted.changes.extend(gone.map(|one| PhaseChange::Gone { instance: one.id().clone() }));
        self.known = known;
        self.heard |= snapshot.freshness() == Freshness::Live;
        adopted
    }
}

impl Adopted {
    fn returned(&mut self, was_out: bool, endpoint: &Endpoint) {
        if was_out && endpoint.vitals.gate() == Gate::OPEN {
            self.changes.push(PhaseChange::Available { instance: endpoint.id().clone() });
        }
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

/// Whether it was not picked before.
fn is_out(before: &mut &[Endpoint], member: &Member) -> bool {
    earlier(before, member).is_some_and(|earlier| earlier.vitals.gate() != Gate::OPEN)
}

/// The endpoint for `member`, with the vitals of its predecessor.
fn inherit(
    before: &mut &[Endpoint],
    member: &Arc<Member>,
    suspect: bool,
    clock: &Arc<Clock>,
    ramp_end: u64,
) -> Endpoint {
    let (vitals, life, is_new) = match earlier(before, member) {
        Some(earlier) if earlier.member.incarnation() == member.incarnation() => {
            (Arc::clone(&earlier.vitals), earlier.life, false)
        }
        Some(earlier) => (Arc::clone(&earlier.vitals), earlier.vitals.reborn(), true),
        None => (Arc::new(Vitals::new()), 0, true),
    };
    if is_new {
        vitals.ramp_until(ramp_end);
    }
    Endpoint {
        member: Arc::clone(member),
        vitals,
        life,
        suspect,
        weight: member.weight(),
        clock: Arc::clone(clock),
    }
}
