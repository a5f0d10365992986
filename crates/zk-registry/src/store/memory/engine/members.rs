//! The members of the ensemble: each serves connections, has their watches, and may lag behind the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::identity;
use super::record::{AclList, Code, Event, EventKind, Id, SetWatches, perms};
use super::transaction::Change;
use super::tree::{Tree, parent_key};
use super::watches::{ConnectionId, Mode, Watches};

/// What the front does because of a request, of any connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// Closes this connection; the engine has forgotten it.
    Close(ConnectionId),
    Event(ConnectionId, Event),
}

#[derive(Debug, Default)]
pub(super) struct Members {
    all: Vec<Member>,
    connections: BTreeMap<ConnectionId, Connection>,
    effects: Vec<Effect>,
}

#[derive(Debug, Default)]
struct Member {
    watches: Watches,
    behind: Option<Behind>,
}

/// What a member knows that lags: the past, and what it has yet to tell its watches.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) tree: Tree,
    pub(super) zxid: i64,
    changes: Vec<Change>,
}

/// A connection of a session.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) session: i64,
    pub(super) member: usize,
    pub(super) address: IpAddr,
    /// The identities that the connection has proved.
    pub(super) ids: Arc<[Id]>,
}

impl Connection {
    pub(super) fn new(session: i64, member: usize, address: IpAddr) -> Self {
        Self { session, member, address, ids: Arc::new([identity::of_address(address)]) }
    }
}

impl Members {
    pub(super) fn add(&mut self) -> usize {
        self.all.push(Member::default());
        self.all.len() - 1
    }

    pub(super) fn connect(&mut self, id: ConnectionId, connection: Connection) {
        self.connections.insert(id, connection);
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(super) fn identify(&mut self, id: ConnectionId, proved: Id) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.ids.contains(&proved)
        {
            connection.ids = connection.ids.iter().cloned().chain([proved]).collect();
        }
    }

    /// Forgets a connection and its watches; the session that it was of.
    pub(super) fn disconnect(&mut self, id: ConnectionId) -> Option<i64> {
        let Connection { session, member, .. } = self.connections.remove(&id)?;
        self.all[member].watches.forget(id);
        Some(session)
    }

    pub(super) fn forget_watches(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get(&id) {
            self.all[connection.member].watches.forget(id);
        }
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        if self.disconnect(id).is_some() {
            self.effects.push(Effect::Close(id));
        }
    }

    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn watches(&mut self, member: usize) -> &mut Watches {
        &mut self.all[member].watches
    }

    pub(super) fn watched(&self) -> usize {
        self.all.iter().map(|member| member.watches.len()).sum()
    }

    pub(super) fn watched_data(&self) -> impl Iterator<Item = (&str, ConnectionId)> {
        self.all.iter().flat_map(|member| member.watches.data.all())
    }

    /// Sets a persistent watch.
    pub(super) fn watch(&mut self, id: ConnectionId, path: &str, recursive: bool) {
        if let Some(connection) = self.connections.get(&id) {
            let watches = &mut self.all[connection.member].watches;
            match recursive {
                true => watches.data.add(path, id, Mode::Recursive),
                false => watches.add_persistent(path, id),
            }
        }
    }

    /// Sets a watch that hears once, of the children or of the data, if it is asked for.
    pub(super) fn watch_once(&mut self, id: ConnectionId, path: &str, asked: bool, of: EventKind) {
        if let Some(connection) = self.connections.get(&id).filter(|_| asked) {
            let watches = &mut self.all[connection.member].watches;
            let table = if of == EventKind::ChildrenChanged { &mut watches.child } else { &mut watches.data };
            table.add(path, id, Mode::Standard);
        }
    }

