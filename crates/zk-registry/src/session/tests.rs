//! The supervisor over a scripted store, on a paused clock.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::last_heard::LastHeard;
use super::{Command, ConnectionState, Link, Phase, SessionSettings, SessionStates, Sessions, Supervisor};
use crate::error::ErrorKind;
use crate::options::{Acl, Chroot};
use crate::store::{
    Connect, ConnectFault, End, Fault, Kind, Node, Op, Reply, Stat, State, States, Store, Watch, patience,
};
use crate::withdrawn::Withdrawn;

const T: Duration = Duration::from_secs(10);
const C: Duration = Duration::from_secs(2);

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    Fails,
    Unanswered,
}

#[derive(Debug)]
struct Scripted {
    id: i64,
    state: watch::Sender<State>,
    script: Mutex<Script>,
}

#[derive(Debug)]
struct Script {
    sync: Fate,
    schemes: Vec<String>,
    asked: Vec<&'static str>,
    closed_within: Option<Duration>,
    aborted_at: Option<Instant>,
}

impl Scripted {
    fn new(id: i64) -> Arc<Self> {
        let script = Script {
            sync: Fate::Answered,
            schemes: vec!["digest".to_owned()],
            asked: vec![],
            closed_within: None,
            aborted_at: None,
        };
        Arc::new(Self { id, state: watch::Sender::new(State::Connected), script: Mutex::new(script) })
    }

    fn script<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.script.lock().unwrap())
    }

    fn is(&self, state: State) {
        self.state.send_replace(state);
    }

    fn answer<R: Send + 'static>(&self, what: &'static str, fate: Fate, answer: R) -> Reply<R> {
        self.script(|script| script.asked.push(what));
        Box::pin(async move {
            match fate {
                Fate::Answered => Ok(answer),
                Fate::Fails => Err(Fault::Ambiguous("the connection was reset".to_owned())),
                Fate::Unanswered => std::future::pending().await,
            }
        })
    }
}

fn never<R: Send + 'static>() -> Reply<R> {
    Box::pin(std::future::pending())
}

struct Changes(watch::Receiver<State>);

impl States for Changes {
    fn changed(&mut self) -> BoxFuture<'_, State> {
        Box::pin(async {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            *self.0.borrow_and_update()
        })
    }
}

impl Store for Scripted {
    fn id(&self) -> i64 {
        self.id
    }
    fn timeout(&self) -> Duration {
        T
    }
    fn connection_timeout(&self) -> Duration {
        C
    }
    fn local(&self) -> Option<std::net::SocketAddr> {
        None
    }
    fn states(&self) -> Box<dyn States> {
        Box::new(Changes(self.state.subscribe()))
    }
    fn create(&self, _: &str, _: &[u8], _: Kind, _: Acl) -> Reply<Stat> {
        never()
    }
    fn set(&self, _: &str, _: &[u8], _: Option<i32>) -> Reply<Stat> {
        never()
    }
    fn delete(&self, _: &str, _: Option<i32>) -> Reply<()> {
        never()
    }
    fn multi(&self, _: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        never()
    }
    fn list(&self, _: &str) -> Reply<(Vec<String>, Stat)> {
        never()
    }
    fn read(&self, _: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        self.answer("read", Fate::Answered, Vec::new())
    }
    fn acl(&self, _: &str) -> Reply<Acl> {
        never()
    }
    fn sync(&self, _: &str) -> Reply<()> {
        let fate = self.script(|script| script.sync);
        self.answer("sync", fate, ())
    }
    fn ephemerals(&self) -> Reply<Vec<String>> {
        self.answer("ephemerals", Fate::Answered, Vec::new())
    }
    fn auth_schemes(&self) -> Reply<Vec<String>> {
        let schemes = self.script(|script| script.schemes.clone());
        self.answer("auth_schemes", Fate::Answered, schemes)
    }
    fn watch(&self, _: &str) -> Reply<Box<dyn Watch>> {
        never()
    }
    fn rearm(&self, _: &str) -> Reply<()> {
        never()
    }
    fn make_chroot(&self, _: Acl) -> Reply<()> {
        never()
    }
    fn close(&self, within: Duration) -> BoxFuture<'static, bool> {
        self.script(|script| script.closed_within = Some(within));
        let connected = *self.state.borrow() == State::Connected;
        Box::pin(async move {
            if !connected {
                sleep(within).await;
            }
            connected
        })
    }
    fn abort(&self) {
        self.script(|script| *script.aborted_at.get_or_insert_with(Instant::now));
    }
}

