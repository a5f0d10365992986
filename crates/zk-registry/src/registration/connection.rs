//! The connection as the driver has taken it up, and what became of it since.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Error;
use crate::session::{Link, Phase};
use crate::store::Store;
use crate::withdrawn::Withdrawn;

/// Which session, and which of its connections.
type Number = (u64, u64);

/// The connection that the entries were last checked in.
#[derive(Debug)]
pub(super) struct Connection {
    link: watch::Receiver<Link>,
    taken_up: Number,
    /// The last session beside which no node of an earlier one stands.
    settled: u64,
}

/// A connection on which a round was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked(Number);

/// What became of a connection.
pub(super) enum Turn {
    /// A connection that was not taken up yet: everything is in doubt. In another session, nothing of ours stands.
    Up { store: Arc<dyn Store>, session: SameSession },
    /// The connection is lost, the session may be alive.
    Suspended,
    /// There is no session; if no server takes our credentials, this is why.
    Connecting { refused: Option<Error> },
    /// There will be no session that waiting could bring.
    Failed,
    /// Nothing to do: the session is being closed, say, and the answer to that says what became of the nodes.
    Nothing,
}

/// Whether the session is the one of the connection before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SameSession {
    Yes,
    No,
}

impl Connection {
    pub(super) fn new(link: watch::Receiver<Link>) -> Self {
        Self { link, taken_up: (0, 0), settled: 0 }
    }

    /// Waits for a change; an error when the supervisor is gone, and the session with it.
    pub(super) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.link.changed().await
    }

    /// Takes up what changed.
    pub(super) fn take_up(&mut self) -> Turn {
        let link = self.link.borrow_and_update().clone();
        let number = (link.epoch, link.ups);
        match (link.phase, link.store) {
            // The supervisor is done, and the last state says how.
            _ if link.closed.is_some() => Turn::Nothing,
            (Phase::Up, Some(store)) if number != self.taken_up => {
                let is_same = self.taken_up.0 == link.epoch;
                self.taken_up = number;
                Turn::Up { store, session: if is_same { SameSession::Yes } else { SameSession::No } }
            }
            (Phase::Up, _) => Turn::Nothing,
            (Phase::Suspended { .. }, _) => Turn::Suspended,
            (Phase::Connecting | Phase::Greeting, _) => Turn::Connecting { refused: link.refused },
            (Phase::Closed, _) => link.failed.map_or(Turn::Nothing, |_| Turn::Failed),
        }
    }

    /// Where requests can be sent now: the connection that was taken up, if it still is the one that is up.
    pub(super) fn store(&self) -> Option<Arc<dyn Store>> {
        let link = self.link.borrow();
        let is_ours = link.phase == Phase::Up && (link.epoch, link.ups) == self.taken_up;
        link.store.clone().filter(|_| is_ours)
    }

    /// The connection on which a round is sent now.
    pub(super) fn asked(&self) -> Asked {
        Asked(self.taken_up)
    }

    /// Whether the connection on which a round was sent still is the one that is up.
    pub(super) fn is_current(&self, Asked(number): Asked) -> bool {
        let link = self.link.borrow();
        link.phase == Phase::Up && (link.epoch, link.ups) == number
    }

    /// Which session was taken up.
    pub(super) fn session(&self) -> u64 {
        self.taken_up.0
    }

    /// Where the session that was taken up stands; `None` once it is over.
    pub(super) fn phase(&self) -> Option<Phase> {
        let link = self.link.borrow();
        (link.epoch == self.taken_up.0).then_some(link.phase)
    }

    /// Whether nodes of an earlier session may stand beside this one's.
    pub(super) fn is_unsettled(&self) -> bool {
        self.settled != self.taken_up.0
    }

    /// No node of an earlier session stands. Returns the id of this one, if it is still there.
    pub(super) fn settle(&mut self) -> Option<i64> {
        let id = {
            let link = self.link.borrow();
            link.store.as_ref().filter(|_| link.epoch == self.taken_up.0)?.id()
        };
        self.settled = self.taken_up.0;
        Some(id)
    }

    /// Why there will be no session, if waiting cannot cure it.
    pub(super) fn failed(&self) -> Option<Error> {
        self.link.borrow().failed.clone()
    }

    /// Why no server takes our credentials, as long as none does.
    pub(super) fn refused(&self) -> Option<Error> {
        self.link.borrow().refused.clone()
    }

    /// How the last session ended, once the supervisor is done.
    pub(super) fn closed(&self) -> Option<Withdrawn> {
        self.link.borrow().closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_was_closed_is_not_about_to_be_opened() {
        let link = Link {
            epoch: 1,
            ups: 1,
            greetings: 0,
            phase: Phase::Connecting,
            store: None,
            closed: Some(Withdrawn::Confirmed),
            failed: None,
            refused: None,
        };
        let (_supervisor, link) = watch::channel(link);
        assert!(matches!(Connection::new(link).take_up(), Turn::Nothing));
    }
}
