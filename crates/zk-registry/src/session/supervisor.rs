//! The supervisor: sole owner of the connection to ZooKeeper. One turn of its loop is one session, an "epoch".
//!
//! Losing a session is a normal event: the next turn opens another one, and whoever depends on it (the registrar, the
//! views) starts over. The supervisor registers nothing and watches nothing.
//!
//! It gives up on a silent connection *before* the client crate does: past its own deadline the crate's task may spin for
//! ever when connecting fails synchronously (network gone, descriptors exhausted).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::greeting::{Refusal, greet, refused};
use super::ids::Sessions;
use super::last_heard::LastHeard;
use super::settings::SessionSettings;
use super::{Command, ConnectionState, Link, Phase};
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind};
use crate::store::{Connect, ConnectFault, End, State, Store, patience};
use crate::withdrawn::Withdrawn;

/// How long an orphaned registry, all of whose handles were dropped, tries to say goodbye.
const ORPHAN_CLOSE: Duration = Duration::from_secs(5);
/// The bounds of the delay after the first greeting that failed on a connection that lasts, and after many.
const FIRST_GREETING: Duration = Duration::from_millis(100);
const LAST_GREETING: Duration = Duration::from_secs(5);
/// How long to wait before credentials that were refused are tried again: each try leaves a session on the server.
const AUTH_RETRY: Duration = Duration::from_secs(30);

/// The task that keeps one session open. `run` it once.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) settings: SessionSettings,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) heard: LastHeard,
    pub(crate) seed: u64,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) state: watch::Sender<ConnectionState>,
}

/// How an epoch ended.
enum Ended {
    /// The supervisor is done.
    Closed,
    /// The session is lost; the next epoch may begin at once.
    Lost,
    /// The server does not know us.
    Unauthenticated(Error),
    /// Waiting cannot cure it.
    Failed(Error),
}

