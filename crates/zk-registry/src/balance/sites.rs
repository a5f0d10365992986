//! Sites: the addresses at which instances are dialled. Instances of the same address are ejected, probed and readmitted
//! together, and counted as they change.
//!
//! Pure. The word of each phase is in the vitals, where a pick sees it; only this file writes it, under the lock of the
//! [`Health`](super::health::Health).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::ejection::Ejection;
use super::endpoint::Endpoint;
use super::hash;
use super::phase::{Gate, Reach};
use crate::instance::{Instance, InstanceId};

/// The sites of the instances that the last snapshot named and that have an address.
#[derive(Debug, Default)]
pub(super) struct Sites {
    by_key: HashMap<Key, Site>,
    /// The sites that are out, by the time from which they may be probed.
    due: BTreeSet<(u64, Key)>,
    tally: Tally,
}

/// The address of a site, hashed. Two addresses that met in one hash would be ejected together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Key(u64);

/// How many instances are listed for calls, and how many of them are out.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) listed: usize,
    /// Ejected, although they can be dialled.
    pub(super) ejected: usize,
    /// Ejected because they cannot be dialled.
    pub(super) unreachable: usize,
}

#[derive(Debug, Default)]
struct Site {
    residents: Vec<Resident>,
    /// The time of its entry among those that are due.
    due: Option<u64>,
    record: Record,
}

/// The condition on which a site returns.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Wanted {
    /// As many good probes in a row as the rules say.
    #[default]
    Probes,
    /// One good call: nothing else was wrong with it.
    OneCall,
}

/// The ejections of a site.
#[derive(Debug, Default)]
struct Record {
    /// Probes in a row that succeeded.
    passed: u32,
    /// The condition on which it returns.
    wanted: Wanted,
    /// Ejections that are not forgotten.
    ejections: u32,
    /// When they are; 0 = not while it is out.
    forgiven_at: u64,
}

/// An instance at a site.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) endpoint: Endpoint,
    pub(super) role: Role,
}

/// The place of an instance in the snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// It takes calls.
    Listed,
    /// It is listed and takes no new calls.
    Resting,
    /// It is listed no more, and perhaps alive.
    Suspect,
}

/// The result of a probe that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passed {
    /// The site needs further ones.
    Once,
    /// The site may return.
    Enough,
}

impl Key {
    pub(super) fn of(instance: &Instance) -> Self {
        Self(hash::nth(hash::bytes(instance.host().as_bytes()), u64::from(instance.port())))
    }
}

impl Tally {
    /// The listed instances that can be dialled, as far as is known.
    pub(super) fn reachable(self) -> usize {
        self.listed - self.unreachable
    }

    /// The listed instances that are not out.
    pub(super) fn available(self) -> usize {
        self.reachable() - self.ejected
    }

    fn add(&mut self, role: Role, word: u64) {
        if role == Role::Listed {
            self.listed += 1;
            *self.out(word) += usize::from(Gate::is_out(word));
        }
    }

    fn take(&mut self, role: Role, word: u64) {
        if role == Role::Listed {
            self.listed -= 1;
            *self.out(word) -= usize::from(Gate::is_out(word));
        }
    }

    fn out(&mut self, word: u64) -> &mut usize {
        match Gate::reach(word) {
            Reach::Answers => &mut self.ejected,
            Reach::Unreachable => &mut self.unreachable,
        }
    }
}

impl Site {
    /// The word of its phase.
    fn word(&self) -> u64 {
        let mut words = self.residents.iter().map(|resident| resident.endpoint.vitals.gate());
        words.find(|&word| Gate::is_out(word)).unwrap_or(Gate::OPEN)
    }

    fn is_listed(&self) -> bool {
        self.residents.iter().any(|resident| resident.role == Role::Listed)
    }
}

impl Sites {
    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// The earliest time at which a probe may go out; `u64::MAX` when no listed instance is out.
    pub(super) fn next_due(&self) -> u64 {
        self.due.first().map_or(u64::MAX, |&(due, _)| due)
    }

