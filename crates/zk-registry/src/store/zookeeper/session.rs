//! One session: [`Store`] and [`States`] over the client crate's client.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use zookeeper_client as zk;
use zookeeper_client::{
    Client, CreateMode, CreateOptions, MultiReadResult, MultiWriteResult, SessionState, StateWatcher,
};

use super::super::{
    ConnectFault, End, Fault, Kind, Listing, Node, Op, Reply, Stat, State, States, Store, Watch, limits,
    patience,
};
use super::faults::{fault, multi_fault};
use super::lifeline::Lifeline;
use super::watcher::Watches;
use crate::options::Acl;

/// One session with a real ZooKeeper.
pub(super) struct Session {
    id: i64,
    timeout: Duration,
    connection_timeout: Duration,
    local: Option<SocketAddr>,
    chroot: String,
    /// `None` once the session is being closed: the crate closes it when its last client is dropped.
    client: Mutex<Option<Clients>>,
    states: StateWatcher,
    watches: Arc<Watches>,
    lifeline: Arc<Lifeline>,
    runtime: Handle,
}

/// Two views of the same session.
#[derive(Clone)]
struct Clients {
    /// Below the chroot.
    chrooted: Client,
    /// Without the chroot.
    root: Client,
}

impl Session {
    pub(super) fn new(
        root: Client,
        chroot: &str,
        asked_connection_timeout: Duration,
        lifeline: Arc<Lifeline>,
        runtime: Handle,
        local: Option<SocketAddr>,
    ) -> Result<Self, ConnectFault> {
        let chrooted = match chroot {
            "" => root.clone(),
            chroot => (root.clone().chroot(chroot))
                .map_err(|_| ConnectFault::Invalid(format!("{chroot:?} cannot be a chroot")))?,
        };
        let timeout = root.session_timeout();
        let connection_timeout = connection_timeout(timeout, asked_connection_timeout);
        lifeline.set_patience(patience(timeout, connection_timeout));
        Ok(Self {
            id: root.session_id().0,
            timeout,
            connection_timeout,
            local,
            chroot: chroot.to_owned(),
            states: root.state_watcher(),
            client: Mutex::new(Some(Clients { chrooted, root })),
            watches: Arc::default(),
            lifeline,
            runtime,
        })
    }

    fn clients(&self) -> Option<Clients> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request. `ask` holds a client only until the reply is there, however late its own reply is polled: a client
    /// that is not dropped would keep the session open.
    fn request<T: Send + 'static, F>(&self, ask: impl FnOnce(Clients) -> F) -> Reply<T>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let Some(clients) = self.clients() else { return refuse(Fault::Over) };
        let mut asking = Box::pin(ask(clients));
        // The crate sends when its method is called, and that is in the first poll.
        let first = asking.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let lifeline = self.lifeline.clone();
        let settle = move |result| match result {
            // The crate's task was dropped with the request in it.
            Err(Fault::Ambiguous(_)) if lifeline.is_over() => Err(Fault::Over),
            result => result,
        };
        if let Poll::Ready(result) = first {
            let result = settle(result);
            return Box::pin(async { result });
        }
        let (sender, receiver) = oneshot::channel();
        self.runtime.spawn(async move {
            // The caller may have stopped listening.
            let _ = sender.send(settle(asking.await));
        });
        Box::pin(async { receiver.await.unwrap_or(Err(Fault::Over)) })
    }
}

