//! The supervisor: sole owner of the connection to ZooKeeper. One turn of its loop is one session, an "epoch".
//!
//! Losing a session is a normal event: the next turn opens another one, and all that depends on it (the registrar, the
//! views) starts over. The supervisor registers nothing and watches nothing.
//!
//! It gives up on a silent connection *before* the client crate does: past its own deadline the crate's task may spin for
//! ever when connecting fails synchronously (network gone, descriptors exhausted).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::greeting::{Greeting, NotGreeted, refused};
use super::ids::Sessions;
use super::last_heard::LastHeard;
use super::states::StateSender;
use super::{Command, ConnectionState, Link, Phase};
use crate::backoff::Backoff;
use crate::counters::Counters;
use crate::error::{Error, ErrorKind};
use crate::options::{Acl, Chroot, Credentials, Options};
use crate::store::{Connect, ConnectFault, End, State, Store, patience};
use crate::withdrawn::Withdrawn;

/// What a supervisor needs of the options.
#[derive(Clone, Debug)]
pub(crate) struct SessionSettings {
    pub(crate) session_timeout: Duration,
    pub(crate) acl: Acl,
    pub(crate) chroot: Chroot,
    /// The schemes under which the server must know us.
    pub(crate) schemes: Vec<&'static str>,
}

impl From<&Options> for SessionSettings {
    fn from(options: &Options) -> Self {
        let scheme = |credentials: &Credentials| match credentials {
            Credentials::Digest { .. } => "digest",
            Credentials::Sasl { .. } => "sasl",
        };
        Self {
            session_timeout: options.session_timeout,
            acl: options.acl,
            chroot: options.chroot,
            schemes: options.credentials.iter().map(scheme).collect(),
        }
    }
}

/// The time that closing the session may take once every handle to the registry was dropped.
const ORPHAN_CLOSE: Duration = Duration::from_secs(5);
/// The bounds of the delay after the first greeting that failed on a connection that lasts, and after many.
const FIRST_GREETING: Duration = Duration::from_millis(100);
const LAST_GREETING: Duration = Duration::from_secs(5);
/// How long to wait before credentials that were refused are tried again: each try leaves a session on the server.
const AUTH_RETRY: Duration = Duration::from_secs(30);
/// The longest wait before another server is tried, after one refused our credentials.
const OTHER_SERVER: Duration = Duration::from_millis(250);

/// The task that keeps one session open. `run` it once.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) settings: SessionSettings,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) last_heard: LastHeard,
    /// Held while connecting: the sessions of one registry connect one after the other.
    pub(crate) turn: Arc<Semaphore>,
    pub(crate) seed: u64,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) link: watch::Sender<Link>,
    pub(crate) state: StateSender,
    /// The timeout of the longest earlier session whose nodes may still stand.
    pub(crate) unsettled: Option<Duration>,
}

/// How an epoch ended.
enum Ended {
    /// The supervisor is done.
    Closed,
    /// The session may live on at the server, without us; the next epoch may begin at once.
    Abandoned,
    /// The server said that the session expired: its nodes are gone.
    Expired,
    /// The server does not know us.
    Unauthenticated(Error),
    /// Waiting cannot cure it.
    Failed(Error),
}

