//! One session as its client sees it: [`Store`], [`States`] and [`Watch`] as requests to the cluster.

use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::{End, Event, Fault, Kind, Node, Op, Reply, Stat, State, States, Store, Watch, limits};
use super::engine::record::{Answer, Code, Read, Request};
use super::wire::Watcher;
use super::wire::{Recipient, Resolve};
use super::{Cluster, wire, words};
use crate::options::Acl;

/// One session. Dropping it closes the session, unacknowledged.
pub(super) struct Session {
    cluster: Cluster,
    id: i64,
    timeout: Duration,
    connection_timeout: Duration,
    chroot: String,
    states: watch::Receiver<State>,
}

impl Session {
    /// The client of a session that was just opened.
    pub(super) fn new(cluster: Cluster, id: i64, chroot: String) -> Option<Self> {
        let state = cluster.lock();
        let session = state.sessions.get(&id)?;
        let (timeout, connection_timeout) = (session.timeout, session.connection_timeout());
        let states = session.states.subscribe();
        drop(state);
        Some(Self { cluster, id, timeout, connection_timeout, chroot, states })
    }

    fn full(&self, path: &str) -> String {
        match (self.chroot.as_str(), path) {
            ("", path) => path.to_owned(),
            (chroot, "/") => chroot.to_owned(),
            (chroot, path) => format!("{chroot}{path}"),
        }
    }

    /// Sends a request; `take` finds in the answer what is asked for.
    fn send<T: Send + 'static>(
        &self,
        asked: Request,
        take: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> Reply<T> {
        self.send_watching(asked, None, take)
    }

    /// As [`send`](Self::send); the watcher hears events from the answer on.
    fn send_watching<T: Send + 'static>(
        &self,
        asked: Request,
        watcher: Option<Watcher>,
        take: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> Reply<T> {
        let (sender, receiver) = oneshot::channel();
        let resolve: Resolve = Box::new(move |answer| {
            // The caller may have stopped listening.
            let _ = sender.send(answer);
        });
        let request = wire::Request { asked, to: Recipient { resolve: Some(resolve), watcher } };
        self.cluster.lock().send(self.id, request, Instant::now());
        Box::pin(async move {
            let answer = receiver.await.unwrap_or(Err(Fault::Over))?;
            take(answer).ok_or_else(|| Fault::Definite("the answer is not one to this request".to_owned()))
        })
    }

    /// Executes one operation; its stat, if it has one.
    fn write(&self, op: Op) -> Reply<Option<Stat>> {
        if let Err(fault) = limits::check_multi(std::slice::from_ref(&op)) {
            return Box::pin(async { Err(fault) });
        }
        self.send(Request::Write(words::write(op)), |answer| Some(stat_of(&answer)))
    }
}

