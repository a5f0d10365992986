//! A ZooKeeper whose every answer is drawn from given bytes: late, wrong, of another length than asked for, or a fault. It keeps
//! to the contract of [`Store`] in one thing only: once the session is over, it stays over, and so it ends with its bytes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::options::Acl;
use crate::store::{
    Connect, ConnectFault, End, Event, Fault, Kind, Node, Op, Reply, Stat, State, States, Store, Watch,
};

/// The bytes that are left.
#[derive(Clone, Debug)]
pub(super) struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.iter().rev().copied().collect())))
    }

    /// The next byte; `None` at the end.
    fn next(&self) -> Option<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// The next byte, or 0.
    pub(super) fn byte(&self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn of<T: Clone>(&self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    fn number(&self) -> i64 {
        let byte = self.byte();
        match byte {
            0..=199 => byte.into(),
            200..=219 => i64::MAX,
            220..=239 => i64::MIN,
            _ => -1,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.byte();
        (0..length).map_while(|_| self.next()).collect()
    }

    /// Text from a short alphabet, or any text.
    fn name(&self) -> String {
        match self.byte() {
            byte @ 0..=127 => format!("10.0.0.{}:80", byte % 4),
            128..=143 => String::new(),
            _ => String::from_utf8_lossy(&self.bytes()).into_owned(),
        }
    }

    fn path(&self) -> String {
        match self.byte() {
            0..=199 => format!("/services/time/{}", self.name()),
            200..=219 => "/services/time".to_owned(),
            _ => self.name(),
        }
    }

    fn data(&self) -> Bytes {
        match self.byte() {
            byte @ 0..=99 => format!(
                r#"{{"name":"time","id":"{}","address":"10.0.0.{}","port":80,"registrationTimeUTC":1,"serviceType":"DYNAMIC"}}"#,
                self.name(),
                byte % 4
            )
            .into(),
            100..=119 => Bytes::new(),
            _ => self.bytes().into(),
        }
    }

    fn stat(&self) -> Stat {
        Stat {
            czxid: self.number(),
            mzxid: self.number(),
            pzxid: self.number(),
            version: i32::try_from(self.number()).unwrap_or(i32::MIN),
            children: u32::try_from(self.number()).unwrap_or(u32::MAX),
            owner: self.of(&[SESSION, 0, 1, i64::MIN]),
            ctime: self.number(),
            bytes: u32::try_from(self.number()).unwrap_or(u32::MAX),
        }
    }

    fn fault(&self) -> Fault {
        let definite = Fault::Definite("a definite refusal".to_owned());
        let index = usize::from(self.byte());
        self.of(&[
            Fault::Ambiguous("it may have been executed".to_owned()),
            Fault::AuthFailed,
            Fault::BadVersion,
            Fault::InvalidAcl,
            Fault::NoAuth,
            Fault::NoNode,
            Fault::NodeExists,
            Fault::NotEmpty,
            Fault::NoChildrenForEphemerals,
            Fault::TooLarge,
            Fault::Unimplemented,
            Fault::Multi { index, fault: Box::new(Fault::NodeExists) },
            Fault::Multi { index, fault: Box::new(Fault::BadVersion) },
            definite,
        ])
    }

    fn delay(&self) -> Duration {
        match self.byte() {
            byte @ 0..=249 => Duration::from_millis(u64::from(byte)),
            byte => Duration::from_secs(u64::from(byte) / 10),
        }
    }

    /// As many items as asked for; now and then more or fewer.
    fn items<T>(&self, asked: usize, one: impl Fn(&Self) -> T) -> Vec<T> {
        let count = match self.byte() {
            0..=219 => asked,
            220..=239 => asked.saturating_sub(1),
            _ => asked + 1,
        };
        (0..count).map(|_| one(self)).collect()
    }
}

/// Opens sessions that lie, or does not.
#[derive(Clone, Debug)]
pub(super) struct Hostile(pub(super) Tape);

impl Connect for Hostile {
    fn cluster(&self) -> String {
        String::new()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Arc<dyn Store>, ConnectFault>> {
        let tape = self.0.clone();
        Box::pin(async move {
            match tape.next() {
                None | Some(240..) => Err(ConnectFault::Unavailable("no server".to_owned())),
                Some(230..240) => Err(ConnectFault::Auth("refused".to_owned())),
                Some(_) => Ok(Arc::new(Session { tape, over: watch::channel(None).0 }) as Arc<dyn Store>),
            }
        })
    }
}

/// A session of a [`Hostile`] ZooKeeper.
struct Session {
    tape: Tape,
    over: watch::Sender<Option<End>>,
}

impl Session {
    fn reply<T: Send + 'static>(&self, answer: impl FnOnce(&Tape) -> T) -> Reply<T> {
        let Some(byte) = self.tape.next() else {
            self.over.send_replace(Some(End::Expired));
            return Box::pin(async { Err(Fault::Over) });
        };
        let answer = match byte {
            0..=199 => Ok(answer(&self.tape)),
            _ => Err(self.tape.fault()),
        };
        let delay = self.tape.delay();
        let mut over = self.over.subscribe();
        Box::pin(async move {
            tokio::select! {
                () = sleep(delay) => answer,
                _ = over.wait_for(Option::is_some) => Err(Fault::Over),
            }
        })
    }
}

impl Store for Session {
    fn id(&self) -> i64 {
        SESSION
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn connection_timeout(&self) -> Duration {
        Duration::from_secs(2)
    }

    fn local(&self) -> Option<SocketAddr> {
        None
    }

    fn states(&self) -> Box<dyn States> {
        Box::new(Changes { tape: self.tape.clone(), over: self.over.clone() })
    }

    fn create(&self, _: &str, _: &[u8], _: Kind, _: Acl) -> Reply<Stat> {
        self.reply(Tape::stat)
    }

    fn set(&self, _: &str, _: &[u8], _: Option<i32>) -> Reply<Stat> {
        self.reply(Tape::stat)
    }

    fn delete(&self, _: &str, _: Option<i32>) -> Reply<()> {
        self.reply(|_| ())
    }

    fn multi(&self, ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        self.reply(|tape| tape.items(ops.len(), |tape| (tape.byte() < 200).then(|| tape.stat())))
    }

    fn list(&self, _: &str) -> Reply<(Vec<String>, Stat)> {
        self.reply(|tape| {
            let names = usize::from(tape.byte() % 16);
            (tape.items(names, Tape::name), tape.stat())
        })
    }

    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        self.reply(|tape| {
            tape.items(paths.len(), |tape| match tape.byte() {
                0..=199 => Ok(Node { data: tape.data(), stat: tape.stat() }),
                _ => Err(tape.fault()),
            })
        })
    }

    fn acl(&self, _: &str) -> Reply<Acl> {
        self.reply(|tape| tape.of(&[Acl::Creator, Acl::Open, Acl::ReadOnly]))
    }

    fn sync(&self, _: &str) -> Reply<()> {
        self.reply(|_| ())
    }

    fn ephemerals(&self) -> Reply<Vec<String>> {
        self.reply(|tape| {
            let paths = usize::from(tape.byte() % 8);
            tape.items(paths, Tape::path)
        })
    }

    fn auth_schemes(&self) -> Reply<Vec<String>> {
        self.reply(|tape| vec![tape.name()])
    }

    fn watch(&self, _: &str) -> Reply<Box<dyn Watch>> {
        let (tape, over) = (self.tape.clone(), self.over.clone());
        self.reply(|_| Box::new(Events { tape, over, is_told: false }) as Box<dyn Watch>)
    }

    fn rearm(&self, _: &str) -> Reply<()> {
        self.reply(|_| ())
    }

    fn make_chroot(&self, _: Acl) -> Reply<()> {
        self.reply(|_| ())
    }

    fn close(&self, within: Duration) -> BoxFuture<'static, bool> {
        let (answer, delay) = (self.tape.byte() < 200, self.tape.delay().min(within));
        let over = self.over.clone();
        Box::pin(async move {
            sleep(delay).await;
            over.send_replace(Some(End::Closed));
            answer
        })
    }

    fn abort(&self) {
        self.over.send_replace(Some(End::Abandoned));
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

struct Changes {
    tape: Tape,
    over: watch::Sender<Option<End>>,
}

impl States for Changes {
    fn changed(&mut self) -> BoxFuture<'_, State> {
        Box::pin(async {
            let mut over = self.over.subscribe();
            if let Some(end) = *over.borrow() {
                return State::Over(end);
            }
            let Some(byte) = self.tape.next() else {
                self.over.send_replace(Some(End::Expired));
                return State::Over(End::Expired);
            };
            let drawn = match byte {
                0..=119 => State::Connected,
                120..=219 => State::Disconnected,
                220..=239 => State::Over(End::Expired),
                _ => State::Over(End::AuthFailed),
            };
            let delay = 8 * self.tape.delay();
            let ended = tokio::select! {
                () = sleep(delay) => None,
                ended = over.wait_for(Option::is_some) => ended.ok().and_then(|end| *end),
            };
            let state = ended.map_or(drawn, State::Over);
            if let State::Over(end) = state {
                self.over.send_replace(Some(end));
            }
            state
        })
    }
}

struct Events {
    tape: Tape,
    over: watch::Sender<Option<End>>,
    /// Whether it has said that the session is over.
    is_told: bool,
}

impl Events {
    fn drawn(&self) -> Event {
        match self.tape.byte() {
            0..=179 => Event::Node(self.tape.path()),
            180..=219 => Event::Disconnected,
            _ => Event::Connected,
        }
    }
}

impl Watch for Events {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async {
            if self.is_told {
                return None;
            }
            let mut over = self.over.subscribe();
            let delay = self.tape.delay();
            let is_over = tokio::select! {
                () = sleep(delay) => false,
                _ = over.wait_for(Option::is_some) => true,
            };
            if is_over || self.tape.next().is_none() {
                self.is_told = true;
                self.over.send_if_modified(|end| end.is_none() && end.replace(End::Expired).is_none());
                return Some(Event::Over);
            }
            Some(self.drawn())
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        (!self.is_told && self.tape.next().is_some_and(|byte| byte >= 200)).then(|| self.drawn())
    }
}

/// The id of every session.
const SESSION: i64 = 7;
