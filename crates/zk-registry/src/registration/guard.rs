//! The guard of one registration, which its user holds.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

use super::desired::Desired;
use super::holders::Key;
use super::registrar::{Command, Goodbye, Registrar};
use super::state::{ForeignWrites, RegistrationState, closed};
use super::token::{FencingToken, TokenCell};
use crate::error::{Error, ErrorKind};
use crate::instance::{Attributes, InstanceId};
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// An instance that is kept registered through expiries and outages until this guard is withdrawn or dropped.
///
/// Dropping it withdraws, best effort and silently.
#[must_use = "dropping a registration withdraws the instance"]
pub struct Registration {
    id: InstanceId,
    /// One for each source. None: it has failed before anything was sent.
    nodes: Vec<Node>,
    desired: Arc<Desired>,
    /// The state of all nodes together.
    states: watch::Receiver<RegistrationState>,
    registrar: Registrar,
    /// The guard keeps its registry alive.
    _registry: Option<Arc<dyn Any + Send + Sync>>,
}

/// The node of a registration in one source.
pub(super) struct Node {
    /// Its first path.
    pub(super) path: String,
    pub(super) held: String,
    pub(super) key: Key,
    pub(super) states: watch::Receiver<RegistrationState>,
    pub(super) token: TokenCell,
}

impl Registration {
    pub(super) fn new(
        id: InstanceId,
        nodes: Vec<Node>,
        desired: Arc<Desired>,
        states: watch::Receiver<RegistrationState>,
        registrar: Registrar,
        registry: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self { id, nodes, desired, states, registrar, _registry: Some(registry) }
    }

    /// The id under which the instance is listed.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// The path of its node, without the chroot; the first one, where the format moves a node whose attributes change. Of a
    /// registration in several sources that of the first source; empty for one that never could be made.
    pub fn path(&self) -> &str {
        self.nodes.first().map_or("", |node| &node.path)
    }

