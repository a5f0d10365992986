//! What a child of a service turns out to be, judged by what a read of it said.

use std::sync::Arc;

use crate::format::Format;
use crate::format::sealed::{Child, NodeKind, Reading, Rules};
use crate::instance::{InstanceId, NodeName, ServiceName};
use crate::options::RecordLimits;
use crate::snapshot::{Incarnation, Member, Rejected, Zxid};
use crate::store::{Fault, Node};

/// Which node of a name, and which write of it: `czxid` and `mzxid`.
type Identity = (i64, i64);

/// No node has it: zxids begin at 1.
const OF_NO_NODE: Identity = (0, 0);

/// The judge of a service's children.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) service: ServiceName,
    /// Which of the service's directories it is.
    pub(super) directory: usize,
    pub(super) format: Arc<dyn Format>,
    pub(super) limits: RecordLimits,
}

/// A view's knowledge of a child before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) member: Option<&'a Arc<Member>>,
    /// The child, if it is no instance.
    pub(super) other: Option<&'a Other>,
    /// Why the member's present record cannot be used.
    pub(super) overgrown: Option<&'a Other>,
}

/// What a read said of a child.
#[derive(Debug)]
pub(crate) enum Read {
    /// The answer about the child of this name. Boxed: of a whole service nearly all are members.
    Answer(Box<(String, Result<Node, Fault>)>),
    /// The instance that the answer was decoded to, while the next ones were on their way; and the bytes of its record.
    Member(Arc<Member>, usize),
}

/// What a read makes of a child.
#[derive(Debug)]
pub(super) enum Judged {
    /// The node does not exist.
    Gone,
    /// The child is as it was.
    Kept,
    /// An instance.
    Member(Arc<Member>),
    /// No instance.
    Other(Other),
    /// The record of a member has become too large.
    Overgrown(Other),
}

/// A child that is no instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    /// `None`: the child could not be read.
    pub(super) identity: Option<Identity>,
    /// `None`: neither listed nor rejected.
    pub(super) rejected: Option<Arc<Rejected>>,
    /// Whether having children or none makes a difference to what it is.
    pub(super) depends_on_children: bool,
    /// The bytes for which there was no room. `None`: the child is no instance for another reason.
    pub(super) room: Option<usize>,
    /// What it says about instances, if it is a rule.
    pub(super) rules: Option<Arc<Rules>>,
    /// Whose id it claims, if that instance has a younger node.
    pub(super) shadow: Option<InstanceId>,
}

impl Read {
    /// The answer about the child of this name.
    pub(crate) fn answer(name: String, answer: Result<Node, Fault>) -> Self {
        Self::Answer(Box::new((name, answer)))
    }

    /// The name of the child.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Answer(answer) => &answer.0,
            Self::Member(member, _) => member.node.as_ref().map_or(member.id.as_str(), NodeName::as_str),
        }
    }

    /// Which node was read, and which write of it; `None`: there was none.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Answer(answer) => answer.1.as_ref().ok().map(|node| (node.stat.czxid, node.stat.mzxid)),
            Self::Member(member, _) => Some(identity(member)),
        }
    }
}

fn identity(member: &Member) -> Identity {
    (member.created.0, member.modified.0)
}

impl Known<'_> {
    const NOTHING: Self = Self { member: None, other: None, overgrown: None };

    /// Whether this record was judged before, to be no instance.
    fn has_judged(&self, identity: Identity) -> bool {
        [self.other, self.overgrown].into_iter().flatten().any(|other| other.judges(identity))
    }

    /// Whether it is that of the member.
    fn is_member(&self, of: Identity) -> bool {
        self.member.is_some_and(|member| identity(member) == of)
    }
}

impl Other {
    /// A child that is rejected for this reason.
    pub(super) fn rejected(name: &str, identity: Option<Identity>, reason: String) -> Self {
        let rejected = Some(Arc::new(Rejected { id: name.to_owned(), reason }));
        // A child that may not be read says as little with children as without.
        Self { rejected, depends_on_children: identity.is_some(), ..Self::ignored(identity) }
    }

    /// A child that is neither listed nor rejected.
    fn ignored(identity: Option<Identity>) -> Self {
        Self { identity, rejected: None, depends_on_children: false, room: None, rules: None, shadow: None }
    }

    /// The node of an instance whose id another node has.
    pub(super) fn shadow(member: &Member) -> Self {
        let identity = Some(identity(member));
        Self { depends_on_children: true, shadow: Some(member.id.clone()), ..Self::ignored(identity) }
    }

    /// Whether a snapshot shows the difference between this and what was known before.
    pub(super) fn is_news_after(&self, before: Option<&Self>) -> bool {
        before.is_none_or(|before| {
            before.rejected != self.rejected || before.rules != self.rules || before.shadow != self.shadow
        })
    }

