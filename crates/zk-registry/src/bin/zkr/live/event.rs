//! One thing that happened to a service, for people.

use std::time::SystemTime;

use zk_registry::{Change, InstanceId, ServiceName};

use crate::compare::differences;

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Changed,
    Down,
    /// Whether the service is heard of, and how.
    Freshness,
    Up,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) wall: SystemTime,
    pub(crate) service: ServiceName,
    pub(crate) what: What,
    pub(crate) id: Option<InstanceId>,
    pub(crate) detail: String,
}

impl What {
    /// One word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Changed => "update",
            Self::Down => "down",
            Self::Freshness => "freshness",
            Self::Up => "up",
        }
    }
}

/// What a change of a service's instances was, of whom, and its detail.
pub(super) fn told(change: &Change) -> (What, InstanceId, String) {
    match change {
        Change::Added(member) => (What::Up, member.id().clone(), member.address()),
        Change::Removed(member) => (What::Down, member.id().clone(), String::new()),
        Change::Updated { old, new } => {
            let mut differences = differences(old, new);
            if differences.is_empty() {
                let why =
                    if old.created() == new.created() { "written, all as before" } else { "created anew" };
                differences.push(why.to_owned());
            }
            (What::Changed, new.id().clone(), differences.join(", "))
        }
    }
}
