//! What fences an instance off that has lost its place.

use std::sync::{Arc, Mutex, PoisonError};

use crate::snapshot::Zxid;

/// What a resource outside ZooKeeper can fence an instance by: a write that carries a smaller token than an earlier one comes
/// from an instance that has lost its place.
///
/// Tokens of one (service, id) compare by `created`: of two processes that registered it one after the other, the later one
/// has the larger token. The token changes when the node is created anew, after the session was lost or the node deleted.
/// Source: Kleppmann, "How to do distributed locking" (2016).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct FencingToken {
    /// The transaction that created the node (its czxid).
    pub created: Zxid,
    /// The session that owns the node.
    pub session: i64,
}

/// The present token of a registration: its registrar sets it, its guard reads it, and no task waits for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenCell(Arc<Mutex<Option<FencingToken>>>);

impl TokenCell {
    pub(super) fn set(&self, token: Option<FencingToken>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub(super) fn get(&self) -> Option<FencingToken> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
