//! The handle to the task that keeps the registrations of one session true, and what can be asked of it.
//!
//! `driver.rs` runs the rounds of `round.rs`; `answers.rs` says what their answers mean, with the pure decision of
//! `decision.rs`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::desired::Desired;
use super::holders::{Holders, Key};
use super::place::Spot;
use super::state::{Registering, RegistrationState};
use super::token::TokenCell;
use crate::error::Error;
use crate::instance::{Instance, InstanceId, ServiceName};
use crate::options::Source;
use crate::snapshot::Zxid;
use crate::withdrawn::Withdrawn;

/// What the registrar is told.
pub(crate) enum Command {
    /// Answer after this time. The background side keeps it, so that the caller needs no runtime.
    Alarm {
        within: Duration,
        done: oneshot::Sender<()>,
    },
    /// A view saw the node of this path change.
    Nudge {
        path: String,
    },
    Register(Box<NewRegistration>),
    /// The wanted attributes changed.
    Update {
        key: Key,
        done: oneshot::Sender<Result<Zxid, Error>>,
    },
    Withdraw {
        key: Key,
        goodbye: Option<Goodbye>,
    },
}

/// A caller that waits for a withdrawal.
pub(crate) struct Goodbye {
    /// How long it waits.
    pub(super) within: Duration,
    pub(super) done: oneshot::Sender<Withdrawn>,
}

impl Goodbye {
    /// Where to send the outcome: the caller is told that it is unconfirmed once its time is over.
    pub(super) fn in_time(self, session_timeout: Arc<AtomicU64>) -> oneshot::Sender<Withdrawn> {
        let Self { within, done } = self;
        let (sender, outcome) = oneshot::channel();
        tokio::spawn(async move {
            let outcome = match timeout(within, outcome).await {
                Ok(Ok(outcome)) => outcome,
                // The registrar has ended, and said in the last state how.
                Ok(Err(_)) => return,
                Err(_) => {
                    let gone_within = Duration::from_millis(session_timeout.load(Ordering::Relaxed));
                    Withdrawn::Unconfirmed { gone_within }
                }
            };
            // The caller may have stopped waiting.
            let _ = done.send(outcome);
        });
        sender
    }
}

/// A registration that begins.
pub(crate) struct NewRegistration {
    pub(crate) key: Key,
    /// Where it stands, and how it is written.
    pub(crate) source: Source,
    pub(crate) service: ServiceName,
    pub(crate) id: InstanceId,
    /// What it holds within the registry: two registrations of one id of a service are never in force at once.
    pub(crate) held: String,
    pub(crate) spot: Spot,
    /// The ephemeral path bytes that it costs its session.
    pub(crate) load: usize,
    pub(crate) instance: Instance,
    pub(crate) registered: SystemTime,
    pub(crate) how: Registering,
    pub(crate) desired: Arc<Desired>,
    pub(crate) states: watch::Sender<RegistrationState>,
    pub(crate) token: TokenCell,
}

/// The handle to one session's registrar.
#[derive(Clone)]
pub(crate) struct Registrar {
    pub(super) holders: Arc<Holders>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) session_timeout: Arc<AtomicU64>,
    pub(super) load: Arc<AtomicUsize>,
}

impl fmt::Debug for Registrar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registrar").field("load", &self.load).finish_non_exhaustive()
    }
}

impl Registrar {
    pub(crate) fn command(&self, command: Command) {
        // An ended registrar has nothing left to do; a caller that waits learns from the dropped channel.
        let _ = self.commands.send(command);
    }

    pub(crate) fn register(&self, new: NewRegistration) {
        if let Err(SendError(Command::Register(new))) = self.commands.send(Command::Register(Box::new(new))) {
            // Its registry was closed before: nothing of it was ever sent.
            new.states.send_replace(RegistrationState::Withdrawn(Withdrawn::Confirmed));
        }
    }

    /// Withdraws a registration. From now on a registration of the same id waits for it, instead of being in conflict with it.
    pub(super) fn withdraw(&self, held: &str, key: Key, goodbye: Option<Goodbye>) {
        self.holders.announce_leave(held, key);
        self.command(Command::Withdraw { key, goodbye });
    }

    /// The node of this path may have changed: if a registration of this registrar holds it, it is read.
    pub(crate) fn nudge(&self, path: &str) {
        self.command(Command::Nudge { path: path.to_owned() });
    }

    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout.load(Ordering::Relaxed))
    }

    /// The ephemeral path bytes that its session owns, or is about to.
    pub(crate) fn load(&self) -> &AtomicUsize {
        &self.load
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
