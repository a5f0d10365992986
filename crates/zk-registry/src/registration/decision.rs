//! The decision: what to do about one node, given what we want and what was just read. Pure.
//!
//! Every delete or set carries the version of the stat, read immediately before, that showed one of our sessions as the
//! owner; never a remembered one.

use bytes::Bytes;
use uuid::Uuid;

use super::host;
use super::state::OnConflict;
use crate::format::sealed::Owner;
use crate::instance::{Attributes, Instance};
use crate::session::Ids;
use crate::store::{Fault, Node, Stat};

/// Who we are, as far as a node can tell.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// What our records say.
    pub(crate) owner: Owner,
    /// The host in the words of records of earlier versions, which named it.
    plain_host: Option<String>,
}

impl Identity {
    pub(crate) fn new(host: Option<String>) -> Self {
        let owner = Owner { host: host.as_deref().map(host::hashed), incarnation: Uuid::new_v4() };
        Self { owner, plain_host: host }
    }

    /// Whether a record was written on this host, by this version or by one that named it.
    fn is_our_host(&self, told: &str) -> bool {
        [&self.owner.host, &self.plain_host].into_iter().flatten().any(|ours| ours == told)
    }
}

/// What a read showed.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Absent,
    /// A node, and what its record says, if anything.
    Node {
        node: Node,
        instance: Option<Box<Instance>>,
        owner: Option<Owner>,
    },
    /// There, but not for us to read.
    Unreadable,
}

/// Whether the session of our connection owns the node, as the server lists what it owns: a record can be forged, that list
/// cannot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Listed {
    /// Not listed.
    No,
    /// Not asked for. A decision that depends on it is [`Step::ListOwned`].
    Unknown,
    /// Listed.
    Yes,
}

/// Whose node it is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Whose {
    /// A session of this registry that is over.
    Earlier,
    Foreign(String),
    /// Our own uuid under a session that we never had, and our connection owns it: the server put another session in the
    /// place of ours.
    Replaced,
    /// Another process of this host.
    Sibling,
    /// Our own uuid under a session that we never had: a replaced session, or a copy of the public record.
    Unclear,
    Ours,
}

/// What one registration wants and remembers; the part that the decision depends on.
#[derive(Debug)]
pub(super) struct Intent {
    /// The bytes that the node should hold; `None`: there should be no node of ours.
    pub(super) record: Option<Bytes>,
    /// Data that may stand there without a new decision: the last confirmed record, all sent since, foreign data already
    /// handled.
    pub(super) sent: Vec<Bytes>,
    pub(super) claim: Claim,
    pub(super) exclusivity: Exclusivity,
    pub(super) on_conflict: OnConflict,
    pub(super) address: Address,
}

/// Where an instance is reached: host, port and TLS port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    host: String,
    port: u16,
    ssl_port: Option<u16>,
}

impl From<&Instance> for Address {
    fn from(instance: &Instance) -> Self {
        Self { host: instance.host().to_owned(), port: instance.port(), ssl_port: instance.ssl_port() }
    }
}

/// Whether the record is newer than other data that a read shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Claim {
    /// The record was not seen there since the user's last update: it wins over other data. Stays so over failures, and
    /// becomes `Seen` once the record stands there.
    Newer,
    /// The record stood there: other data were written later, and are adopted. The next update makes it `Newer`.
    Seen,
}

/// Whether the caller holds the listening socket of the address, and what follows for a node that another process of this
/// host left behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Exclusivity {
    /// It does, but an earlier registration of the id had its chance: the node is foreign. Final.
    Exclusive,
    /// It does, and this is the registry's first registration of the id: a node that states the same address is taken over.
    /// Becomes `Exclusive` once the registration stands, or meets a conflict.
    Heir,
    /// It does not say so: the node is foreign. Final.
    Shared,
}

impl Exclusivity {
    /// Whether the caller holds the listening socket.
    pub(super) fn is_exclusive(self) -> bool {
        self != Self::Shared
    }

