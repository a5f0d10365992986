//! The sessions of one registry, and which of them carries what.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::info;

use super::background::Background;
use crate::error::Error;
use crate::registration::{self, Context, Registrar, path_load};
use crate::session::last_heard::LastHeard;
use crate::session::{Command, ConnectionState, Link, Phase, SessionSettings, SessionStates, Supervisor};
use crate::store::Connect;
use crate::withdrawn::Withdrawn;

/// The most ephemeral path bytes that one session owns.
///
/// The server closes a session in one transaction that carries every path; past its packet limit (1 MB by default) that
/// transaction is written but can never be read again, and the server does not start any more (ZOOKEEPER-4306).
const SESSION_PATH_BYTES: usize = 512 * 1024;

/// The most watched path bytes on one session, unless a single path is longer.
///
/// After a reconnect the client crate watches all paths again. Past 128 KiB it splits them into two requests, and takes the
/// second answer for a broken connection: no reconnect would ever succeed.
const WATCHED_PATH_BYTES: usize = 96 * 1024;

/// The sessions of one registry.
pub(super) struct Slots {
    pub(super) background: Background,
    pub(super) context: Context,
    connect: Arc<dyn Connect>,
    settings: SessionSettings,
    /// The right to connect: one session at a time.
    turn: Arc<Semaphore>,
    states: Arc<SessionStates>,
    /// The registrars of all slots, for views that saw one of our nodes change.
    pub(super) registrars: Arc<Mutex<Vec<Registrar>>>,
    first: First,
    open: Mutex<Open>,
}

/// What is asked of the first session by name.
struct First {
    link: watch::Receiver<Link>,
    state: watch::Receiver<ConnectionState>,
}

struct Open {
    /// At least one.
    slots: Vec<Slot>,
    /// No further one is opened: nothing would close it.
    closed: bool,
}

/// One session and what lives on it.
struct Slot {
    supervisor: mpsc::UnboundedSender<Command>,
    link: watch::Receiver<Link>,
    registrar: Registrar,
    last_heard: LastHeard,
    /// The path bytes that views watch.
    watched: Arc<AtomicUsize>,
}

/// The place of one view on a session. Dropping it makes room for another one.
pub(super) struct Place {
    pub(super) link: watch::Receiver<Link>,
    pub(super) last_heard: LastHeard,
    load: usize,
    watched: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watched.fetch_sub(self.load, Ordering::Relaxed);
    }
}

/// The goodbyes that were said to all sessions.
pub(super) struct Goodbyes(Vec<(LastWord, oneshot::Receiver<Withdrawn>)>);

/// The last words that all supervisors left, or will leave, in their links.
pub(super) struct LastWords(Vec<LastWord>);

#[derive(Clone)]
struct LastWord {
    link: watch::Receiver<Link>,
    registrar: Registrar,
}

impl Slots {
    /// One slot, and the worst state of all that there will be. After `failed` it never connects.
    pub(super) fn new(
        background: Background,
        connect: Arc<dyn Connect>,
        context: Context,
        settings: SessionSettings,
        failed: Option<Error>,
    ) -> (Self, watch::Receiver<ConnectionState>) {
        let (states, worst) = SessionStates::new();
        let opening = Opening {
            background: &background,
            connect: &connect,
            context: &context,
            settings: &settings,
            turn: &Arc::new(Semaphore::new(1)),
            states: &states,
        };
        let turn = opening.turn.clone();
        let (slot, state) = opening.open(failed);
        let registrars = Arc::new(Mutex::new(vec![slot.registrar.clone()]));
        let first = First { link: slot.link.clone(), state };
        let open = Mutex::new(Open { slots: vec![slot], closed: false });
        (Self { background, context, connect, settings, turn, states, registrars, first, open }, worst)
    }

    pub(super) fn first_state(&self) -> watch::Receiver<ConnectionState> {
        self.first.state.clone()
    }

    pub(super) fn first_link(&self) -> watch::Receiver<Link> {
        self.first.link.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().slots.len()
    }

    /// A registrar whose session has room for `load` more path bytes; of a closed registry any, which will say so.
    pub(super) fn registrar_for(&self, load: usize) -> Registrar {
        let has_room =
            |slot: &Slot| slot.registrar.load().load(Ordering::Relaxed) + load <= SESSION_PATH_BYTES;
        self.with_slot(has_room, "registered", |slot| {
            slot.registrar.load().fetch_add(load, Ordering::Relaxed);
            slot.registrar.clone()
        })
    }

    /// A place for a view that watches this path, without the chroot.
    pub(super) fn place_for(&self, path: &str) -> Place {
        let load = path_load(path, self.context.chroot_len);
        let has_room = |slot: &Slot| {
            let watched = slot.watched.load(Ordering::Relaxed);
            watched == 0 || watched + load <= WATCHED_PATH_BYTES
        };
        self.with_slot(has_room, "watched", |slot| {
            slot.watched.fetch_add(load, Ordering::Relaxed);
            Place {
                link: slot.link.clone(),
                last_heard: slot.last_heard.clone(),
                load,
                watched: slot.watched.clone(),
            }
        })
    }