#[derive(Debug)]
struct Queue {
    servers: usize,
    stores: Mutex<VecDeque<Arc<Scripted>>>,
}

impl Connect for Queue {
    fn cluster(&self) -> String {
        "queue".to_owned()
    }

    fn servers(&self) -> usize {
        self.servers
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let next = self.stores.lock().unwrap().pop_front();
        let opened = next.map(|store| store as Arc<dyn Store>);
        Box::pin(async { opened.ok_or_else(|| ConnectFault::Unavailable("no server".to_owned())) })
    }
}

struct World {
    commands: mpsc::UnboundedSender<Command>,
    link: watch::Receiver<Link>,
    state: watch::Receiver<ConnectionState>,
}

/// Runs a supervisor, with digest credentials, over these sessions.
fn world(servers: usize, stores: &[&Arc<Scripted>]) -> World {
    let stores = Mutex::new(stores.iter().map(|store| Arc::clone(store)).collect());
    let (commands, orders) = mpsc::unbounded_channel();
    let (states, state) = SessionStates::new();
    let pending = Link {
        epoch: 0,
        ups: 0,
        greetings: 0,
        phase: Phase::Connecting,
        store: None,
        closed: None,
        failed: None,
        refused: None,
    };
    let (link_sender, link) = watch::channel(pending);
    let supervisor = Supervisor {
        connect: Arc::new(Queue { servers, stores }),
        settings: SessionSettings {
            session_timeout: T,
            acl: Acl::Open,
            chroot: Chroot::Expect,
            schemes: vec!["digest"],
        },
        sessions: Arc::new(Sessions::default()),
        counters: Arc::default(),
        last_heard: LastHeard::new(Instant::now()),
        turn: Arc::new(Semaphore::new(1)),
        seed: 1,
        commands: orders,
        link: link_sender,
        state: states.add(ConnectionState::Connecting { last: None }),
        unsettled: None,
    };
    tokio::spawn(supervisor.run());
    World { commands, link, state }
}

impl World {
    async fn reaches(&mut self, phase: Phase) {
        let reached = self.link.wait_for(|link| link.phase == phase);
        timeout(T * 4, reached).await.expect("it is reached in time").unwrap();
    }