impl Store for Session {
    fn id(&self) -> i64 {
        self.id
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn connection_timeout(&self) -> Duration {
        self.connection_timeout
    }

    fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    fn states(&self) -> Box<dyn States> {
        let mut watcher = self.states.clone();
        // A terminal one is never taken: it is heard for ever.
        let now = match watcher.peek_state().is_terminated() {
            true => None,
            false => Some(watcher.state()).filter(|state| *state != SessionState::SyncConnected),
        };
        Box::new(Changes { now, watcher, lifeline: self.lifeline.clone() })
    }

    fn create(&self, path: &str, data: &[u8], kind: Kind, acl: Acl) -> Reply<Stat> {
        if let Err(fault) = limits::check_data(path, data) {
            return refuse(fault);
        }
        let (path, data) = (path.to_owned(), Bytes::copy_from_slice(data));
        self.request(move |clients| async move {
            let (stat, _) =
                clients.chrooted.create(&path, &data, &create_options(kind, acl)).await.map_err(fault)?;
            Ok(stat_of(&stat))
        })
    }

    fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Reply<Stat> {
        if let Err(fault) = limits::check_data(path, data) {
            return refuse(fault);
        }
        let (path, data) = (path.to_owned(), Bytes::copy_from_slice(data));
        self.request(move |clients| async move {
            let stat = clients.chrooted.set_data(&path, &data, version).await.map_err(fault)?;
            Ok(stat_of(&stat))
        })
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Reply<()> {
        let path = path.to_owned();
        self.request(
            move |clients| async move { clients.chrooted.delete(&path, version).await.map_err(fault) },
        )
    }

    fn multi(&self, ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        if let Err(fault) = limits::check_multi(&ops) {
            return refuse(fault);
        }
        self.request(move |clients| async move {
            let results = commit(&clients.chrooted, &ops).await?;
            let mut stats = Vec::with_capacity(ops.len());
            for (op, result) in ops.iter().zip(results) {
                stats.push(match (op, result) {
                    (_, MultiWriteResult::SetData { stat }) => Some(stat_of(&stat)),
                    (Op::Create { path, .. }, MultiWriteResult::Create { stat, .. }) if stat.is_invalid() => {
                        Some(created(&clients.chrooted, path).await?)
                    }
                    (_, MultiWriteResult::Create { stat, .. }) => Some(stat_of(&stat)),
                    _ => None,
                });
            }
            Ok(stats)
        })
    }

    fn list(&self, path: &str) -> Reply<(Vec<String>, Stat)> {
        let path = path.to_owned();
        self.request(move |clients| async move {
            let (names, stat) = clients.chrooted.get_children(&path).await.map_err(fault)?;
            Ok((names, stat_of(&stat)))
        })
    }

    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        if let Err(fault) = limits::check_read(paths) {
            return refuse(fault);
        }
        let paths = paths.to_vec();
        self.request(move |clients| async move {
            let results = {
                let mut reader = clients.chrooted.new_multi_reader();
                for path in &paths {
                    reader.add_get_data(path).map_err(fault)?;
                }
                reader.commit()
            };
            let node = |result| match result {
                MultiReadResult::Data { data, stat } => Ok(Node { data: data.into(), stat: stat_of(&stat) }),
                MultiReadResult::Error { err } => Err(fault(err)),
                // Nothing else was asked for.
                _ => Err(Fault::Definite("an answer to another question".to_owned())),
            };
            Ok(results.await.map_err(fault)?.into_iter().map(node).collect())
        })
    }

    fn acl(&self, path: &str) -> Reply<Acl> {
        let path = path.to_owned();
        self.request(move |clients| async move {
            let (acl, _) = clients.chrooted.get_acl(&path).await.map_err(fault)?;
            Ok(open_to_strangers(&acl))
        })
    }

    fn sync(&self, path: &str) -> Reply<()> {
        let path = path.to_owned();
        self.request(move |clients| async move { clients.chrooted.sync(&path).await.map_err(fault) })
    }

    fn ephemerals(&self) -> Reply<Vec<String>> {
        let chroot = self.chroot.clone();
        self.request(move |clients| async move {
            // Its argument is a plain string prefix: with a chroot, the crate chokes on what is beside it.
            let paths = clients.root.list_ephemerals("/").await.map_err(fault)?;
            let below = |path: &String| {
                path.strip_prefix(&chroot).filter(|path| path.starts_with('/')).map(str::to_owned)
            };
            Ok(paths.iter().filter_map(below).collect())
        })
    }

    fn auth_schemes(&self) -> Reply<Vec<String>> {
        self.request(move |clients| async move {
            let users = clients.root.list_auth_users().await.map_err(fault)?;
            Ok(users.iter().map(|user| user.scheme().to_owned()).collect())
        })
    }

    fn watch(&self, path: &str) -> Reply<Box<dyn Watch>> {
        let (path, watches, lifeline) = (path.to_owned(), self.watches.clone(), self.lifeline.clone());
        self.request(move |clients| async move {
            let watcher = watches.watch(clients.chrooted, path, lifeline).await?;
            Ok(Box::new(watcher) as Box<dyn Watch>)
        })
    }

    fn watch_and_list(&self, path: &str) -> Reply<(Box<dyn Watch>, Listing)> {
        let (path, watches, lifeline) = (path.to_owned(), self.watches.clone(), self.lifeline.clone());
        self.request(move |clients| async move {
            let (watcher, listing) = watches.watch_and_list(clients.chrooted, path, lifeline).await?;
            let listing = listing.map(|(names, stat)| (names, stat_of(&stat)));
            Ok((Box::new(watcher) as Box<dyn Watch>, listing))
        })
    }

    fn rearm(&self, path: &str) -> Reply<()> {
        let (path, watches) = (path.to_owned(), self.watches.clone());
        self.request(move |clients| watches.rearm(clients.chrooted, path))
    }

    fn make_chroot(&self, acl: Acl) -> Reply<()> {
        let chroot = self.chroot.clone();
        self.request(move |clients| async move {
            let ends = chroot.match_indices('/').map(|(at, _)| at).skip(1).chain([chroot.len()]);
            for end in ends.filter(|end| *end > 0) {
                match clients.root.create(&chroot[..end], b"", &create_options(Kind::Persistent, acl)).await {
                    Ok(_) | Err(zk::Error::NodeExists) => {}
                    // Said before it is looked whether it exists.
                    Err(zk::Error::NoAuth) if end < chroot.len() => {}
                    Err(error) => return Err(fault(error)),
                }
            }
            Ok(())
        })
    }

    fn close(&self, within: Duration) -> BoxFuture<'static, bool> {
        let mut states = self.states.clone();
        let lifeline = self.lifeline.clone();
        // The crate expires a session by itself 1.4 T after the last byte, which came at most 1.125 C before now. An expiry
        // before that is the server's word: the goodbye was executed, and its reply was lost.
        let connected = states.peek_state() == SessionState::SyncConnected;
        let own_expiry =
            Instant::now() + self.timeout.mul_f64(1.4).saturating_sub(self.connection_timeout.mul_f64(1.125));
        drop(self.client.lock().unwrap_or_else(PoisonError::into_inner).take());
        if states.peek_state().is_terminated() {
            return Box::pin(async { false });
        }
        // On its own, because the caller may have stopped waiting.
        let closing = self.runtime.spawn(async move {
            let closed = async {
                tokio::select! {
                    biased;
                    state = terminal(&mut states) => match state {
                        SessionState::Closed => true,
                        SessionState::Expired => connected && Instant::now() < own_expiry,
                        _ => false,
                    },
                    _ = lifeline.ended() => false,
                }
            };
            let acknowledged = timeout(within, closed).await.unwrap_or(false);
            // It could spin on.
            lifeline.end(End::Closed);
            acknowledged
        });
        Box::pin(async move { closing.await.unwrap_or(false) })
    }

