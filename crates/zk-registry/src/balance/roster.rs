//! The roster: from one snapshot to the next it says which instances are candidates, and which load and health go on. Its work is
//! that of what changed.
//!
//! Pure. An id that stays keeps its load; with the same incarnation it keeps its health too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::clock::{Clock, nanos};
use super::endpoint::Endpoint;
use super::event::PhaseChange;
use super::phase::Gate;
use super::set::Draft;
use super::sites::{Role, Sites};
use super::vitals::Vitals;
use crate::instance::{InstanceId, Status};
use crate::snapshot::members::Members;
use crate::snapshot::{Change, Freshness, Member, Snapshot};

/// The instances that the last snapshot named.
#[derive(Debug, Default)]
pub(super) struct Roster {
    known: HashMap<InstanceId, Endpoint>,
    /// The last snapshot: only what differs from it is looked at.
    last: Option<Snapshot>,
    pub(super) listed: Draft,
    pub(super) suspects: Draft,
    /// How many instances are listed and take no new calls.
    pub(super) draining: usize,
    /// How many are listed without an address.
    pub(super) undialable: usize,
    /// Whether ZooKeeper was heard: only then is a name that was not there before a new instance.
    heard: bool,
}

/// The list of the roster in which an endpoint stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Draining,
    Listed,
    /// It is a suspect without an address.
    Nowhere,
    Suspect,
    Undialable,
}

impl Standing {
    fn of(endpoint: &Endpoint) -> Self {
        match (endpoint.suspect, endpoint.member.is_dialable()) {
            (true, true) => Self::Suspect,
            (true, false) => Self::Nowhere,
            (false, false) => Self::Undialable,
            (false, true) if endpoint.member.status() == Status::Draining => Self::Draining,
            (false, true) => Self::Listed,
        }
    }
}

/// When a snapshot is adopted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the balancer's clock.
    pub(super) at: u64,
    /// By the clock of the machine, which the records of instances go by.
    pub(super) wall: SystemTime,
}

impl Moment {
    /// The end of a slow start, by the balancer's clock, when `left` of it remains; 0 = there is no slow start.
    fn end_of(self, left: Duration) -> u64 {
        match left {
            Duration::ZERO => 0,
            left => self.at.saturating_add(nanos(left)),
        }
    }
}

impl Roster {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Adopts `snapshot`. An instance that is new since ZooKeeper was first heard starts slowly for so long; one that asks for a
    /// warm-up has that instead, from whenever it began.
    pub(super) fn adopt(
        &mut self,
        snapshot: &Snapshot,
        clock: &Arc<Clock>,
        (moment, slow_start): (Moment, Duration),
        sites: &mut Sites,
        changes: &mut Vec<PhaseChange>,
    ) {
        let slow_start = if self.heard { slow_start } else { Duration::ZERO };
        let mut arrivals = Arrivals { clock, moment, slow_start, sites, changes };
        let mut gone = Vec::new();
        for id in changed(self.last.as_ref(), snapshot) {
            let (member, role) = match (snapshot.get(&id), snapshot.0.suspects.get(&id)) {
                (Some(member), _) if member.status() == Status::Draining => (member, Role::Resting),
                (Some(member), _) => (member, Role::Listed),
                (None, Some(member)) => (member, Role::Suspect),
                (None, None) => {
                    gone.push(id);
                    continue;
                }
            };
            let earlier = self.known.get(&id).cloned();
            if let Some(endpoint) = arrivals.take(earlier.as_ref(), member, role) {
                self.file(earlier.as_ref(), Some(&endpoint));
                self.known.insert(id, endpoint);
            }
        }
        for endpoint in gone.iter().filter_map(|id| self.known.remove(id)).collect::<Vec<_>>() {
            arrivals.let_go(&endpoint);
            self.file(Some(&endpoint), None);
        }
        self.last = Some(snapshot.clone());
        self.heard |= snapshot.freshness() == Freshness::Live;
    }

