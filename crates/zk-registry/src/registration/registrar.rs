//! The handle to the task that keeps the registrations of one session true, and what can be asked of it.
//!
//! `task.rs` runs the rounds, `verdicts.rs` judges their answers with the pure decision of `entry.rs`, `requests.rs` does
//! the talking.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot, watch};

use super::book::Book;
use super::entry::Identity;
use super::task::Task;
use super::{Registering, RegistrationState, Wanted, Withdrawn};
use crate::connect::Acl;
use crate::error::Error;
use crate::format::Format;
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::path::BasePath;
use crate::session::{Command, Link, Sessions};
use crate::snapshot::Zxid;

/// One registration of one registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(pub(super) u64);

impl Key {
    /// A key that was never used in this process.
    pub(crate) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What the registrar is told.
pub(crate) enum Order {
    /// Somebody saw the node of this path change.
    Nudge {
        path: String,
    },
    Register(Box<New>),
    /// The wanted attributes changed.
    Update {
        key: Key,
        done: oneshot::Sender<Result<Zxid, Error>>,
    },
    Withdraw {
        key: Key,
        done: Option<oneshot::Sender<Withdrawn>>,
    },
}

/// A registration that begins.
pub(crate) struct New {
    pub(crate) key: Key,
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
    pub(crate) path: String,
    pub(crate) instance: Instance,
    pub(crate) how: Registering,
    pub(crate) wanted: Arc<Wanted>,
    pub(crate) states: watch::Sender<RegistrationState>,
}

/// The handle to one session's registrar.
#[derive(Clone)]
pub(crate) struct Registrar {
    book: Arc<Book>,
    orders: mpsc::UnboundedSender<Order>,
    session_timeout: Arc<AtomicU64>,
    load: Arc<AtomicUsize>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("load", &self.load).finish_non_exhaustive()
    }
}

impl Registrar {
    pub(crate) fn order(&self, order: Order) {
        // An ended registrar has nothing left to do; whoever waits for an answer learns from the dropped channel.
        let _ = self.orders.send(order);
    }

    pub(crate) fn register(&self, new: New) {
        if let Err(SendError(Order::Register(new))) = self.orders.send(Order::Register(Box::new(new))) {
            // Its registry was closed before: nothing of it was ever sent.
            new.states.send_replace(RegistrationState::Withdrawn(Withdrawn::Confirmed));
        }
    }

    /// Withdraws a registration. From now on whoever registers the same waits for it, instead of being in conflict with it.
    pub(super) fn withdraw(&self, path: &str, key: Key, done: Option<oneshot::Sender<Withdrawn>>) {
        self.book.announce_leave(path, key);
        self.order(Order::Withdraw { key, done });
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout.load(Ordering::Relaxed))
    }

    /// The ephemeral path bytes that its session owns, or is about to.
    pub(crate) fn load(&self) -> &AtomicUsize {
        &self.load
    }
}

/// What a registrar needs to know of its registry.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) base: BasePath,
    pub(crate) format: Arc<dyn Format>,
    pub(crate) acl: Acl,
    pub(crate) audit_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) chroot_len: usize,
    /// Where every jitter of this registry comes from.
    pub(crate) seed: u64,
    pub(crate) us: Arc<Identity>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) book: Arc<Book>,
}

/// A registrar and the task behind it, which has to be run.
pub(crate) fn registrar(
    context: Context,
    link: watch::Receiver<Link>,
    supervisor: mpsc::WeakUnboundedSender<Command>,
) -> (Registrar, Task) {
    let (sender, orders) = mpsc::unbounded_channel();
    let session_timeout = Arc::new(AtomicU64::new(millis(context.session_timeout)));
    let load = Arc::new(AtomicUsize::new(0));
    let handle = Registrar {
        book: context.book.clone(),
        orders: sender,
        session_timeout: session_timeout.clone(),
        load: load.clone(),
    };
    (handle, Task::new(context, orders, link, supervisor, session_timeout, load))
}

/// What a path costs the transaction that closes its session: the server writes every path into it.
pub(crate) fn path_load(path: &str, chroot_len: usize) -> usize {
    path.len() + chroot_len + 4
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
