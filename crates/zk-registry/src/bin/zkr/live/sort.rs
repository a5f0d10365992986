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
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
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

    /// The order of this name.
    pub(crate) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.word() == word)
    }

    pub(crate) const ALL: [Self; 6] =
        [Self::Id, Self::Changed, Self::Status, Self::Weight, Self::Zone, Self::Age];

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