    /// Whether this is what the same record was found to be.
    fn judges(&self, identity: Identity) -> bool {
        let is_judged = self.rejected.is_some() || self.rules.is_some() || self.shadow.is_some();
        self.identity == Some(identity) && is_judged
    }
}

impl Judge {
    /// What a rule was, of which a file remembers the node. The next read of the node judges it anew.
    pub(super) fn remembered(&self, name: &NodeName, data: &[u8]) -> Option<Other> {
        let child = Child { directory: self.directory, name, data };
        match self.format.read(&self.service, child) {
            Ok(Reading::Rules(rules)) => {
                Some(Other { rules: Some(Arc::new(rules)), ..Other::ignored(Some(OF_NO_NODE)) })
            }
            _ => None,
        }
    }

    /// Decodes the record of an instance that is not known yet. Everything else is left to [`judge`](Self::judge).
    pub(super) fn decode_ahead(&self, known: Known<'_>, name: String, answer: Result<Node, Fault>) -> Read {
        let Ok(node) = &answer else { return Read::answer(name, answer) };
        let (identity, bytes) = ((node.stat.czxid, node.stat.mzxid), node.data.len());
        if known.is_member(identity) || known.has_judged(identity) {
            return Read::answer(name, answer);
        }
        match self.judge_answer(Known::NOTHING, &name, &answer) {
            Judged::Member(member) => Read::Member(member, bytes),
            _ => Read::answer(name, answer),
        }
    }

    /// What a child turned out to be.
    pub(super) fn judge(&self, known: Known<'_>, read: &Read) -> Judged {
        match read {
            Read::Answer(answer) => self.judge_answer(known, &answer.0, &answer.1),
            Read::Member(member, _) => {
                let identity = identity(member);
                let is_as_it_was = known.has_judged(identity) || known.is_member(identity);
                if is_as_it_was { Judged::Kept } else { Judged::Member(member.clone()) }
            }
        }
    }

    fn judge_answer(&self, known: Known<'_>, name: &str, answer: &Result<Node, Fault>) -> Judged {
        let other = |other: Other| {
            if known.other == Some(&other) { Judged::Kept } else { Judged::Other(other) }
        };
        let reject = |identity, reason| other(Other::rejected(name, identity, reason));
        let node = match answer {
            Ok(node) => node,
            Err(Fault::NoNode) => return Judged::Gone,
            Err(Fault::NoAuth) => return reject(None, "it may not be read with our identity".to_owned()),
            Err(fault) => return reject(None, format!("it cannot be read: {fault:?}")),
        };
        let identity = (node.stat.czxid, node.stat.mzxid);
        let kind = NodeKind { ephemeral: node.stat.owner != 0, children: node.stat.children };
        if self.format.is_namespace(kind, &node.data) {
            let alone = NodeKind { children: 0, ..kind };
            let depends_on_children = !self.format.is_namespace(alone, &node.data);
            return other(Other { depends_on_children, ..Other::ignored(Some(identity)) });
        }
        if known.has_judged(identity) {
            return Judged::Kept;
        }
        let node_name = match name.parse::<NodeName>() {
            Ok(node_name) => node_name,
            Err(error) => return reject(Some(identity), error.to_string()),
        };
        if known.is_member(identity) {
            return Judged::Kept;
        }
        let most = self.limits.record;
        if node.data.len() > most {
            let reason = format!("its record is larger than {most} bytes, the most that is read");
            if known.member.is_some_and(|member| member.created.0 == identity.0) {
                let reason = format!("{reason}; its last good record stays in use");
                return Judged::Overgrown(Other::rejected(name, Some(identity), reason));
            }
            return reject(Some(identity), reason);
        }
        let child = Child { directory: self.directory, name: &node_name, data: &node.data };
        let decoded = match self.format.read(&self.service, child) {
            Ok(Reading::Member(decoded)) => decoded,
            Ok(Reading::Ignored) => return other(Other::ignored(Some(identity))),
            Ok(Reading::Rules(rules)) => {
                return other(Other { rules: Some(Arc::new(rules)), ..Other::ignored(Some(identity)) });
            }
            Err(reason) => return reject(Some(identity), reason),
        };
        match decoded.instance.id() {
            Err(error) => reject(Some(identity), error.to_string()),
            Ok(id) => Judged::Member(Arc::new(Member {
                node: Some(node_name).filter(|name| name.as_str() != id.as_str()),
                id,
                instance: decoded.instance,
                format: Some(self.format.name()),
                incarnation: decoded.owner.map_or_else(
                    || Incarnation::from(u128::from(node.stat.czxid.unsigned_abs())),
                    |owner| Incarnation::from(owner.incarnation.as_u128()),
                ),
                session: node.stat.owner,
                created: Zxid(node.stat.czxid),
                modified: Zxid(node.stat.mzxid),
                ctime: node.stat.ctime,
            })),
        }
    }
}
