//! ZooKeeper's state machine: a request of a session at a time in, its reply and the events that it causes out.
//!
//! Nothing here waits, knows a byte or a socket, or fails by chance. Two fronts run on it: the memory store, whose wire is a
//! queue, and `testing::Server`, whose wire is TCP. What it answers is compared with Apache ZooKeeper's answers, request by
//! request, by the differential run of the integration tests.
//!
//! It does not model quotas, SASL, reconfiguration or elections. An ensemble is one tree and any number of members, each of
//! which may lag behind it.

mod identity;
mod members;
mod order;
mod path;
pub(crate) mod record;
mod report;
mod requests;
mod session;
#[cfg(test)]
mod tests;
mod transaction;
mod tree;
mod watches;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::identity::digest_id;
pub(crate) use self::members::Effect;
use self::members::{Connection, Members};
use self::record::EventKind;
pub(crate) use self::session::Password;
use self::session::{ServerSession, Sessions, password};
use self::transaction::{Change, Stamp, Transaction};
use self::tree::{Tree, parent_key};
pub(crate) use self::watches::ConnectionId;

/// How an engine begins.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// When it begins.
    pub(crate) began: Instant,
    /// The same time in milliseconds since the Unix epoch.
    pub(crate) wall: i64,
    /// The number of the last transaction of the lives before this one.
    pub(crate) zxid: i64,
    /// The number after which sessions are numbered.
    pub(crate) session: i64,
    /// The unit of timeouts: a session gets 2 ticks or more, and expires with the tick that follows. Zero: every timeout is
    /// exact.
    pub(crate) tick: Duration,
    pub(crate) longest_timeout: Duration,
    /// The time that a container stays after it has lost its last child.
    pub(crate) container_check: Duration,
    /// The digest of the user who may do everything, as `user:hash`.
    pub(crate) superuser: Option<String>,
}

/// The state of an ensemble.
#[derive(Debug)]
pub(crate) struct Engine {
    tree: Tree,
    zxid: i64,
    sessions: Sessions,
    members: Members,
    /// Containers and nodes with a time to live, by the time at which they are looked at.
    inspections: BTreeSet<(Instant, Arc<str>)>,
    settings: Settings,
}

/// A client's first packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello<'a> {
    /// The last transaction that the client has seen.
    pub(crate) last_zxid: i64,
    pub(crate) timeout: Duration,
    /// The session that it wants to continue; 0: a new one.
    pub(crate) session: i64,
    pub(crate) password: &'a [u8],
}