impl Supervisor {
    /// Keeps a session open until told to close, or until every handle is gone.
    pub(crate) async fn run(mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        // A server that was away restarts the clocks of its sessions: a client that is back well within the session timeout
        // replaces what an earlier session left behind before that expires, and no reader misses it.
        let longest = (self.settings.session_timeout / 4).min(Duration::from_secs(5));
        let mut backoff = Backoff::new(Duration::from_millis(100).min(longest), longest);
        let mut refusals = 0;
        loop {
            let (turn, connect) = (self.turn.clone(), self.connect.clone());
            let attempt = async {
                let _turn = turn.acquire().await;
                connect.connect().await
            };
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
                            refusals = 0;
                        }
                        match ended {
                            Ended::Closed => return,
                            Ended::Abandoned | Ended::Expired if was_up => None,
                            Ended::Abandoned | Ended::Expired => {
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
            let delay = match failure {
                // One member of an ensemble may lack what the others have.
                Some((error, _))
                    if error.kind() == ErrorKind::AuthFailed && refusals < self.other_tries() =>
                {
                    refusals += 1;
                    warn!(%error, "trying another server");
                    (self.settings.session_timeout / 40).min(OTHER_SERVER)
                }
                Some((error, delay)) => {
                    self.announce_failure(error);
                    delay
                }
                None => {
                    self.state.set(ConnectionState::Connecting { last: None });
                    Duration::ZERO
                }
            };
            tokio::select! {
                biased;
                command = self.commands.recv() => if self.without_session(command).is_some() { return },
                () = sleep(delay) => {}
            }
        }
    }

    /// How many refusals in a row may be one server's: the client crate picks among the servers at random.
    fn other_tries(&self) -> usize {
        match self.connect.servers() {
            0 | 1 => 0,
            servers => 2 * servers,
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
        // Before it was up, no task had the session: it owns nothing.
        if !matches!(ended, Ended::Closed | Ended::Expired) && self.link.borrow().ups > 0 {
            self.unsettled = self.unsettled.max(Some(granted));
        }
        self.count(&ended);
        self.sessions.ended(id);
        self.link.send_modify(|link| (link.phase, link.store) = (Phase::Connecting, None));
        ended
    }

    fn count(&self, ended: &Ended) {
        let sessions = &self.counters.sessions;
        let counter = match ended {
            Ended::Closed => &sessions.closed,
            Ended::Abandoned => &sessions.lost,
            Ended::Expired => &sessions.expired,
            Ended::Unauthenticated(_) | Ended::Failed(_) => &sessions.refused,
        };
        counter.add(1);
    }

    /// Follows the session's state until it is over, given up, or no longer wanted.
    async fn keep(&mut self, store: &Arc<dyn Store>, rng: &mut SmallRng) -> Ended {
        let patience = patience(store.timeout(), store.connection_timeout());
        let pulse = store.connection_timeout() / 8;
        let mut states = store.states();
        let mut greeting = Some(self.greet(store));
        let mut greet_at: Option<Instant> = None;
        // The clock of silence runs on while a greeting is tried.
        let mut backoff = Backoff::new(FIRST_GREETING.min(patience / 8), LAST_GREETING.min(patience / 4));
        // Since when the server was not heard: only an answered greeting ends it. The client crate's own deadline runs from
        // the first loss as well, whatever handshakes there were meanwhile.
        let mut silent_since: Option<Instant> = None;
        let mut up_since = Instant::now();
        // Connections that end soon after they began: a request may be what ends them.
        let mut is_flapping = false;
        let mut next_pulse = Instant::now() + pulse;
        loop {
            let greeted = OptionFuture::from(greeting.as_mut());
            let greet = OptionFuture::from(greet_at.map(sleep_until));
            let give_up = OptionFuture::from(silent_since.map(|since| sleep_until(since + patience)));
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    let (within, done) = match command {
                        Some(Command::Close { within, done }) => (within, Some(done)),
                        None => (ORPHAN_CLOSE, None),
                        Some(Command::Replaced { epoch }) if epoch == self.link.borrow().epoch => {
                            warn!("the server put another session in the place of ours; starting over");
                            store.abort();
                            return Ended::Abandoned;
                        }
                        Some(Command::Replaced { .. }) => continue,
                    };
                    let now = Instant::now();
                    if silent_since.is_none() && self.link.borrow().phase == Phase::Up {
                        self.settle(now - up_since);
                    }
                    // Past its own deadline the client crate may spin, also while a caller waits for the goodbye.
                    let left = (silent_since.unwrap_or(now) + patience).saturating_duration_since(now);
                    self.close(store, within.min(left), done).await;
                    return Ended::Closed;
                }
                state = states.changed() => match state {
                    State::Connected if is_flapping => {
                        (greeting, greet_at) = (None, Some(Instant::now() + backoff.delay(rng)));
                    }
                    State::Connected => {
                        greet_at = None;
                        greeting = Some(self.greet(store));
                    }
                    State::Disconnected => {
                        (greeting, greet_at) = (None, None);
                        self.greeted_in_vain();
                        let now = Instant::now();
                        if silent_since.is_none() && self.link.borrow().phase == Phase::Up {
                            is_flapping = now - up_since < store.connection_timeout();
                            if !is_flapping {
                                backoff.reset();
                            }
                        }
                        let since = *silent_since.get_or_insert(now);
                        self.suspend(since);
                    }
                    State::Over(end) => {
                        info!(session = format_args!("{:#x}", store.id()), ?end, "session over");
                        store.abort();
                        // Later than that the client crate may have said so by itself.
                        let is_servers = silent_since.is_none_or(|since| since.elapsed() < patience);
                        return match end {
                            End::AuthFailed => Ended::Unauthenticated(refused()),
                            End::Expired if is_servers => Ended::Expired,
                            End::Closed | End::Expired | End::Abandoned => Ended::Abandoned,
                        };
                    }
                },
                Some(greeted) = greeted => {
                    greeting = None;
                    match greeted {
                        Ok(()) => {
                            (silent_since, up_since) = (None, Instant::now());
                            self.last_heard.stamp(up_since, pulse);
                            self.up(store);
                        }
                        // A session in which others may live is worth more than an identity that comes back with the next
                        // server: what needs it meanwhile is refused, and tried again.
                        Err(NotGreeted::Unknown(error)) if self.link.borrow().ups > 0 => {
                            warn!(%error, "keeping the session all the same");
                            (silent_since, up_since) = (None, Instant::now());
                            self.last_heard.stamp(up_since, pulse);
                            self.up(store);
                        }
                        // If the connection broke meanwhile, the next `Connected` greets again; if not, only this does.
                        Err(NotGreeted::Unanswered(fault)) => {
                            self.greeted_in_vain();
                            if self.link.borrow().ups == 0 {
                                let message = format!("the first requests of a session failed: {fault:?}");
                                self.announce_failure(Error::new(ErrorKind::Unavailable, message));
                            } else {
                                warn!(?fault, "the first requests after a reconnect failed, trying again");
                            }
                            greet_at = Some(Instant::now() + backoff.delay(rng));
                        }
                        Err(NotGreeted::Unknown(error)) => {
                            // Each try would leave a session on the server.
                            store.close(store.connection_timeout()).await;
                            return Ended::Unauthenticated(error);
                        }
                        Err(NotGreeted::Refused(error)) => {
                            store.abort();
                            return Ended::Unauthenticated(error);
                        }
                        Err(NotGreeted::TooOld) => {
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
                    return Ended::Abandoned;
                }
                () = sleep_until(next_pulse) => {
                    let now = Instant::now();
                    // After a sleep of the whole process the client crate's task may not have looked at its clock yet.
                    let is_late = now > next_pulse + pulse;
                    if silent_since.is_none() && !is_late {
                        self.last_heard.stamp(now, pulse);
                    }
                    next_pulse = now + pulse;
                }
            }
        }
    }

    /// Sends the first requests on a connection. Of a session that was never up it is told, so that others can ask right behind.
    fn greet(&self, store: &Arc<dyn Store>) -> BoxFuture<'static, Result<(), NotGreeted>> {
        let first = self.link.borrow().ups == 0;
        let chroot = (first && self.settings.chroot == Chroot::Create).then_some(self.settings.acl);
        let greeting = Greeting { first, schemes: self.settings.schemes.clone(), chroot }.send(store);
        if first {
            self.link.send_modify(|link| {
                link.greetings += 1;
                (link.phase, link.store) = (Phase::Greeting, Some(store.clone()));
            });
        }
        greeting
    }

    /// A greeting failed, or its connection was lost: what was asked behind it is not to be believed.
    fn greeted_in_vain(&self) {
        self.link.send_if_modified(|link| {
            let is_first = link.phase == Phase::Greeting;
            if is_first {
                (link.phase, link.store) = (Phase::Connecting, None);
            }
            is_first
        });
    }

    /// Forgets the doubt about earlier sessions after a connection that lasted long enough: the ensemble had one leader all
    /// the time, which expired them.
    fn settle(&mut self, up: Duration) {
        self.unsettled = self.unsettled.filter(|timeout| up < *timeout * 2);
    }

    fn up(&self, store: &Arc<dyn Store>) {
        self.link.send_modify(|link| {
            link.ups += 1;
            link.phase = Phase::Up;
            link.store = Some(store.clone());
            link.refused = None;
        });
        let session_timeout = store.timeout();
        self.state.set(ConnectionState::Connected { session_timeout, local: store.local() });
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
        self.state.set(ConnectionState::Suspended);
        info!("connection lost");
    }

    async fn close(
        &self,
        store: &Arc<dyn Store>,
        within: Duration,
        done: Option<oneshot::Sender<Withdrawn>>,
    ) {
        // The tasks that live on the session stop first, so that nothing is queued behind the goodbye.
        self.link.send_modify(|link| link.phase = Phase::Closed);
        let acknowledged = timeout(within.saturating_add(Duration::from_secs(1)), store.close(within))
            .await
            .unwrap_or(false);
        store.abort();
        let unsettled = self.unsettled.filter(|_| !self.sessions.is_settled(store.id()));
        let stands = if acknowledged { unsettled } else { unsettled.max(Some(store.timeout())) };
        self.closed(outcome(stands), done);
    }

    /// A command while there is no session; `Some` when that was the end.
    fn without_session(&self, command: Option<Command>) -> Option<()> {
        let done = match command {
            Some(Command::Replaced { .. }) => return None,
            Some(Command::Close { done, .. }) => Some(done),
            None => None,
        };
        self.closed(outcome(self.unsettled), done);
        Some(())
    }

    /// The last word, also for those who ask later.
    fn closed(&self, outcome: Withdrawn, done: Option<oneshot::Sender<Withdrawn>>) {
        self.link.send_modify(|link| {
            (link.phase, link.store, link.closed) = (Phase::Closed, None, Some(outcome));
        });
        self.state.set(ConnectionState::Closed);
        // The caller may have stopped waiting.
        let _ = done.map(|done| done.send(outcome));
    }

    /// Ends in `Failed`: says so until told to close.
    async fn fail(mut self, error: Error) {
        warn!(%error, "giving up on ZooKeeper");
        self.state.set(ConnectionState::Failed(error.clone()));
        self.link.send_modify(|link| {
            (link.phase, link.store, link.failed) = (Phase::Closed, None, Some(error));
        });
        while let Some(command) = self.commands.recv().await {
            if self.without_session(Some(command)).is_some() {
                return;
            }
        }
    }

    fn announce_failure(&self, error: Error) {
        let error = match self.state.number() {
            0 => error,
            further => {
                let message = format!("session {} of this registry: {error}", further + 1);
                Error::with_source(error.kind(), message, error)
            }
        };
        if error.kind() == ErrorKind::AuthFailed {
            self.link.send_modify(|link| link.refused = Some(error.clone()));
        }
        if self.state.set(ConnectionState::Connecting { last: Some(error.clone()) }) {
            warn!(%error, "cannot reach ZooKeeper, trying on");
        }
    }
}

/// How a registry is withdrawn that may have left nodes which stand for at most so long.
fn outcome(stands: Option<Duration>) -> Withdrawn {
    stands.map_or(Withdrawn::Confirmed, |gone_within| Withdrawn::Unconfirmed { gone_within })
}