    /// Closes every session, and opens no further one.
    pub(super) fn close(&self, within: Duration) -> Goodbyes {
        let goodbye = |slot: &Slot| {
            let (done, answer) = oneshot::channel();
            // A supervisor that has ended has left its last word in the link.
            let _ = slot.supervisor.send(Command::Close { within, done });
            (LastWord { link: slot.link.clone(), registrar: slot.registrar.clone() }, answer)
        };
        let mut open = self.lock();
        open.closed = true;
        Goodbyes(open.slots.iter().map(goodbye).collect())
    }

    /// The first slot with room, or a further one. Of a closed registry the first one will do.
    fn with_slot<T>(&self, has_room: impl Fn(&Slot) -> bool, what: &str, take: impl Fn(&Slot) -> T) -> T {
        let mut open = self.lock();
        let closed = open.closed;
        if let Some(slot) = open.slots.iter().find(|slot| closed || has_room(slot)) {
            return take(slot);
        }
        let opening = Opening {
            background: &self.background,
            connect: &self.connect,
            context: &self.context,
            settings: &self.settings,
            turn: &self.turn,
            states: &self.states,
        };
        // A registry that failed would fail with every further session.
        let failed = match &*self.first.state.borrow() {
            ConnectionState::Failed(error) => Some(error.clone()),
            _ => None,
        };
        let (slot, _) = opening.open(failed);
        let taken = take(&slot);
        self.registrars.lock().unwrap_or_else(PoisonError::into_inner).push(slot.registrar.clone());
        open.slots.push(slot);
        info!(
            sessions = open.slots.len(),
            "the sessions' share of {what} paths is full, opening a further one"
        );
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every session is opened with.
struct Opening<'a> {
    background: &'a Background,
    connect: &'a Arc<dyn Connect>,
    context: &'a Context,
    settings: &'a SessionSettings,
    turn: &'a Arc<Semaphore>,
    states: &'a Arc<SessionStates>,
}

impl Opening<'_> {
    /// Opens a session, unless it is known to fail.
    fn open(&self, failed: Option<Error>) -> (Slot, watch::Receiver<ConnectionState>) {
        let (supervisor, commands) = mpsc::unbounded_channel();
        let hopeless = failed.is_some();
        let state = self.states.add(match &failed {
            Some(error) => ConnectionState::Failed(error.clone()),
            None => ConnectionState::Connecting { last: None },
        });
        let pending = Link {
            epoch: 0,
            ups: 0,
            greetings: 0,
            phase: if hopeless { Phase::Closed } else { Phase::Connecting },
            store: None,
            closed: hopeless.then_some(Withdrawn::Confirmed),
            failed,
            refused: None,
        };
        let (link_sender, link) = watch::channel(pending);
        let (registrar, task) =
            registration::registrar(self.context.clone(), link.clone(), supervisor.downgrade());
        self.background.spawn(task.run());
        let last_heard = LastHeard::new(Instant::now());
        let own_state = state.subscribe();
        if !hopeless {
            let supervisor = Supervisor {
                connect: self.connect.clone(),
                settings: self.settings.clone(),
                sessions: self.context.sessions.clone(),
                counters: self.context.counters.clone(),
                last_heard: last_heard.clone(),
                turn: self.turn.clone(),
                seed: self.context.seed,
                commands,
                link: link_sender,
                state,
                unsettled: None,
            };
            self.background.spawn(supervisor.run());
        }
        (Slot { supervisor, link, registrar, last_heard, watched: Arc::default() }, own_state)
    }
}

impl Goodbyes {
    /// The same sessions, for when no answer comes.
    pub(super) fn last_words(&self) -> LastWords {
        LastWords(self.0.iter().map(|(last_word, _)| last_word.clone()).collect())
    }

    /// Waits for the answers, at most `within`, and returns the worst.
    pub(super) async fn finish(self, within: Duration) -> Withdrawn {
        let outcomes = self.0.into_iter().map(|(last_word, answer)| async move {
            match timeout(within, answer).await {
                Ok(Ok(outcome)) => outcome,
                // Closed before, or meanwhile, by another clone.
                Ok(Err(_)) => last_word.outcome(),
                Err(_) => Withdrawn::Unconfirmed { gone_within: last_word.registrar.session_timeout() },
            }
        });
        Withdrawn::worst(join_all(outcomes).await)
    }
}

impl LastWord {
    fn outcome(&self) -> Withdrawn {
        let unknown = Withdrawn::Unconfirmed { gone_within: self.registrar.session_timeout() };
        self.link.borrow().closed.unwrap_or(unknown)
    }
}

impl LastWords {
    pub(super) fn outcome(&self) -> Withdrawn {
        Withdrawn::worst(self.0.iter().map(LastWord::outcome))
    }
}