    /// Where an instance stands, in words.
    pub(super) fn standing(&self, instance: &InstanceId) -> &'static str {
        match self.known.get(instance).map(Standing::of) {
            None => "not listed",
            Some(Standing::Draining) => "listed, and draining: it takes no new calls",
            Some(Standing::Listed) => "listed",
            Some(Standing::Nowhere) => "no longer listed, and without an address to dial",
            Some(Standing::Suspect) => {
                "no longer listed, one of many that vanished at once: picked only when nothing that is listed is available"
            }
            Some(Standing::Undialable) => "listed, without an address to dial",
        }
    }

    /// Puts an endpoint into the list where it stands now, out of the one where it stood.
    fn file(&mut self, before: Option<&Endpoint>, after: Option<&Endpoint>) {
        let (stood, stands) = (before.map(Standing::of), after.map(Standing::of));
        match (before, stood) {
            (Some(before), Some(Standing::Listed)) if stands != stood => self.listed.take(before),
            (Some(before), Some(Standing::Suspect)) if stands != stood => self.suspects.take(before),
            (_, Some(Standing::Draining)) => self.draining -= 1,
            (_, Some(Standing::Undialable)) => self.undialable -= 1,
            _ => {}
        }
        match (after, stands) {
            (Some(after), Some(Standing::Listed)) => self.listed.put(after.clone()),
            (Some(after), Some(Standing::Suspect)) => self.suspects.put(after.clone()),
            (_, Some(Standing::Draining)) => self.draining += 1,
            (_, Some(Standing::Undialable)) => self.undialable += 1,
            _ => {}
        }
    }
}

/// The ids of what may have changed from one snapshot to the next: those that are listed or not, then those that are suspects or
/// not.
fn changed(last: Option<&Snapshot>, snapshot: &Snapshot) -> Vec<InstanceId> {
    let nothing = Members::default();
    let (members, suspects) = last.map_or((&nothing, &nothing), |last| (&last.0.members, &last.0.suspects));
    let id = |change| match change {
        Change::Added(member) | Change::Removed(member) => member.id().clone(),
        Change::Updated { new, .. } => new.id().clone(),
    };
    let contents = &snapshot.0;
    members.diff(&contents.members).into_iter().chain(suspects.diff(&contents.suspects)).map(id).collect()
}

/// The members of a snapshot on their way in, and those that go.
struct Arrivals<'a> {
    clock: &'a Arc<Clock>,
    moment: Moment,
    slow_start: Duration,
    sites: &'a mut Sites,
    changes: &'a mut Vec<PhaseChange>,
}

impl Arrivals<'_> {
    /// The endpoint for `member`; `None` if it is as it was. The same process at the same address keeps the load and the health
    /// of its predecessor; another one keeps the load.
    fn take(&mut self, earlier: Option<&Endpoint>, member: &Arc<Member>, role: Role) -> Option<Endpoint> {
        let is_suspect = role == Role::Suspect;
        let unchanged = |earlier: &&Endpoint| earlier.member == *member && earlier.suspect == is_suspect;
        if earlier.is_some_and(|earlier| unchanged(&earlier)) {
            return None;
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
        // A snapshot file does not have the warm-up of an instance: it may become known later.
        let begins = !goes_on || earlier.is_some_and(|earlier| earlier.warm_up() != member.warm_up());
        if begins && !is_suspect {
            let left = match member.warm_up() {
                Some(warm_up) => warm_up.left(self.moment.wall),
                None if goes_on => Duration::ZERO,
                None => self.slow_start,
            };
            vitals.ramp_until(self.moment.end_of(left));
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
        Some(endpoint)
    }

    /// An instance is neither listed nor a suspect any more.
    fn let_go(&mut self, endpoint: &Endpoint) {
        self.sites.leave(endpoint);
        if endpoint.vitals.gate() != Gate::OPEN {
            self.changes.push(PhaseChange::Gone { instance: endpoint.id().clone() });
        }
    }
}