    async fn close(&self, within: Duration) -> Withdrawn {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Close { within, done }).unwrap();
        answer.await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_up_once_its_sync_was_answered_which_goes_ahead_of_all_reads() {
    let store = Scripted::new(1);
    store.script(|script| script.sync = Fate::Unanswered);
    let mut world = world(1, &[&store]);
    sleep(C).await;
    assert_eq!(world.link.borrow().phase, Phase::Greeting);
    store.is(State::Disconnected);
    sleep(C / 10).await;
    store.script(|script| script.sync = Fate::Answered);
    store.is(State::Connected);
    world.reaches(Phase::Up).await;
    assert_eq!(store.script(|script| script.asked[0]), "sync");
}

#[tokio::test(start_paused = true)]
async fn half_a_reconnect_does_not_restart_the_clock_of_silence() {
    let store = Scripted::new(1);
    let mut world = world(1, &[&store]);
    world.reaches(Phase::Up).await;
    sleep(T).await;
    let lost = Instant::now();
    store.is(State::Disconnected);
    store.script(|script| script.sync = Fate::Unanswered);
    // The handshake is answered, and nothing else ever is; the state stays connected.
    sleep(T / 2).await;
    store.is(State::Connected);
    sleep(T * 2).await;
    let aborted = store.script(|script| script.aborted_at).expect("the session is given up");
    assert!(aborted - lost <= patience(T, C) + Duration::from_millis(10), "{:?}", aborted - lost);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_before_the_client_crate_may_spin() {
    for (silent, within, most) in [
        (Duration::ZERO, T * 3, patience(T, C)),
        (T / 2, T * 3, patience(T, C) - T / 2),
        (T * 9 / 10, T / 2, patience(T, C) - T * 9 / 10),
        (T / 2, T / 10, T / 10),
    ] {
        let store = Scripted::new(1);
        let mut world = world(1, &[&store]);
        world.reaches(Phase::Up).await;
        sleep(T).await;
        store.is(State::Disconnected);
        sleep(silent + Duration::from_millis(1)).await;
        world.close(within).await;
        let closed_within = store.script(|script| script.closed_within).unwrap();
        assert!(closed_within <= most, "{closed_within:?} after {silent:?}, asked for {within:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_is_confirmed_only_when_nothing_of_an_earlier_session_may_stand() {
    let unconfirmed = Withdrawn::Unconfirmed { gone_within: T };
    for (end, wait, outcome) in [
        (None, T / 10, unconfirmed),
        (None, T * 2 + C, Withdrawn::Confirmed),
        (Some(End::Expired), T / 10, Withdrawn::Confirmed),
        (Some(End::Abandoned), T / 10, unconfirmed),
    ] {
        let (first, second) = (Scripted::new(1), Scripted::new(2));
        let mut world = world(1, &[&first, &second]);
        world.reaches(Phase::Up).await;
        first.is(end.map_or(State::Disconnected, State::Over));
        world.link.wait_for(|link| link.epoch == 2 && link.phase == Phase::Up).await.unwrap();
        sleep(wait).await;
        assert_eq!(world.close(T).await, outcome, "{end:?}, {wait:?} later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_without_a_session_reports_the_timeout_of_the_one_that_may_stand() {
    let store = Scripted::new(1);
    let mut world = world(1, &[&store]);
    world.reaches(Phase::Up).await;
    store.is(State::Over(End::Abandoned));
    sleep(T).await;
    assert_eq!(world.close(T).await, Withdrawn::Unconfirmed { gone_within: T });
}

#[tokio::test(start_paused = true)]
async fn another_server_is_tried_before_credentials_count_as_refused() {
    let odd = Scripted::new(1);
    odd.script(|script| script.schemes.clear());
    let mut world = world(3, &[&odd, &Scripted::new(2)]);
    let began = Instant::now();
    world.reaches(Phase::Up).await;
    assert!(began.elapsed() < T / 4, "{:?}", began.elapsed());
    assert!(odd.script(|script| script.closed_within).is_some(), "no session is left behind");
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_to_a_server_without_our_scheme_keeps_the_session() {
    let store = Scripted::new(1);
    let mut world = world(3, &[&store]);
    world.reaches(Phase::Up).await;
    sleep(T).await;
    store.is(State::Disconnected);
    world.link.wait_for(|link| link.phase != Phase::Up).await.unwrap();
    store.script(|script| script.schemes.clear());
    store.is(State::Connected);
    world.reaches(Phase::Up).await;
    sleep(T * 3).await;
    assert_eq!(store.script(|script| script.aborted_at), None);
    assert_eq!((world.link.borrow().epoch, world.link.borrow().ups), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_told_to_all_who_wait_on_the_link() {
    let odd = Scripted::new(1);
    odd.script(|script| script.schemes.clear());
    let mut world = world(1, &[&odd]);
    let link = world.link.wait_for(|link| link.refused.is_some()).await.unwrap().clone();
    assert_eq!(link.refused.unwrap().kind(), ErrorKind::AuthFailed);
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_fails_is_told_in_the_state() {
    let store = Scripted::new(1);
    store.script(|script| script.sync = Fate::Fails);
    let mut world = world(1, &[&store]);
    let told = |state: &ConnectionState| matches!(state, ConnectionState::Connecting { last: Some(error) } if error.to_string().contains("reset"));
    timeout(T, world.state.wait_for(told)).await.expect("it is told in time").unwrap();
    store.script(|script| script.sync = Fate::Answered);
    world.reaches(Phase::Up).await;
}

#[tokio::test(start_paused = true)]
async fn connections_that_end_at_once_are_greeted_ever_more_slowly() {
    let store = Scripted::new(1);
    let mut world = world(1, &[&store]);
    world.reaches(Phase::Up).await;
    let began = Instant::now();
    while began.elapsed() < T {
        store.is(State::Disconnected);
        world.link.wait_for(|link| link.phase != Phase::Up).await.unwrap();
        store.is(State::Connected);
        world.reaches(Phase::Up).await;
        let (ups, elapsed) = (world.link.borrow().ups, began.elapsed());
        assert!(ups < 60, "{ups} connections in {elapsed:?}");
    }
}