impl Supervisor {
    /// Keeps a session open until told to close, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        // A server that was away restarts the clocks of its sessions: who is back well within the session timeout replaces
        // what an earlier session left behind before that expires, and no reader misses it.
        let longest = (self.settings.session_timeout / 4).min(Duration::from_secs(5));
        let mut backoff = Backoff::new(Duration::from_millis(100).min(longest), longest);
        loop {
            let attempt = self.connect.connect();
            let failure = tokio::select! {
                biased;
                command = self.commands.recv() => match self.without_session(command) {
                    Some(()) => return,
                    None => continue,
                },
                opened = attempt => match opened {
                    Ok(store) => {
                        let ended = self.serve(store, &mut rng).await;
                        let was_up = self.link.borrow().ups > 0;
                        if was_up {
                            backoff.reset();
                        }
                        match ended {
                            Ended::Closed => return,
                            Ended::Lost if was_up => None,
                            Ended::Lost => {
                                let message = "a session was opened, but its first request was never answered";
                                Some((Error::new(ErrorKind::Unavailable, message), backoff.delay(&mut rng)))
                            }
                            Ended::Unauthenticated(error) => Some((error, AUTH_RETRY)),
                            Ended::Failed(error) => return self.fail(error).await,
                        }
                    }
                    Err(ConnectFault::Invalid(why)) => return self.fail(Error::new(ErrorKind::Invalid, why)).await,
                    Err(ConnectFault::Auth(why)) => Some((Error::new(ErrorKind::AuthFailed, why), AUTH_RETRY)),
                    Err(ConnectFault::Unavailable(why)) => {
                        Some((Error::new(ErrorKind::Unavailable, why), backoff.delay(&mut rng)))
                    }
                },
            };
            let delay = failure.as_ref().map_or(Duration::ZERO, |(_, delay)| *delay);
            self.announce_failure(failure.map(|(error, _)| error));
            tokio::select! {
                biased;
                command = self.commands.recv() => if self.without_session(command).is_some() { return },
                () = sleep(delay) => {}
            }
        }
    }

    /// One epoch: from an open session to its end.
    async fn serve(&mut self, store: Arc<dyn Store>, rng: &mut SmallRng) -> Ended {
        let id = store.id();
        self.sessions.began(id);
        self.link.send_modify(|link| (link.epoch, link.ups) = (link.epoch + 1, 0));
        let granted = store.timeout();
        if granted != self.settings.session_timeout {
            let asked = self.settings.session_timeout;
            warn!(?asked, ?granted, "the server clamped the session timeout");
        }
        let ended = self.keep(&store, rng).await;
        self.sessions.ended(id);
        self.link.send_modify(|link| (link.phase, link.store) = (Phase::Connecting, None));
        ended
    }

    /// Follows the session's state until it is over, given up, or no longer wanted.
    async fn keep(&mut self, store: &Arc<dyn Store>, rng: &mut SmallRng) -> Ended {
        let patience = patience(store.timeout(), store.connection_timeout());
        let pulse = store.connection_timeout() / 8;
        let mut states = store.states();
        let mut greeting = Some(self.greet(store));
        let mut greet_at: Option<Instant> = None;
        let mut backoff = Backoff::new(FIRST_GREETING, LAST_GREETING);
        let mut silent_since: Option<Instant> = None;
        let mut next_pulse = Instant::now() + pulse;
        loop {
            let greeted = OptionFuture::from(greeting.as_mut());
            let greet = OptionFuture::from(greet_at.map(sleep_until));
            let give_up = OptionFuture::from(silent_since.map(|since| sleep_until(since + patience)));
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Close { within, done }) => {
                        self.close(store, within, Some(done)).await;
                        return Ended::Closed;
                    }
                    None => {
                        self.close(store, ORPHAN_CLOSE, None).await;
                        return Ended::Closed;
                    }
                    Some(Command::Replaced { epoch }) if epoch == self.link.borrow().epoch => {
                        warn!("the server put another session in the place of ours; starting over");
                        store.abort();
                        return Ended::Lost;
                    }
                    Some(Command::Replaced { .. }) => {}
                },
                state = states.changed() => match state {
                    State::Connected => {
                        (silent_since, greet_at) = (None, None);
                        greeting = Some(self.greet(store));
                    }
                    State::Disconnected => {
                        (greeting, greet_at) = (None, None);
                        let since = *silent_since.get_or_insert_with(Instant::now);
                        self.suspend(since);
                    }
                    State::Over(end) => {
                        info!(session = format_args!("{:#x}", store.id()), ?end, "session over");
                        store.abort();
                        return match end {
                            End::AuthFailed => Ended::Unauthenticated(refused()),
                            End::Closed | End::Expired => Ended::Lost,
                        };
                    }
                },
                Some(greeted) = greeted => {
                    greeting = None;
                    match greeted {
                        Ok(()) => {
                            backoff.reset();
                            self.heard.stamp(Instant::now(), pulse);
                            self.up(store);
                        }
                        // If the connection broke meanwhile, the next `Connected` greets again; if not, nobody else would.
                        Err(Refusal::Lost) => greet_at = Some(Instant::now() + backoff.delay(rng)),
                        Err(Refusal::Unauthenticated(error)) => {
                            store.abort();
                            return Ended::Unauthenticated(error);
                        }
                        Err(Refusal::TooOld) => {
                            store.abort();
                            let message = "the server lacks an operation: ZooKeeper 3.6 or later is needed, 3.7 with credentials";
                            return Ended::Failed(Error::new(ErrorKind::ServerTooOld, message));
                        }
                    }
                }
                Some(()) = greet => {
                    greet_at = None;
                    greeting = Some(self.greet(store));
                }
                Some(()) = give_up => {
                    info!(session = format_args!("{:#x}", store.id()), "silent for too long, giving the session up");
                    store.abort();
                    return Ended::Lost;
                }
                () = sleep_until(next_pulse) => {
                    let now = Instant::now();
                    // After a sleep of the whole process the client crate's task may not have looked at its clock yet.
                    let is_late = now > next_pulse + pulse;
                    if silent_since.is_none() && !is_late {
                        self.heard.stamp(now, pulse);
                    }
                    next_pulse = now + pulse;
                }
            }
        }
    }

    fn greet(&self, store: &Arc<dyn Store>) -> BoxFuture<'static, Result<(), Refusal>> {
        let first = self.link.borrow().ups == 0;
        greet(store, first, &self.settings)
    }

    fn up(&self, store: &Arc<dyn Store>) {
        self.link.send_modify(|link| {
            link.ups += 1;
            link.phase = Phase::Up;
            link.store = Some(store.clone());
        });
        let session_timeout = store.timeout();
        self.state.send_replace(ConnectionState::Connected { session_timeout, local: store.local() });
        info!(session = format_args!("{:#x}", store.id()), ?session_timeout, "connected");
    }

    fn suspend(&self, since: Instant) {
        self.link.send_if_modified(|link| {
            let up = link.phase == Phase::Up;
            if up {
                link.phase = Phase::Suspended { since };
            }
            up
        });
        self.state.send_replace(ConnectionState::Suspended);
        info!("connection lost");
    }

    async fn close(
        &self,
        store: &Arc<dyn Store>,
        within: Duration,
        done: Option<oneshot::Sender<Withdrawn>>,
    ) {
        // Whoever lives on the session stops first, so that nothing is queued behind the goodbye.
        self.link.send_modify(|link| link.phase = Phase::Closed);
        let acknowledged = timeout(within.saturating_add(Duration::from_secs(1)), store.close(within))
            .await
            .unwrap_or(false);
        store.abort();
        let outcome = if acknowledged {
            Withdrawn::Confirmed
        } else {
            Withdrawn::Unconfirmed { gone_within: store.timeout() }
        };
        self.closed(outcome, done);
    }

    /// A command while there is no session; `Some` when that was the end.
    fn without_session(&self, command: Option<Command>) -> Option<()> {
        let done = match command {
            Some(Command::Replaced { .. }) => return None,
            Some(Command::Close { done, .. }) => Some(done),
            None => None,
        };
        let outcome = if self.sessions.with(|ids| ids.earlier.is_empty()) {
            Withdrawn::Confirmed
        } else {
            Withdrawn::Unconfirmed { gone_within: self.settings.session_timeout }
        };
        self.closed(outcome, done);
        Some(())
    }

    /// The last word, also for those who ask later.
    fn closed(&self, outcome: Withdrawn, done: Option<oneshot::Sender<Withdrawn>>) {
        self.link.send_modify(|link| {
            (link.phase, link.store, link.closed) = (Phase::Closed, None, Some(outcome));
        });
        self.state.send_replace(ConnectionState::Closed);
        // Nobody may be waiting any more.
        let _ = done.map(|done| done.send(outcome));
    }

    /// Ends in `Failed`: says so until told to close.
    async fn fail(mut self, error: Error) {
        warn!(%error, "giving up on ZooKeeper");
        self.state.send_replace(ConnectionState::Failed(error.clone()));
        self.link.send_modify(|link| {
            (link.phase, link.store, link.failed) = (Phase::Closed, None, Some(error));
        });
        while let Some(command) = self.commands.recv().await {
            if self.without_session(Some(command)).is_some() {
                return;
            }
        }
    }

    fn announce_failure(&self, failure: Option<Error>) {
        let Some(error) = failure else {
            self.state.send_replace(ConnectionState::Connecting { last: None });
            return;
        };
        self.state.send_if_modified(|state| {
            let news = !matches!(state, ConnectionState::Connecting { last: Some(last) } if last.to_string() == error.to_string());
            if news {
                warn!(%error, "cannot reach ZooKeeper, trying on");
            }
            *state = ConnectionState::Connecting { last: Some(error) };
            news
        });
    }
}