    fn abort(&self) {
        self.lifeline.end(End::Closed);
        drop(self.client.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let clients = self.client.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if clients.is_some() {
            // The crate closes the session now. If it cannot, it must not try for longer than we would.
            drop(self.close(patience(self.timeout, self.connection_timeout)));
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &format_args!("{:#x}", self.id)).finish_non_exhaustive()
    }
}

struct Changes {
    /// What is to be told first: the state in the beginning, if it was not connected any more.
    now: Option<SessionState>,
    watcher: StateWatcher,
    lifeline: Arc<Lifeline>,
}

impl States for Changes {
    fn changed(&mut self) -> BoxFuture<'_, State> {
        Box::pin(async {
            if let Some(state) = self.now.take() {
                return state_of(state);
            }
            // A terminal state that was seen is never announced again.
            let state = self.watcher.peek_state();
            if state.is_terminated() {
                return state_of(state);
            }
            tokio::select! {
                biased;
                end = self.lifeline.ended() => State::Over(end),
                state = self.watcher.changed() => state_of(state),
            }
        })
    }
}

/// Waits for the last state that the crate will announce.
async fn terminal(states: &mut StateWatcher) -> SessionState {
    loop {
        let state = states.peek_state();
        if state.is_terminated() {
            return state;
        }
        states.changed().await;
    }
}