fn stat_of(answer: &Answer) -> Option<Stat> {
    match answer {
        Answer::CreatedWithStat(_, stat) | Answer::Stat(stat) => Some(words::stat(stat)),
        _ => None,
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
        Some((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn states(&self) -> Box<dyn States> {
        let mut states = self.states.clone();
        match *self.states.borrow() {
            State::Disconnected => states.mark_changed(),
            State::Connected | State::Over(_) => states.mark_unchanged(),
        }
        Box::new(Changes(states))
    }

    fn create(&self, path: &str, data: &[u8], kind: Kind, acl: Acl) -> Reply<Stat> {
        let data = Bytes::copy_from_slice(data);
        let reply = self.write(Op::Create { path: self.full(path), data, kind, acl });
        Box::pin(async move { Ok(reply.await?.unwrap_or_default()) })
    }

    fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Reply<Stat> {
        let data = Bytes::copy_from_slice(data);
        let reply = self.write(Op::Set { path: self.full(path), data, version });
        Box::pin(async move { Ok(reply.await?.unwrap_or_default()) })
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Reply<()> {
        let reply = self.write(Op::Delete { path: self.full(path), version });
        Box::pin(async move { reply.await.map(|_| ()) })
    }

    fn multi(&self, mut ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        for op in &mut ops {
            let (Op::Create { path, .. } | Op::Delete { path, .. } | Op::Set { path, .. }) = op;
            *path = self.full(path);
        }
        if let Err(fault) = limits::check_multi(&ops) {
            return Box::pin(async { Err(fault) });
        }
        self.send(Request::Multi(ops.into_iter().map(words::write).collect()), |answer| match answer {
            Answer::Multi(all) => Some(all.iter().map(|one| one.as_ref().ok().and_then(stat_of)).collect()),
            _ => None,
        })
    }

    fn list(&self, path: &str) -> Reply<(Vec<String>, Stat)> {
        self.send(Request::ChildrenWithStat { path: self.full(path), watch: false }, |answer| match answer {
            Answer::ChildrenWithStat(names, stat) => Some((names, words::stat(&stat))),
            _ => None,
        })
    }

    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        if let Err(fault) = limits::check_read(paths) {
            return Box::pin(async { Err(fault) });
        }
        let reads = paths.iter().map(|path| Read::Data { path: self.full(path), watch: false });
        let read = |one: Result<Answer, Code>| match one {
            Ok(Answer::Data(data, stat)) => Some(Ok(words::node(data.as_ref(), &stat))),
            Ok(_) => None,
            Err(code) => Some(Err(words::fault(code))),
        };
        self.send(Request::MultiRead(reads.collect()), move |answer| match answer {
            Answer::Multi(all) => all.into_iter().map(read).collect(),
            _ => None,
        })
    }

    fn acl(&self, path: &str) -> Reply<Acl> {
        self.send(Request::Acl(self.full(path)), |answer| match answer {
            Answer::Acl(entries, _) => Some(words::word(&entries)),
            _ => None,
        })
    }

    fn sync(&self, path: &str) -> Reply<()> {
        self.send(Request::Sync(Some(self.full(path))), |_| Some(()))
    }

    fn ephemerals(&self) -> Reply<Vec<String>> {
        let chroot = self.chroot.clone();
        self.send(Request::Ephemerals("/".to_owned()), move |answer| match answer {
            Answer::Paths(owned) => {
                let below = |path: &String| {
                    path.strip_prefix(&chroot).filter(|path| path.starts_with('/')).map(str::to_owned)
                };
                Some(owned.iter().filter_map(below).collect())
            }
            _ => None,
        })
    }

    fn auth_schemes(&self) -> Reply<Vec<String>> {
        self.send(Request::WhoAmI, |answer| match answer {
            Answer::Identities(ids) => Some(ids.into_iter().map(|id| id.scheme).collect()),
            _ => None,
        })
    }

    fn watch(&self, path: &str) -> Reply<Box<dyn Watch>> {
        let (path, chroot) = (self.full(path), self.chroot.clone());
        let (sender, events) = mpsc::unbounded_channel();
        let watcher = Some((path.clone(), sender));
        self.send_watching(Request::AddWatch { path, recursive: true }, watcher, |_| {
            Some(Box::new(Events { chroot, events }) as Box<dyn Watch>)
        })
    }

    fn rearm(&self, path: &str) -> Reply<()> {
        self.send(Request::AddWatch { path: self.full(path), recursive: true }, |_| Some(()))
    }

    fn make_chroot(&self, acl: Acl) -> Reply<()> {
        let mut missing: Vec<_> = std::iter::successors(Some(self.chroot.as_str()), |path| {
            path.rsplit_once('/').map(|(parent, _)| parent)
        })
        .take_while(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
        missing.reverse();
        let create = |path| self.write(Op::Create { path, data: Bytes::new(), kind: Kind::Persistent, acl });
        let mut created: VecDeque<_> = missing.into_iter().map(create).collect();
        Box::pin(async move {
            while let Some(created_one) = created.pop_front() {
                match created_one.await {
                    Ok(_) | Err(Fault::NodeExists) => {}
                    // Permission is checked before existence: it may be there.
                    Err(Fault::NoAuth) if !created.is_empty() => {}
                    Err(fault) => return Err(fault),
                }
            }
            Ok(())
        })
    }

    fn close(&self, within: Duration) -> BoxFuture<'static, bool> {
        if let State::Over(_) = *self.states.borrow() {
            return Box::pin(async { false });
        }
        let mut states = self.states();
        let (cluster, id) = (self.cluster.clone(), self.id);
        cluster.close(id);
        Box::pin(async move {
            let over = timeout(within, async {
                loop {
                    if let State::Over(end) = states.changed().await {
                        return end;
                    }
                }
            });
            let end = over.await;
            cluster.abort(id);
            end.is_ok_and(|end| end == End::Closed)
        })
    }

    fn abort(&self) {
        self.cluster.abort(self.id);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.cluster.close(self.id);
    }
}

struct Changes(watch::Receiver<State>);

impl States for Changes {
    fn changed(&mut self) -> BoxFuture<'_, State> {
        Box::pin(async {
            let state = *self.0.borrow();
            if !matches!(state, State::Over(_)) {
                // It fails only once the session is gone, and it is not gone before it is over.
                let _ = self.0.changed().await;
            }
            *self.0.borrow_and_update()
        })
    }
}

struct Events {
    chroot: String,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Events {
    fn relative(&self, event: Event) -> Event {
        match event {
            Event::Node(path) => {
                let path = path.strip_prefix(&self.chroot).unwrap_or(&path);
                Event::Node(if path.is_empty() { "/" } else { path }.to_owned())
            }
            event => event,
        }
    }
}

impl Watch for Events {
    fn next(&mut self) -> BoxFuture<'_, Option<Event>> {
        Box::pin(async {
            let event = self.events.recv().await?;
            Some(self.relative(event))
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        Some(self.relative(event))
    }
}
