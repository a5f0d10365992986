//! One registration of several nodes, one in each source: the task that makes one state of theirs, and carries what an operator
//! changes in one node to the others.

use std::sync::Arc;

use futures_util::future::select_all;
use tokio::sync::{oneshot, watch};

use super::desired::Desired;
use super::holders::Key;
use super::registrar::{Command, Registrar};
use super::state::RegistrationState;
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// The task behind a registration of several nodes. `run` it once.
pub(crate) struct Tandem {
    nodes: Vec<(Key, watch::Receiver<RegistrationState>)>,
    desired: Arc<Desired>,
    registrar: Registrar,
    states: watch::Sender<RegistrationState>,
}

impl Tandem {
    /// The task, and the state that it makes.
    pub(super) fn new(
        nodes: impl Iterator<Item = (Key, watch::Receiver<RegistrationState>)>,
        desired: Arc<Desired>,
        registrar: Registrar,
    ) -> (watch::Receiver<RegistrationState>, Self) {
        let (states, state) = watch::channel(RegistrationState::Pending);
        (state, Self { nodes: nodes.collect(), desired, registrar, states })
    }

    /// Follows the nodes until the last of them has ended.
    pub(crate) async fn run(mut self) {
        let mut adopted = 0;
        let mut is_over = false;
        while !is_over {
            let latest: Vec<_> =
                self.nodes.iter_mut().map(|(_, states)| states.borrow_and_update().clone()).collect();
            let next = together(&latest);
            self.states.send_if_modified(|state| {
                let is_news = *state != next;
                *state = next;
                is_news
            });
            let now = self.desired.foreign_writes().adopted;
            if now > std::mem::replace(&mut adopted, now) {
                self.write_all();
            }
            is_over = changed(&mut self.nodes).await;
        }
    }

    /// Has every node say what is wanted.
    fn write_all(&self) {
        for (key, _) in &self.nodes {
            let (done, _) = oneshot::channel();
            self.registrar.command(Command::Update { key: *key, done });
        }
    }
}

/// Waits until the state of a node is another one; `true`: all of them have ended.
async fn changed(nodes: &mut [(Key, watch::Receiver<RegistrationState>)]) -> bool {
    let mut waiting: Vec<_> = nodes.iter_mut().map(|(_, states)| Box::pin(states.changed())).collect();
    while !waiting.is_empty() {
        let (changed, _, rest) = select_all(waiting).await;
        if changed.is_ok() {
            return false;
        }
        waiting = rest;
    }
    true
}

/// The state of a registration whose nodes have these: the one that most wants attention. Those that were withdrawn count only
/// once all of them are.
fn together(nodes: &[RegistrationState]) -> RegistrationState {
    use RegistrationState::{Registered, Retrying, Suspended, Withdrawn};
    let in_force = || nodes.iter().filter(|state| !matches!(state, Withdrawn(_)));
    let standing =
        || in_force().map(standing).collect::<Option<Vec<Zxid>>>().and_then(|all| all.into_iter().max());
    match (in_force().max_by_key(|state| concern(state)), standing()) {
        (None, _) => Withdrawn(worst_end(nodes)),
        (Some(Registered { .. }), Some(zxid)) => Registered { zxid },
        (Some(Suspended { .. }), Some(zxid)) => Suspended { zxid },
        (Some(Retrying { cause, .. }), standing) => Retrying { cause: cause.clone(), standing },
        (Some(other), _) => other.clone(),
    }
}

/// How much a state wants attention.
fn concern(state: &RegistrationState) -> u8 {
    match state {
        RegistrationState::Withdrawn(_) | RegistrationState::Drained { .. } => 0,
        RegistrationState::Registered { .. } => 1,
        RegistrationState::Suspended { .. } => 2,
        RegistrationState::Pending => 3,
        RegistrationState::Retrying { .. } => 4,
        RegistrationState::Conflict { .. } => 5,
        RegistrationState::Failed(_) => 6,
    }
}

/// The write that made what the node says, if it stands.
fn standing(state: &RegistrationState) -> Option<Zxid> {
    match *state {
        RegistrationState::Registered { zxid } | RegistrationState::Suspended { zxid } => Some(zxid),
        RegistrationState::Retrying { standing, .. } => standing,
        _ => None,
    }
}

fn worst_end(nodes: &[RegistrationState]) -> Withdrawn {
    Withdrawn::worst(nodes.iter().filter_map(|state| match state {
        RegistrationState::Withdrawn(outcome) => Some(*outcome),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn the_state_is_that_of_the_node_which_most_wants_attention() {
        use RegistrationState::{
            Conflict, Drained, Failed, Pending, Registered, Retrying, Suspended, Withdrawn as Gone,
        };
        let [one, two] = [Zxid(1), Zxid(2)];
        let (cause, with) = (Error::new(ErrorKind::NoAuth, "no"), "them".to_owned());
        let retrying = |standing| Retrying { cause: cause.clone(), standing };
        for (nodes, expected) in [
            ([Registered { zxid: two }, Registered { zxid: one }], Registered { zxid: two }),
            ([Registered { zxid: two }, Suspended { zxid: one }], Suspended { zxid: two }),
            ([Registered { zxid: two }, Pending], Pending),
            ([Registered { zxid: two }, retrying(None)], retrying(None)),
            ([Registered { zxid: two }, retrying(Some(one))], retrying(Some(two))),
            ([Conflict { with: with.clone() }, retrying(None)], Conflict { with: with.clone() }),
            ([Conflict { with }, Failed(cause.clone())], Failed(cause.clone())),
            ([Registered { zxid: one }, Drained { zxid: two }], Registered { zxid: one }),
            ([Pending, Drained { zxid: two }], Pending),
            ([Registered { zxid: one }, Gone(Withdrawn::Confirmed)], Registered { zxid: one }),
            ([Gone(Withdrawn::Superseded), Gone(Withdrawn::Confirmed)], Gone(Withdrawn::Superseded)),
        ] {
            let [first, second] = nodes.clone();
            assert_eq!(together(&nodes), expected, "{nodes:?}");
            assert_eq!(together(&[second, first]), expected, "{nodes:?}");
        }
    }
}