/// The answer to a [`Hello`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Greeting {
    Accepted {
        session: i64,
        timeout: Duration,
        password: Password,
    },
    /// The client has seen a transaction that this ensemble does not know. The server closes without an answer.
    Ahead,
    /// The session is not known, or its password is wrong.
    Expired,
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            tree: Tree::new(),
            zxid: settings.zxid,
            sessions: Sessions::new(
                settings.session,
                settings.tick,
                settings.longest_timeout,
                settings.began,
            ),
            members: Members::default(),
            inspections: BTreeSet::new(),
            settings,
        }
    }

    pub(crate) fn set_container_check(&mut self, interval: Duration) {
        self.settings.container_check = interval;
    }

    /// Another member of the ensemble, by its number. Connections and watches belong to a member.
    pub(crate) fn add_member(&mut self) -> usize {
        self.members.add()
    }

    /// The member learns nothing more, until it is asked for a `sync`, is sent a write, or [catches up](Self::catch_up).
    pub(crate) fn lag(&mut self, member: usize) {
        self.members.lag(member, &self.tree, self.zxid);
    }

    pub(crate) fn catch_up(&mut self, member: usize) {
        self.members.catch_up(member);
    }

    /// What was caused since the last call, in order. The effects of a request come before its reply.
    pub(crate) fn effects(&mut self) -> Vec<Effect> {
        self.members.take_effects()
    }

    // Sessions and connections.

    /// A connection's first packet. A session that has another connection is moved: the other one is closed.
    pub(crate) fn connect(
        &mut self,
        connection: ConnectionId,
        member: usize,
        address: IpAddr,
        hello: Hello<'_>,
        now: Instant,
    ) -> Greeting {
        if hello.last_zxid > self.members.behind(member).map_or(self.zxid, |behind| behind.zxid) {
            return Greeting::Ahead;
        }
        let id = match hello.session {
            0 => {
                self.zxid += 1;
                self.sessions.open(hello.timeout, connection, now)
            }
            id => {
                let granted = self.sessions.granted(hello.timeout);
                let Some(session) = self.sessions.all.get_mut(&id) else { return Greeting::Expired };
                // A server closes the older connection before it looks at the password.
                if let Some(older) = session.connection.take() {
                    self.members.close(older);
                }
                if hello.password != password(id) {
                    return Greeting::Expired;
                }
                session.timeout = granted;
                session.connection = Some(connection);
                self.sessions.touch(id, now);
                id
            }
        };
        let timeout = self.timeout(id).unwrap_or_default();
        self.members.connect(connection, Connection::new(id, member, address));
        Greeting::Accepted { session: id, timeout, password: password(id) }
    }

    /// The connection is gone, and its watches with it. Its session stays until it expires.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) {
        if let Some(id) = self.members.disconnect(connection)
            && let Some(session) = self.sessions.all.get_mut(&id)
            && session.connection == Some(connection)
        {
            session.connection = None;
        }
    }

    /// The connection is gone, but the servers still have requests of it to execute: until it is
    /// [disconnected](Self::disconnect) it keeps its identities, and loses its watches.
    pub(crate) fn detach(&mut self, connection: ConnectionId) {
        self.members.forget_watches(connection);
        let of_it = |session: &&mut ServerSession| session.connection == Some(connection);
        if let Some(session) = self.sessions.all.values_mut().find(of_it) {
            session.connection = None;
        }
    }

    /// The timeout of a session; `None`: there is no such session.
    pub(crate) fn timeout(&self, session: i64) -> Option<Duration> {
        self.sessions.all.get(&session).map(|session| session.timeout)
    }

    /// The session was heard at `at`: its timeout begins again.
    pub(crate) fn touch(&mut self, session: i64, at: Instant) {
        self.sessions.touch(session, at);
    }

    /// The session is heard all the time, until it is [touched](Self::touch).
    pub(crate) fn hold(&mut self, session: i64) {
        if let Some(session) = self.sessions.all.get_mut(&session) {
            session.expires = None;
        }
    }

    /// When the session expires; `None`: it is not known, or heard all the time.
    pub(crate) fn expires(&self, session: i64) -> Option<Instant> {
        self.sessions.all.get(&session).and_then(|session| session.expires)
    }

    /// Every session that is not heard all the time gets its whole timeout again.
    pub(crate) fn renew(&mut self, now: Instant) {
        self.sessions.renew(now);
    }

    /// Ends a session: its nodes are deleted in one transaction, its connection is closed.
    pub(crate) fn expire(&mut self, session: i64, now: Instant) {
        if let Some(connection) = self.end(session, now) {
            self.members.close(connection);
        }
    }

    /// Ends the sessions that have expired.
    pub(crate) fn expire_due(&mut self, now: Instant) {
        for session in self.sessions.due_at(now) {
            self.expire(session, now);
        }
    }

    fn end(&mut self, session: i64, now: Instant) -> Option<ConnectionId> {
        let ended = self.sessions.all.remove(&session)?;
        self.zxid += 1;
        let stamp = self.stamp(now);
        let mut transaction = Transaction::begin(&mut self.tree, stamp);
        transaction.disown(session);
        let changes = transaction.commit();
        self.publish(changes, now);
        ended.connection
    }

    // Transactions.

    /// One transaction. It takes a zxid also when it is refused.
    fn transact<T, E>(
        &mut self,
        now: Instant,
        execute: impl FnOnce(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.zxid += 1;
        let stamp = self.stamp(now);
        let mut transaction = Transaction::begin(&mut self.tree, stamp);
        match execute(&mut transaction) {
            Ok(done) => {
                let changes = transaction.commit();
                self.publish(changes, now);
                Ok(done)
            }
            Err(refused) => {
                transaction.roll_back();
                Err(refused)
            }
        }
    }

    fn stamp(&self, now: Instant) -> Stamp {
        Stamp { zxid: self.zxid, time: self.wall(now) }
    }

    /// The time in milliseconds since the Unix epoch.
    fn wall(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.settings.began).as_millis();
        self.settings.wall.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// What the member knows.
    fn view(&self, member: usize) -> &Tree {
        self.members.behind(member).map_or(&self.tree, |behind| &behind.tree)
    }

    fn publish(&mut self, changes: Vec<Change>, now: Instant) {
        for change in &changes {
            let parent = parent_key(&change.path);
            if change.kind == EventKind::Deleted && self.tree.is_abandoned(parent) {
                self.inspections.insert((now + self.settings.container_check, parent.into()));
            }
            if change.kind == EventKind::Created
                && let Some(at) = self.tree.dies_at(&change.path)
            {
                self.inspections.insert((self.instant(at, now), change.path.clone()));
            }
        }
        self.members.publish(&changes);
    }

    // What goes by itself.

    /// When a container or a node with a time to live is looked at next.
    pub(crate) fn next_inspection(&self) -> Option<Instant> {
        self.inspections.first().map(|(at, _)| *at)
    }

    /// Removes the containers and the nodes with a time to live whose time has come.
    pub(crate) fn inspect(&mut self, now: Instant) {
        while self.next_inspection().is_some_and(|at| at <= now) {
            let Some((_, path)) = self.inspections.pop_first() else { return };
            let dies_at = self.tree.dies_at(&path);
            let dead = dies_at.is_some_and(|at| at <= self.wall(now));
            if self.tree.is_abandoned(&path) || dead {
                // It may have children, and then stays for another interval.
                let removed = self.transact(now, |transaction| transaction.delete_container(&path));
                if removed.is_err() {
                    self.inspections.insert((now + self.settings.container_check, path));
                }
            } else if let Some(at) = dies_at {
                self.inspections.insert((self.instant(at, now), path));
            }
        }
    }

    fn instant(&self, wall: i64, now: Instant) -> Instant {
        let left = u64::try_from(wall.saturating_sub(self.wall(now))).unwrap_or_default();
        // A time to live may be longer than a clock can add.
        now + Duration::from_millis(left).min(LONGEST)
    }
}

/// An inspection is never later.
const LONGEST: Duration = Duration::from_secs(86_400);
