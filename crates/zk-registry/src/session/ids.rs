//! The ids of the sessions that are, or were, this registry's.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

/// The most earlier sessions that are remembered: a server keeps the nodes of a session for one session timeout after its
/// end, and so many do not end within one.
const MOST_EARLIER: usize = 256;

/// The ids of the sessions that are, or were, this registry's: what makes a node "ours".
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Recorded>);

/// The ids of live and of earlier sessions.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    pub(crate) live: HashSet<i64>,
    pub(crate) earlier: HashSet<i64>,
}

#[derive(Debug, Default)]
struct Recorded {
    ids: Ids,
    /// The live ones beside which no node of an earlier one stands.
    settled: HashSet<i64>,
    /// The earlier ones, the oldest first.
    ended: VecDeque<i64>,
}

impl Sessions {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&Ids) -> T) -> T {
        look(&self.0.lock().unwrap_or_else(PoisonError::into_inner).ids)
    }

    /// The server put this session in the place of one of ours: what it owns is ours to take over.
    pub(crate) fn disowned(&self, id: i64) {
        self.ended(id);
    }

    /// Records that no registration of this live session can have a node of an earlier one: each was written, or found gone,
    /// in this one.
    pub(crate) fn settle(&self, id: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).settled.insert(id);
    }

    pub(super) fn is_settled(&self, id: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).settled.contains(&id)
    }

    pub(super) fn began(&self, id: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ids.live.insert(id);
    }

    pub(super) fn ended(&self, id: i64) {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.ids.live.remove(&id);
        recorded.settled.remove(&id);
        if recorded.ids.earlier.insert(id) {
            recorded.ended.push_back(id);
        }
        if recorded.ended.len() > MOST_EARLIER
            && let Some(oldest) = recorded.ended.pop_front()
        {
            recorded.ids.earlier.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_earlier_sessions_are_remembered() {
        let sessions = Sessions::default();
        for id in 0..1_000 {
            sessions.began(id);
            sessions.ended(id);
        }
        sessions.with(|ids| {
            assert!(ids.live.is_empty());
            assert_eq!(ids.earlier, (1_000 - MOST_EARLIER as i64..1_000).collect());
        });
    }
}