    /// The same without the right to take a node over.
    pub(super) fn spent(self) -> Self {
        match self {
            Self::Heir | Self::Exclusive => Self::Exclusive,
            Self::Shared => Self::Shared,
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Adopt(Attributes),
    Conflict(String),
    Create,
    Delete {
        version: i32,
    },
    /// The node is ours, and access control does not let us read it.
    Forbidden,
    /// Nothing of ours is there, as it should be.
    Gone,
    /// Read again, and have listed what our session owns.
    ListOwned,
    /// Lose the session and start over: this one stands in its place.
    Replaced {
        by: i64,
    },
    /// The node is ours and says what it should.
    Rest(Stat),
    Set {
        version: i32,
    },
    /// A foreign node stands there, none of ours.
    Superseded,
    TakeOver {
        version: i32,
    },
    /// Foreign data stand in our node, and none of them is adopted.
    WriteOver,
}

impl Intent {
    /// The next step after a read.
    pub(super) fn step(&self, seen: &Seen, us: &Identity, ids: &Ids, listed: Listed) -> Step {
        let (node, instance, owner) = match seen {
            Seen::Absent if self.record.is_some() => return Step::Create,
            Seen::Absent => return Step::Gone,
            Seen::Unreadable => {
                return match listed {
                    Listed::Unknown => Step::ListOwned,
                    Listed::Yes => Step::Forbidden,
                    Listed::No if self.record.is_none() => Step::Superseded,
                    Listed::No => Step::Conflict("a node that we may not read".to_owned()),
                };
            }
            Seen::Node { node, instance, owner } => (node, instance, owner),
        };
        let version = node.stat.version;
        let Some(record) = &self.record else {
            return match whose(&node.stat, owner.as_ref(), us, ids, listed) {
                Whose::Unclear => Step::ListOwned,
                Whose::Earlier | Whose::Ours | Whose::Replaced => Step::Delete { version },
                Whose::Foreign(_) | Whose::Sibling => Step::Superseded,
            };
        };
        match whose(&node.stat, owner.as_ref(), us, ids, listed) {
            Whose::Ours if node.data == *record && self.sent.last() == Some(record) => Step::Rest(node.stat),
            // Something else was sent after it, and may yet be executed: a write takes its version away.
            Whose::Ours if node.data == *record => Step::Set { version },
            Whose::Ours => self.reconcile(node, instance.as_deref()),
            // Written after the session was lost, or just before: it survives that.
            Whose::Earlier => match self.reconcile(node, instance.as_deref()) {
                Step::Adopt(attributes) => Step::Adopt(attributes),
                _ => Step::TakeOver { version },
            },
            Whose::Replaced => Step::Replaced { by: node.stat.owner },
            Whose::Unclear => Step::ListOwned,
            Whose::Sibling if self.exclusivity == Exclusivity::Heir && self.is_at(instance.as_deref()) => {
                Step::TakeOver { version }
            }
            Whose::Sibling => Step::Conflict("another process of this host".to_owned()),
            Whose::Foreign(who) => Step::Conflict(who),
        }
    }

    /// Whether an instance states our address: only one process of a host can serve it.
    fn is_at(&self, instance: Option<&Instance>) -> bool {
        instance.is_some_and(|instance| Address::from(instance) == self.address)
    }

    /// Our node says something else than it should: an update of ours on its way, or a foreign write.
    fn reconcile(&self, node: &Node, instance: Option<&Instance>) -> Step {
        if self.sent.contains(&node.data) {
            return Step::Set { version: node.stat.version };
        }
        match instance {
            // The newest update wins over whatever stands there.
            Some(instance) if self.claim == Claim::Seen => Step::Adopt(instance.attributes().clone()),
            _ => Step::WriteOver,
        }
    }
}

/// Whose the node is, decided by its owning session and, where there is one, the owner record.
fn whose(stat: &Stat, record: Option<&Owner>, us: &Identity, ids: &Ids, listed: Listed) -> Whose {
    if stat.owner == 0 {
        return Whose::Foreign("a static node".to_owned());
    }
    if ids.live.contains(&stat.owner) {
        return Whose::Ours;
    }
    if ids.earlier.contains(&stat.owner) {
        return Whose::Earlier;
    }
    let Some(record) = record else {
        return Whose::Foreign(format!("a node of session {:#x}", stat.owner));
    };
    if record.incarnation == us.owner.incarnation {
        return match listed {
            Listed::Unknown => Whose::Unclear,
            Listed::Yes => Whose::Replaced,
            Listed::No => Whose::Foreign(format!("a copy of our record in session {:#x}", stat.owner)),
        };
    }
    match &record.host {
        Some(host) if us.is_our_host(host) => Whose::Sibling,
        _ => Whose::Foreign(format!("a node of session {:#x} (process {})", stat.owner, record.incarnation)),
    }
}

impl Seen {
    /// What a per-item answer shows, or why the request has to be made again.
    pub(super) fn new(
        answer: Result<Node, Fault>,
        decode: impl FnOnce(&[u8]) -> Option<(Instance, Option<Owner>)>,
    ) -> Result<Self, Fault> {
        match answer {
            Ok(node) => {
                let (instance, owner) = decode(&node.data).unzip();
                Ok(Self::Node { node, instance: instance.map(Box::new), owner: owner.flatten() })
            }
            Err(Fault::NoNode) => Ok(Self::Absent),
            Err(Fault::NoAuth) => Ok(Self::Unreadable),
            Err(fault) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: i64 = 7;
    const EARLIER: i64 = 6;
    const STRANGER: i64 = 99;

    fn us() -> Identity {
        Identity::new(Some("boot net host".to_owned()))
    }

    fn ids() -> Ids {
        Ids { live: [OURS].into(), earlier: [EARLIER].into() }
    }

    fn intent(record: Option<&'static str>) -> Intent {
        Intent {
            record: record.map(Bytes::from),
            sent: record.map(Bytes::from).into_iter().collect(),
            claim: Claim::Seen,
            exclusivity: Exclusivity::Shared,
            on_conflict: OnConflict::Wait,
            address: Address::from(&Instance::new("h", 1)),
        }
    }

    fn node(owner: i64, version: i32, data: &'static str, record: Option<Owner>) -> Seen {
        let stat = Stat { owner, version, ..Stat::default() };
        let instance = Some(Box::new(Instance::new("h", 1)));
        Seen::Node { node: Node { data: Bytes::from(data), stat }, instance, owner: record }
    }

    #[test]
    fn a_node_of_ours_that_says_what_it_should_is_left_alone() {
        let step = intent(Some("a")).step(&node(OURS, 3, "a", None), &us(), &ids(), Listed::Unknown);
        assert!(matches!(step, Step::Rest(_)), "{step:?}");
    }

    #[test]
    fn a_node_of_an_earlier_session_is_taken_over_at_its_version() {
        let step = intent(Some("a")).step(&node(EARLIER, 3, "a", None), &us(), &ids(), Listed::Unknown);
        assert_eq!(step, Step::TakeOver { version: 3 });
    }

    #[test]
    fn a_strangers_node_is_never_touched() {
        for owner in [0, STRANGER] {
            let seen = node(owner, 0, "a", None);
            assert!(matches!(
                intent(Some("a")).step(&seen, &us(), &ids(), Listed::Unknown),
                Step::Conflict(_)
            ));
            assert_eq!(intent(None).step(&seen, &us(), &ids(), Listed::Unknown), Step::Superseded);
        }
    }

    #[test]
    fn a_sibling_is_inherited_only_by_the_exclusive_first_registration() {
        let us = us();
        let sibling = Owner { host: us.owner.host.clone(), incarnation: Uuid::new_v4() };
        let seen = node(STRANGER, 5, "b", Some(sibling.clone()));
        let mut intent = intent(Some("a"));
        assert!(matches!(intent.step(&seen, &us, &ids(), Listed::Unknown), Step::Conflict(_)));
        intent.exclusivity = Exclusivity::Heir;
        assert_eq!(intent.step(&seen, &us, &ids(), Listed::Unknown), Step::TakeOver { version: 5 });
        let elsewhere = Owner { host: Some("other".to_owned()), ..sibling };
        assert!(matches!(
            intent.step(&node(STRANGER, 5, "b", Some(elsewhere)), &us, &ids(), Listed::Unknown),
            Step::Conflict(_)
        ));
        let unknown = Identity::new(None);
        assert!(matches!(intent.step(&seen, &unknown, &ids(), Listed::Unknown), Step::Conflict(_)));
    }

    #[test]
    fn a_sibling_of_an_earlier_version_which_named_the_host_is_inherited_too() {
        let sibling = Owner { host: Some("boot net host".to_owned()), incarnation: Uuid::new_v4() };
        let heir = Intent { exclusivity: Exclusivity::Heir, ..intent(Some("a")) };
        let seen = node(STRANGER, 5, "b", Some(sibling));
        assert_eq!(heir.step(&seen, &us(), &ids(), Listed::Unknown), Step::TakeOver { version: 5 });
    }

    #[test]
    fn a_record_does_not_tell_the_name_of_its_host() {
        let told = us().owner.host.unwrap();
        assert!(["boot", "net", "host"].iter().all(|word| !told.contains(word)), "{told}");
    }

    #[test]
    fn a_sibling_at_another_address_is_never_inherited() {
        let us = us();
        let sibling = Owner { host: us.owner.host.clone(), incarnation: Uuid::new_v4() };
        let Seen::Node { node, owner, .. } = node(STRANGER, 5, "b", Some(sibling)) else { unreachable!() };
        let heir = Intent { exclusivity: Exclusivity::Heir, ..intent(Some("a")) };
        let others = [Instance::new("h", 2), Instance::new("g", 1), Instance::new("h", 1).with_ssl_port(9)];
        for instance in others.map(|other| Some(Box::new(other))).into_iter().chain([None]) {
            let seen = Seen::Node { node: node.clone(), owner: owner.clone(), instance };
            assert!(matches!(heir.step(&seen, &us, &ids(), Listed::No), Step::Conflict(_)), "{seen:?}");
        }
    }

    #[test]
    fn our_own_uuid_under_a_session_we_never_had_starts_over_only_if_our_connection_owns_the_node() {
        let us = us();
        let seen = node(STRANGER, 0, "a", Some(us.owner.clone()));
        let step = |record, listed| intent(record).step(&seen, &us, &ids(), listed);
        assert_eq!(step(Some("a"), Listed::Unknown), Step::ListOwned);
        assert_eq!(step(Some("a"), Listed::Yes), Step::Replaced { by: STRANGER });
        assert!(matches!(step(Some("a"), Listed::No), Step::Conflict(_)));
        assert_eq!(step(None, Listed::Unknown), Step::ListOwned);
        assert_eq!(step(None, Listed::Yes), Step::Delete { version: 0 });
        assert_eq!(step(None, Listed::No), Step::Superseded);
    }

    #[test]
    fn an_unreadable_node_is_judged_by_what_our_session_owns() {
        let step = |record, listed| intent(record).step(&Seen::Unreadable, &us(), &ids(), listed);
        for record in [Some("a"), None] {
            assert_eq!(step(record, Listed::Unknown), Step::ListOwned);
            assert_eq!(step(record, Listed::Yes), Step::Forbidden);
        }
        assert_eq!(step(None, Listed::No), Step::Superseded);
        assert!(matches!(step(Some("a"), Listed::No), Step::Conflict(_)));
    }

    #[test]
    fn what_was_sent_after_the_record_that_stands_there_is_fenced_off() {
        let seen = node(OURS, 3, "a", None);
        let sent = vec![Bytes::from("a"), Bytes::from("b")];
        let taken_back = Intent { sent, ..intent(Some("a")) };
        assert_eq!(taken_back.step(&seen, &us(), &ids(), Listed::Unknown), Step::Set { version: 3 });
    }

    #[test]
    fn a_foreign_write_is_adopted_unless_an_update_is_on_its_way() {
        let seen = node(OURS, 4, "foreign", None);
        let settled = intent(Some("a"));
        assert!(matches!(settled.step(&seen, &us(), &ids(), Listed::Unknown), Step::Adopt(_)));
        let mut updating =
            Intent { sent: vec![Bytes::from("old")], claim: Claim::Newer, ..intent(Some("a")) };
        assert_eq!(updating.step(&seen, &us(), &ids(), Listed::Unknown), Step::WriteOver);
        let own = node(OURS, 4, "old", None);
        assert_eq!(updating.step(&own, &us(), &ids(), Listed::Unknown), Step::Set { version: 4 });
        // Also when it was sent already, and may have failed.
        updating.sent.push(Bytes::from("a"));
        assert_eq!(updating.step(&seen, &us(), &ids(), Listed::Unknown), Step::WriteOver);
    }

    #[test]
    fn what_nobody_can_read_is_written_over() {
        let Seen::Node { node, owner, .. } = node(OURS, 4, "foreign", None) else { unreachable!() };
        let seen = Seen::Node { node, owner, instance: None };
        assert_eq!(intent(Some("a")).step(&seen, &us(), &ids(), Listed::Unknown), Step::WriteOver);
        let judged = Intent { sent: vec![Bytes::from("foreign")], ..intent(Some("a")) };
        assert_eq!(judged.step(&seen, &us(), &ids(), Listed::Unknown), Step::Set { version: 4 });
    }

    #[test]
    fn a_foreign_write_survives_the_loss_of_the_session() {
        let seen = node(EARLIER, 4, "foreign", None);
        assert!(matches!(intent(Some("a")).step(&seen, &us(), &ids(), Listed::Unknown), Step::Adopt(_)));
        let judged = Intent { sent: vec![Bytes::from("foreign")], ..intent(Some("a")) };
        assert_eq!(judged.step(&seen, &us(), &ids(), Listed::Unknown), Step::TakeOver { version: 4 });
        let insisting = Intent { claim: Claim::Newer, ..intent(Some("a")) };
        assert_eq!(insisting.step(&seen, &us(), &ids(), Listed::Unknown), Step::TakeOver { version: 4 });
    }

    #[test]
    fn a_withdrawal_deletes_what_is_ours_at_the_version_just_read() {
        assert_eq!(
            intent(None).step(&node(OURS, 2, "a", None), &us(), &ids(), Listed::Unknown),
            Step::Delete { version: 2 }
        );
        assert_eq!(
            intent(None).step(&node(EARLIER, 2, "a", None), &us(), &ids(), Listed::Unknown),
            Step::Delete { version: 2 }
        );
        assert_eq!(intent(None).step(&Seen::Absent, &us(), &ids(), Listed::Unknown), Step::Gone);
    }
}