    /// Sets the watches of an earlier connection again; tells at once what they have missed.
    pub(super) fn set_watches(
        &mut self,
        id: ConnectionId,
        asked: &SetWatches,
        leader: &Tree,
    ) -> Result<(), Code> {
        let Some(connection) = self.connections.get(&id) else { return Ok(()) };
        let Member { watches, behind } = &mut self.all[connection.member];
        let tree = behind.as_ref().map_or(leader, |behind| &behind.tree);
        let effects = &mut self.effects;
        let mut tell = |kind, path: &str| {
            effects.push(Effect::Event(id, Event { kind, path: path.into(), zxid: -1 }));
        };
        let there = |path: &Option<String>| path.clone().ok_or(Code::Marshalling);
        for path in &asked.data {
            let path = &there(path)?;
            match tree.get(path) {
                Err(_) => tell(EventKind::Deleted, path),
                Ok(node) if node.stat.mzxid > asked.since => tell(EventKind::DataChanged, path),
                Ok(_) => watches.data.add(path, id, Mode::Standard),
            }
        }
        for path in &asked.exist {
            let path = &there(path)?;
            match tree.get(path) {
                Ok(_) => tell(EventKind::Created, path),
                Err(_) => watches.data.add(path, id, Mode::Standard),
            }
        }
        for path in &asked.child {
            let path = &there(path)?;
            match tree.get(path) {
                Err(_) => tell(EventKind::Deleted, path),
                Ok(node) if node.stat.pzxid > asked.since => tell(EventKind::ChildrenChanged, path),
                Ok(_) => watches.child.add(path, id, Mode::Standard),
            }
        }
        for path in &asked.persistent {
            watches.add_persistent(path, id);
        }
        for path in &asked.recursive {
            watches.data.add(path, id, Mode::Recursive);
        }
        Ok(())
    }

    pub(super) fn behind(&self, member: usize) -> Option<&Behind> {
        self.all[member].behind.as_ref()
    }

    pub(super) fn lag(&mut self, member: usize, tree: &Tree, zxid: i64) {
        let behind = &mut self.all[member].behind;
        behind.get_or_insert_with(|| Behind { tree: tree.clone(), zxid, changes: Vec::new() });
    }

    pub(super) fn catch_up(&mut self, member: usize) {
        if let Some(behind) = self.all[member].behind.take() {
            for change in &behind.changes {
                self.tell(member, change);
            }
        }
    }

    /// Tells the watches of a transaction, as far as their members know of it.
    pub(super) fn publish(&mut self, changes: &[Change]) {
        for member in 0..self.all.len() {
            match &mut self.all[member].behind {
                Some(behind) => behind.changes.extend(changes.iter().cloned()),
                None => changes.iter().for_each(|change| self.tell(member, change)),
            }
        }
    }

    fn tell(&mut self, member: usize, change: &Change) {
        let Change { zxid, kind, path, acl, parent_acl } = change;
        let Watches { data, child } = &mut self.all[member].watches;
        let parent = parent_key(path);
        let heard = data.trigger(path);
        let (above, again) = match kind {
            EventKind::Created => (child.trigger(parent), BTreeSet::new()),
            EventKind::Deleted => {
                let again = &child.trigger(path) - &heard;
                (child.trigger(parent), again)
            }
            EventKind::ChildrenChanged | EventKind::DataChanged => (BTreeSet::new(), BTreeSet::new()),
        };
        let event = |kind, path: &Arc<str>| Event { kind, path: path.clone(), zxid: *zxid };
        self.send(heard, event(*kind, path), acl);
        self.send(again, event(*kind, path), acl);
        if !above.is_empty() {
            self.send(above, event(EventKind::ChildrenChanged, &parent.into()), parent_acl);
        }
    }

    /// Sends an event to those who may read the node.
    fn send(&mut self, to: BTreeSet<ConnectionId>, event: Event, acl: &AclList) {
        for id in to {
            let Some(connection) = self.connections.get(&id) else { continue };
            if identity::permits(acl, perms::READ, &connection.ids) {
                self.effects.push(Effect::Event(id, event.clone()));
            }
        }
    }
}