fn refuse<T: Send + 'static>(fault: Fault) -> Reply<T> {
    Box::pin(async { Err(fault) })
}

async fn commit(client: &Client, ops: &[Op]) -> Result<Vec<MultiWriteResult>, Fault> {
    let results = {
        let mut writer = client.new_multi_writer();
        for op in ops {
            match op {
                Op::Create { path, data, kind, acl } => {
                    writer.add_create(path, data, &create_options(*kind, *acl))
                }
                Op::Delete { path, version } => writer.add_delete(path, *version),
                Op::Set { path, data, version } => writer.add_set_data(path, data, *version),
            }
            .map_err(fault)?;
        }
        writer.commit()
    };
    results.await.map_err(multi_fault)
}

/// The stat of a node that a multi has just created. Servers before 3.8.2 send none (ZOOKEEPER-4026).
async fn created(client: &Client, path: &str) -> Result<Stat, Fault> {
    let (_, stat) = client
        .get_data(path)
        .await
        .map_err(|error| Fault::Ambiguous(format!("created, but not read: {error}")))?;
    let zxid = stat.czxid;
    Ok(Stat { mzxid: zxid, pzxid: zxid, version: 0, children: 0, ..stat_of(&stat) })
}

fn create_options(kind: Kind, acl: Acl) -> CreateOptions<'static> {
    static READ_ONLY: [zk::Acl; 2] = [
        zk::Acl::new_const(zk::Permission::ALL, "auth", ""),
        zk::Acl::new_const(zk::Permission::READ, "world", "anyone"),
    ];
    let mode = match kind {
        Kind::Container => CreateMode::Container,
        Kind::Ephemeral => CreateMode::Ephemeral,
        Kind::Persistent => CreateMode::Persistent,
    };
    mode.with_acls(match acl {
        Acl::Creator => zk::Acls::creator_all(),
        Acl::Open => zk::Acls::anyone_all(),
        Acl::ReadOnly => zk::Acls::new(&READ_ONLY),
    })
}

/// What the entries for `world:anyone` allow; whose identity the other entries name is not known.
fn open_to_strangers(entries: &[zk::Acl]) -> Acl {
    let allowed = (entries.iter().filter(|entry| entry.auth_id() == &zk::AuthId::anyone()))
        .fold(zk::Permission::NONE, |allowed, entry| allowed | entry.permission());
    match allowed {
        zk::Permission::NONE => Acl::Creator,
        zk::Permission::READ => Acl::ReadOnly,
        _ => Acl::Open,
    }
}

/// What the crate makes of the connection timeout that it was asked for, with the session timeout that was granted.
fn connection_timeout(session: Duration, asked: Duration) -> Duration {
    if asked > session * 3 / 5 { session * 2 / 5 } else { asked }
}

fn stat_of(stat: &zk::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        pzxid: stat.pzxid,
        ctime: stat.ctime,
        version: stat.version,
        children: u32::try_from(stat.num_children).unwrap_or_default(),
        bytes: u32::try_from(stat.data_length).unwrap_or_default(),
        owner: stat.ephemeral_owner,
    }
}

fn state_of(state: SessionState) -> State {
    match state {
        SessionState::AuthFailed => State::Over(End::AuthFailed),
        SessionState::Closed => State::Over(End::Closed),
        SessionState::Expired => State::Over(End::Expired),
        SessionState::SyncConnected => State::Connected,
        // We never ask for a read-only connection.
        SessionState::ConnectedReadOnly | SessionState::Disconnected => State::Disconnected,
    }
}