    /// The [path](Self::path) of the node in each source that is written, in their order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(|node| node.path.as_str())
    }

    /// What the node should say now; it follows a foreign write of status or weight, which is adopted.
    pub fn attributes(&self) -> Attributes {
        self.desired.current()
    }

    /// Counts of the foreign writes to the node so far. Each such write is followed by one of ours, which is a change of
    /// [`states`](Self::states).
    pub fn foreign_writes(&self) -> ForeignWrites {
        self.desired.foreign_writes()
    }

    /// Where the registration stands, now and from now on. With several sources it is the worst of their states: it is registered
    /// once every node stands. One that fails in one source has failed; its other nodes stand until it is withdrawn or dropped.
    pub fn states(&self) -> watch::Receiver<RegistrationState> {
        self.states.clone()
    }

    /// The fencing token of the node that stands for the instance, while it is registered or its connection is lost; `None`
    /// otherwise. With several sources it is the first one's.
    pub fn token(&self) -> Option<FencingToken> {
        self.nodes.first().and_then(|node| node.token.get())
    }

    /// Waits until the instance is registered, and returns the write that made it so. One that drains without a node
    /// ([`RegistrationState::Drained`]) counts as registered.
    ///
    /// # Errors
    ///
    /// The reason of [`RegistrationState::Failed`]; [`ErrorKind::Closed`] after the registry was closed;
    /// [`ErrorKind::AuthFailed`] while no server takes our credentials: it is tried on, and can be waited for again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn registered(&mut self) -> Result<Zxid, Error> {
        loop {
            match &*self.states.borrow_and_update() {
                RegistrationState::Registered { zxid } | RegistrationState::Drained { zxid } => {
                    return Ok(*zxid);
                }
                RegistrationState::Failed(error) => return Err(error.clone()),
                RegistrationState::Withdrawn(_) => return Err(closed()),
                RegistrationState::Retrying { cause, .. } if cause.kind() == ErrorKind::AuthFailed => {
                    return Err(cause.clone());
                }
                _ => {}
            }
            self.states.changed().await.map_err(|_| closed())?;
        }
    }

    /// Waits, at most `within`, until the instance is registered, and returns the write that made it so. It is tried on after
    /// that time. The background side keeps the time: the caller needs no runtime.
    ///
    /// # Errors
    ///
    /// After `within`, why it is not registered: [`ErrorKind::Conflict`] when the place is taken, the cause of
    /// [`RegistrationState::Retrying`], or [`ErrorKind::Unavailable`]. Also those of [`registered`](Self::registered).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn registered_within(&mut self, within: Duration) -> Result<Zxid, Error> {
        let (done, alarm) = oneshot::channel();
        self.registrar.command(Command::Alarm { within, done });
        let registered = tokio::select! {
            biased;
            registered = self.registered() => Some(registered),
            Ok(()) = alarm => None,
        };
        registered.unwrap_or_else(|| Err(self.unregistered(within)))
    }

    /// Why it is not registered yet.
    fn unregistered(&self, within: Duration) -> Error {
        let message = format!("{} was not registered within {within:?}", self.path());
        match &*self.states.borrow() {
            RegistrationState::Retrying { cause, .. } => {
                Error::with_source(cause.kind(), format!("{message}: {cause}"), cause.clone())
            }
            RegistrationState::Conflict { with } => {
                Error::new(ErrorKind::Conflict, format!("{message}: the place is taken by {with}"))
            }
            _ => Error::new(ErrorKind::Unavailable, message),
        }
    }

    /// Changes weight, zone, status or metadata in place, without a membership event, and waits until ZooKeeper has it, in every
    /// source: returns the last write that made it so. In a format whose readers know no draining the status draining takes the node
    /// away, and [`Status::Up`](crate::Status::Up) brings it back; what is returned is then the last write to the node. The newest update wins, also over a reconnect. `change` runs in the first poll;
    /// it may block, and look at the registration.
    ///
    /// It waits as long as ZooKeeper is down, or a foreign node stands in the place; put a timeout around it if that matters.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] or [`ErrorKind::TooLarge`] when the record cannot carry it (nothing changes then);
    /// [`ErrorKind::Closed`] after a withdrawal or close; the reason of [`RegistrationState::Failed`]; what ZooKeeper refused
    /// the write with ([`ErrorKind::NoAuth`], say): the change stays wanted then, and is written once ZooKeeper allows it.
    ///
    /// # Cancel safety
    ///
    /// The change is wanted from the first poll on; dropping the future only stops waiting for it.
    pub async fn update(&self, change: impl FnOnce(&mut Attributes)) -> Result<Zxid, Error> {
        if let RegistrationState::Failed(error) = &*self.states.borrow() {
            return Err(error.clone());
        }
        self.desired.change(change)?;
        let ask = |node: &Node| {
            let (done, answer) = oneshot::channel();
            self.registrar.command(Command::Update { key: node.key, done });
            answer
        };
        let answers: Vec<_> = self.nodes.iter().map(ask).collect();
        let mut last = Zxid::default();
        for answer in answers {
            last = last.max(answer.await.map_err(|_| closed())??);
        }
        Ok(last)
    }

    /// Withdraws the instance and waits, at most `within`, until its node is gone. The background side keeps the time: the
    /// caller needs no runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future withdraws all the same, unacknowledged.
    pub async fn withdraw(self, within: Duration) -> Withdrawn {
        let ask = |node: &Node| {
            let (done, answer) = oneshot::channel();
            self.registrar.withdraw(&node.held, node.key, Some(Goodbye { within, done }));
            answer
        };
        let answers: Vec<_> = self.nodes.iter().map(ask).collect();
        let answers = join_all(answers).await.into_iter().zip(&self.nodes);
        Withdrawn::worst(answers.map(|(answer, node)| answer.unwrap_or_else(|_| self.last_word(node))))
    }

    /// How the registration of a node ended: its registrar ended with its registry, and said it in the last state.
    fn last_word(&self, node: &Node) -> Withdrawn {
        match &*node.states.borrow() {
            RegistrationState::Withdrawn(outcome) => *outcome,
            _ => Withdrawn::Unconfirmed { gone_within: self.registrar.session_timeout() },
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.registrar.withdraw(&node.held, node.key, None);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("path", &self.path())
            .field("state", &*self.states.borrow())
            .finish_non_exhaustive()
    }
}
