//! The connection states of all sessions of one registry, and the worst of them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::ConnectionState;

/// The states of a registry's sessions.
#[derive(Debug)]
pub(crate) struct SessionStates {
    all: Mutex<Vec<ConnectionState>>,
    worst: watch::Sender<ConnectionState>,
}

/// The state of one session, as its supervisor sets it.
#[derive(Debug)]
pub(crate) struct StateSender {
    number: usize,
    own: watch::Sender<ConnectionState>,
    states: Arc<SessionStates>,
}

impl SessionStates {
    pub(crate) fn new() -> (Arc<Self>, watch::Receiver<ConnectionState>) {
        let (worst, receiver) = watch::channel(ConnectionState::Connecting { last: None });
        (Arc::new(Self { all: Mutex::default(), worst }), receiver)
    }

    /// Adds a session that is in this state.
    pub(crate) fn add(self: &Arc<Self>, state: ConnectionState) -> StateSender {
        let number = {
            let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(state.clone());
            all.len() - 1
        };
        let own = watch::Sender::new(state.clone());
        let sender = StateSender { number, own, states: self.clone() };
        sender.set(state);
        sender
    }
}

impl StateSender {
    /// Sets the session's state; `false` when it was in this state already.
    pub(super) fn set(&self, state: ConnectionState) -> bool {
        let mut all = self.states.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(self.number) {
            own.clone_from(&state);
        }
        // The first of the equally bad ones.
        if let Some(worst) = all.iter().min_by_key(|state| goodness(state)) {
            replace(&self.states.worst, worst.clone());
        }
        replace(&self.own, state)
    }

    /// How many sessions the registry had before this one.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<ConnectionState> {
        self.own.subscribe()
    }
}

/// The larger, the better. A session that is closed is no reason for worry as long as others are not.
fn goodness(state: &ConnectionState) -> u8 {
    match state {
        ConnectionState::Failed(_) => 0,
        ConnectionState::Connecting { last: Some(_) } => 1,
        ConnectionState::Connecting { last: None } => 2,
        ConnectionState::Suspended => 3,
        ConnectionState::Connected { .. } => 4,
        ConnectionState::Closed => 5,
    }
}

fn replace(sender: &watch::Sender<ConnectionState>, state: ConnectionState) -> bool {
    sender.send_if_modified(|now| {
        let news = *now != state;
        *now = state;
        news
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn the_worst_state_of_all_sessions_is_the_registrys() {
        let connected = ConnectionState::Connected { session_timeout: Duration::from_secs(10), local: None };
        let refused = Some(Error::new(ErrorKind::Unavailable, "too many connections"));
        let refused = ConnectionState::Connecting { last: refused };
        let (states, worst) = SessionStates::new();
        let (first, second) = (states.add(connected.clone()), states.add(connected.clone()));
        assert_eq!(*worst.borrow(), connected);
        second.set(refused.clone());
        assert_eq!(*worst.borrow(), refused);
        first.set(ConnectionState::Suspended);
        assert_eq!(*worst.borrow(), refused);
        second.set(ConnectionState::Closed);
        assert_eq!(*worst.borrow(), ConnectionState::Suspended);
        first.set(ConnectionState::Closed);
        assert_eq!(*worst.borrow(), ConnectionState::Closed);
    }
}