    /// The site at which this very instance is a resident, and its role there. `None` when it is listed no more, when another
    /// process has its id now, or when it moved.
    pub(super) fn find(&self, endpoint: &Endpoint) -> Option<(Key, Role)> {
        let key = Key::of(endpoint);
        let resident =
            self.by_key.get(&key)?.residents.iter().find(|one| is_same(&one.endpoint, endpoint))?;
        (resident.endpoint.life == endpoint.life).then_some((key, resident.role))
    }

    /// The instances of a site.
    pub(super) fn residents(&self, key: Key) -> &[Resident] {
        self.by_key.get(&key).map_or(&[], |site| &site.residents)
    }

    /// The sites that may be probed at `at`, those first that waited longest.
    pub(super) fn due(&self, at: u64) -> impl Iterator<Item = Key> + '_ {
        self.due.iter().take_while(move |(due, _)| *due <= at).map(|&(_, key)| key)
    }

    /// An instance comes whose process was not known before: that it lives ends the ejection of its address. Returns those
    /// that are available again.
    pub(super) fn arrive(&mut self, endpoint: Endpoint, role: Role) -> Vec<InstanceId> {
        let key = Key::of(&endpoint);
        let back = self.readmit(key, 0);
        self.by_key.entry(key).or_default().record = Record::default();
        self.add(key, Resident { endpoint, role });
        back
    }

    /// An instance comes of which it is not known whether its process lives: that ends no ejection of its address, and it is
    /// not ejected before it is seen to fail.
    pub(super) fn arrive_unheard(&mut self, endpoint: Endpoint, role: Role) {
        self.add(Key::of(&endpoint), Resident { endpoint, role });
    }

    fn add(&mut self, key: Key, resident: Resident) {
        self.tally.add(resident.role, resident.endpoint.vitals.gate());
        self.by_key.entry(key).or_default().residents.push(resident);
        self.schedule(key);
    }

    /// An instance goes on at the same address with another record or role.
    pub(super) fn change(&mut self, endpoint: Endpoint, role: Role) {
        let key = Key::of(&endpoint);
        let Some(site) = self.by_key.get_mut(&key) else { return };
        let Some(resident) = site.residents.iter_mut().find(|one| is_same(&one.endpoint, &endpoint)) else {
            return;
        };
        let word = endpoint.vitals.gate();
        self.tally.take(resident.role, word);
        // A failed dial of the time when it was not listed is forgotten.
        let word = if word == Gate::DROPPED && role != Role::Suspect { Gate::OPEN } else { word };
        endpoint.vitals.set_gate(word);
        self.tally.add(role, word);
        *resident = Resident { endpoint, role };
        self.schedule(key);
    }

    /// An instance goes, or its process does.
    pub(super) fn leave(&mut self, endpoint: &Endpoint) {
        let key = Key::of(endpoint);
        let Some(site) = self.by_key.get_mut(&key) else { return };
        let Some(place) = site.residents.iter().position(|one| is_same(&one.endpoint, endpoint)) else {
            return;
        };
        let gone = site.residents.swap_remove(place);
        self.tally.take(gone.role, gone.endpoint.vitals.gate());
        self.schedule(key);
        if self.residents(key).is_empty() {
            self.by_key.remove(&key);
        }
    }

    /// A suspect could not be dialled.
    pub(super) fn drop_suspect(&mut self, endpoint: &Endpoint) {
        endpoint.vitals.set_gate(Gate::DROPPED);
        self.schedule(Key::of(endpoint));
    }

    /// The word of the site's phase.
    pub(super) fn word(&self, key: Key) -> u64 {
        self.by_key.get(&key).map_or(Gate::OPEN, Site::word)
    }

    /// Ejects the site at `at`. Returns how many ejections it had before that are not forgotten.
    pub(super) fn eject(&mut self, key: Key, at: u64, reach: Reach, time: impl FnOnce(u32) -> u64) -> u32 {
        let Some(Site { record, .. }) = self.by_key.get_mut(&key) else { return 0 };
        let before = if record.forgiven_at != 0 && at >= record.forgiven_at { 0 } else { record.ejections };
        // One that could not be dialled and then is, is well.
        let wanted = if reach == Reach::Unreachable { Wanted::OneCall } else { Wanted::Probes };
        *record = Record { passed: 0, wanted, ejections: before.saturating_add(1), forgiven_at: 0 };
        let word = Gate::ejected(at.saturating_add(time(before)), reach);
        self.set_where(key, word, |before| before != Gate::DROPPED);
        before
    }

    /// Leaves the site alone until `until`, which is no ejection for its record.
    pub(super) fn rest(&mut self, key: Key, until: u64) {
        let Some(site) = self.by_key.get_mut(&key) else { return };
        (site.record.passed, site.record.wanted) = (0, Wanted::OneCall);
        self.set_where(key, Gate::ejected(until, Reach::Answers), |before| before != Gate::DROPPED);
    }

    /// Readmits the site, whose ejections are forgotten at `forgiven_at`. Returns its instances that were out.
    pub(super) fn readmit(&mut self, key: Key, forgiven_at: u64) -> Vec<InstanceId> {
        let Some(site) = self.by_key.get_mut(&key) else { return Vec::new() };
        site.record.forgiven_at = forgiven_at.max(1);
        let mut back = Vec::new();
        for Resident { endpoint, role } in &site.residents {
            let word = endpoint.vitals.gate();
            if Gate::is_out(word) {
                self.tally.take(*role, word);
                endpoint.vitals.readmit();
                self.tally.add(*role, Gate::OPEN);
                back.push(endpoint.id().clone());
            }
        }
        self.schedule(key);
        back
    }

    /// A probe of the site succeeded.
    pub(super) fn pass(&mut self, key: Key, rules: &Ejection) -> Passed {
        let Some(site) = self.by_key.get_mut(&key) else { return Passed::Once };
        site.record.passed += 1;
        if site.record.wanted == Wanted::OneCall || site.record.passed >= rules.probes.get() {
            Passed::Enough
        } else {
            Passed::Once
        }
    }

    /// How many ejections of the site are not forgotten, as of the last one.
    pub(super) fn ejections(&self, key: Key) -> u32 {
        self.by_key.get(&key).map_or(0, |site| site.record.ejections)
    }

    /// Changes the word of the instances of a site that are out: a probe begins, or ends without a result.
    pub(super) fn set(&mut self, key: Key, word: u64) {
        self.set_where(key, word, Gate::is_out);
    }

    /// Changes the word of the instances of a site whose present word is one of `which`.
    fn set_where(&mut self, key: Key, word: u64, which: impl Fn(u64) -> bool) {
        let Some(site) = self.by_key.get_mut(&key) else { return };
        for Resident { endpoint, role } in &site.residents {
            let before = endpoint.vitals.gate();
            if which(before) {
                self.tally.take(*role, before);
                endpoint.vitals.set_gate(word);
                self.tally.add(*role, word);
            }
        }
        self.schedule(key);
    }

    /// Enters the site among those that are due, or takes it out. Only what is listed is probed out of turn.
    fn schedule(&mut self, key: Key) {
        let Some(site) = self.by_key.get_mut(&key) else { return };
        let word = site.word();
        let due = (Gate::is_out(word) && site.is_listed()).then_some(Gate::due(word));
        if due != site.due {
            if let Some(before) = site.due {
                self.due.remove(&(before, key));
            }
            if let Some(due) = due {
                self.due.insert((due, key));
            }
            site.due = due;
        }
    }
}

/// Whether both are the same id, whatever its record says meanwhile.
fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    Arc::ptr_eq(&one.vitals, &other.vitals)
}
