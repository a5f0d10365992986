//! One session as its client sees it: [`Store`], [`States`] and [`Watch`] over the state of the cluster.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::super::{End, Event, Fault, Kind, Node, Op, Reply, Stat, State, States, Store, Watch, limits};
use super::Cluster;
use super::server;
use super::tree::parent;
use super::wire::{Packet, Request, Served};
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
    /// Of a session that was just opened.
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

    fn read_only<T: Send + 'static>(
        &self,
        execute: impl FnOnce(&mut Served<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Reply<T> {
        self.send(false, execute)
    }

    fn send<T: Send + 'static>(
        &self,
        writes: bool,
        execute: impl FnOnce(&mut Served<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Reply<T> {
        let (sender, receiver) = oneshot::channel();
        let execute = Box::new(move |served: Result<Served<'_>, Fault>| {
            let result = served.and_then(|mut served| {
                let server::State { refuse_read, refuse_write, .. } = &mut *served.state;
                match (if writes { refuse_write } else { refuse_read }).take() {
                    Some(fault) => Err(fault),
                    None => execute(&mut served),
                }
            });
            Packet::Reply(Box::new(move |lost: Option<Fault>| {
                // Whoever asked may have stopped listening.
                let _ = sender.send(lost.map_or(result, Err));
            }))
        });
        self.cluster.lock().send(self.id, Request { writes, execute }, Instant::now());
        Box::pin(async move { receiver.await.unwrap_or(Err(Fault::Over)) })
    }

    fn write(&self, ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        if let Err(fault) = limits::check_multi(&ops) {
            return Box::pin(async { Err(fault) });
        }
        self.send(true, move |served| {
            let Served { state, session, now, .. } = served;
            state
                .commit(*session, &ops, *now)
                .map_err(|(index, fault)| Fault::Multi { index, fault: Box::new(fault) })
        })
    }

    fn write_one(&self, op: Op) -> Reply<Option<Stat>> {
        let reply = self.write(vec![op]);
        Box::pin(async move {
            match reply.await {
                Ok(mut stats) => Ok(stats.pop().flatten()),
                Err(Fault::Multi { fault, .. }) => Err(*fault),
                Err(fault) => Err(fault),
            }
        })
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
        let reply = self.write_one(Op::Create { path: self.full(path), data, kind, acl });
        Box::pin(async move { Ok(reply.await?.unwrap_or_default()) })
    }

    fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Reply<Stat> {
        let data = Bytes::copy_from_slice(data);
        let reply = self.write_one(Op::Set { path: self.full(path), data, version });
        Box::pin(async move { Ok(reply.await?.unwrap_or_default()) })
    }

    fn delete(&self, path: &str, version: Option<i32>) -> Reply<()> {
        let reply = self.write_one(Op::Delete { path: self.full(path), version });
        Box::pin(async move { reply.await.map(|_| ()) })
    }

    fn multi(&self, mut ops: Vec<Op>) -> Reply<Vec<Option<Stat>>> {
        for op in &mut ops {
            let (Op::Create { path, .. } | Op::Delete { path, .. } | Op::Set { path, .. }) = op;
            *path = self.full(path);
        }
        self.write(ops)
    }

    fn list(&self, path: &str) -> Reply<(Vec<String>, Stat)> {
        let path = self.full(path);
        self.read_only(move |served| {
            let (tree, who) = served.tree();
            tree.list(who, &path)
        })
    }

    fn read(&self, paths: &[String]) -> Reply<Vec<Result<Node, Fault>>> {
        if let Err(fault) = limits::check_read(paths) {
            return Box::pin(async { Err(fault) });
        }
        let paths: Vec<_> = paths.iter().map(|path| self.full(path)).collect();
        self.read_only(move |served| {
            let (tree, who) = served.tree();
            Ok(paths.iter().map(|path| tree.read(who, path)).collect())
        })
    }

    fn acl(&self, path: &str) -> Reply<Acl> {
        let path = self.full(path);
        self.read_only(move |served| {
            let (tree, who) = served.tree();
            tree.acl(who, &path)
        })
    }

    fn sync(&self, _path: &str) -> Reply<()> {
        self.read_only(|served| {
            served.state.catch_up(served.client, served.now);
            Ok(())
        })
    }

    fn ephemerals(&self) -> Reply<Vec<String>> {
        let chroot = self.chroot.clone();
        self.read_only(move |served| {
            let id = served.session().ok_or(Fault::Over)?.id;
            let (tree, _) = served.tree();
            let owned = tree.owned(id);
            Ok(owned.iter().filter_map(|path| path.strip_prefix(&chroot)).map(str::to_owned).collect())
        })
    }

    fn auth_schemes(&self) -> Reply<Vec<String>> {
        self.read_only(|served| {
            let (_, who) = served.tree();
            Ok(["ip"].into_iter().chain(who.iter().map(|_| "digest")).map(str::to_owned).collect())
        })
    }

    fn watch(&self, path: &str) -> Reply<Box<dyn Watch>> {
        let (path, chroot) = (self.full(path), self.chroot.clone());
        self.read_only(move |served| {
            let (sender, events) = mpsc::unbounded_channel();
            let session = served.session().ok_or(Fault::Over)?;
            session.watchers.push((path.clone(), sender));
            served.arm(path);
            Ok(Box::new(Events { chroot, events }) as Box<dyn Watch>)
        })
    }

    fn rearm(&self, path: &str) -> Reply<()> {
        let path = self.full(path);
        self.read_only(move |served| {
            served.arm(path);
            Ok(())
        })
    }

    fn make_chroot(&self, acl: Acl) -> Reply<()> {
        let mut missing: Vec<_> =
            std::iter::successors(Some(self.chroot.as_str()), |path| Some(parent(path)))
                .take_while(|path| !path.is_empty() && *path != "/")
                .map(str::to_owned)
                .collect();
        self.send(true, move |served| {
            while let Some(path) = missing.pop() {
                let create = Op::Create { path, data: Bytes::new(), kind: Kind::Persistent, acl };
                match served.state.commit(served.session, &[create], served.now) {
                    Ok(_) | Err((_, Fault::NodeExists)) => {}
                    // Said before it is looked whether it exists.
                    Err((_, Fault::NoAuth)) if !missing.is_empty() => {}
                    Err((_, fault)) => return Err(fault),
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
