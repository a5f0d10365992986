//! The orders in which instances can stand.

use std::cmp::Reverse;
use std::sync::Arc;

use zk_registry::{Member, Status};

/// An order. What is equal in it stands by id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sort {
    /// The youngest first.
    Age,
    /// The latest change first.
    Changed,
    Id,
    /// Draining instances first.
    Status,
    /// The heaviest first.
    Weight,
    Zone,
}

impl Sort {
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Id => Self::Changed,
            Self::Changed => Self::Status,
            Self::Status => Self::Weight,
            Self::Weight => Self::Zone,
            Self::Zone => Self::Age,
            Self::Age => Self::Id,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Changed => "last change",
            Self::Id => "id",
            Self::Status => "status",
            Self::Weight => "weight",
            Self::Zone => "zone",
        }
    }

    /// Sorts instances that stand by id.
    pub(crate) fn sort(self, rows: &mut [&Arc<Member>]) {
        match self {
            Self::Age => rows.sort_by_key(|member| Reverse(member.created())),
            Self::Changed => rows.sort_by_key(|member| Reverse(member.modified())),
            Self::Id => {}
            Self::Status => rows.sort_by_key(|member| member.status() != Status::Draining),
            Self::Weight => rows.sort_by_key(|member| Reverse(member.weight())),
            Self::Zone => rows.sort_by(|a, b| a.zone().cmp(&b.zone())),
        }
    }
}
