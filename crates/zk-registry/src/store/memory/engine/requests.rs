//! The requests of connections: each is executed by what it asks for, and answered.

use tokio::time::Instant;

use super::members::Connection;
use super::record::{Answer, Code, EventKind, Id, Read, Reply, Request, Write};
use super::transaction::{Actor, Transaction};
use super::watches::ConnectionId;
use super::{Engine, identity};

impl Engine {
    /// Executes a request of a connection.
    pub(crate) fn request(&mut self, connection: ConnectionId, request: &Request, now: Instant) -> Reply {
        let Some(Connection { session, member, address, ids }) = self.members.connection(connection).cloned()
        else {
            return self.expired();
        };
        if !self.sessions.all.contains_key(&session) {
            return self.expired();
        }
        let actor = Actor { session, ids: &ids };
        let mut closes = false;
        let result = match request {
            Request::Acl(path) => self.view(member).acl(path, &ids),
            Request::AddWatch { path, recursive } => {
                self.members.watch(connection, path, *recursive);
                Ok(Answer::Watching)
            }
            Request::AllChildrenNumber(path) => self.view(member).all_children_number(path, &ids),
            Request::Auth { scheme, auth } => {
                let proved = identity::authenticate(scheme, auth.as_deref(), address);
                closes = proved.is_none();
                let result = match proved {
                    Some(id) => {
                        if id.scheme == "digest" && self.settings.superuser.as_ref() == Some(&id.id) {
                            self.members.identify(connection, identity::superuser());
                        }
                        self.members.identify(connection, id);
                        Ok(Answer::Nothing)
                    }
                    None => Err(Code::AuthFailed),
                };
                return Reply { zxid: 0, result, closes };
            }
            Request::CheckWatches { path, kind } => {
                match self.members.watches(member).has(path, *kind, connection) {
                    true => Ok(Answer::Nothing),
                    false => Err(Code::NoWatcher),
                }
            }
            Request::ChildrenWithStat { path, watch } => {
                let read = self.view(member).children(path, &ids);
                self.members.watch_once(connection, path, *watch && read.is_ok(), EventKind::ChildrenChanged);
                read.map(|(names, stat)| Answer::ChildrenWithStat(names, stat))
            }
            Request::CloseSession => {
                self.end(session, now);
                closes = true;
                Ok(Answer::Nothing)
            }
            Request::DeleteContainer(path) => {
                self.transact(now, |transaction| transaction.delete_container(path)).map(|()| Answer::Nothing)
            }
            Request::Ephemerals(prefix) => Ok(Answer::Paths(self.view(member).ephemerals(session, prefix))),
            Request::Exists { path, watch } => {
                let read = self.view(member).exists(path, &ids);
                let told = matches!(read, Ok(_) | Err(Code::NoNode));
                self.members.watch_once(connection, path, *watch && told, EventKind::DataChanged);
                read.map(Answer::Stat)
            }
            Request::Malformed { takes_zxid } => {
                self.zxid += i64::from(*takes_zxid);
                Err(Code::Marshalling)
            }
            Request::Multi(writes) => self.multi(actor, writes, now),
            Request::MultiRead(reads) => Ok(Answer::Multi(
                reads.iter().map(|read| self.read(connection, member, &ids, read)).collect(),
            )),
            Request::Ping => Ok(Answer::Nothing),
            Request::Read(read) => self.read(connection, member, &ids, read),
            Request::Reconfig => {
                self.zxid += 1;
                Err(Code::ReconfigDisabled)
            }
            Request::RemoveWatches { path, kind } => {
                match self.members.watches(member).remove(path, *kind, connection) {
                    true => Ok(Answer::Nothing),
                    false => Err(Code::NoWatcher),
                }
            }
            Request::SetAcl { path, acl, version } => self
                .transact(now, |transaction| transaction.set_acl(actor, path, acl, *version))
                .map(Answer::Stat),
            Request::SetWatches(watches) => {
                self.members.set_watches(connection, watches, &self.tree).map(|()| Answer::Nothing)
            }
            Request::Sync(path) => {
                self.members.catch_up(member);
                Ok(Answer::Path(path.clone()))
            }
            Request::Unknown => {
                return Reply { zxid: -1, result: Err(Code::Unimplemented), closes: true };
            }
            Request::WhoAmI => Ok(Answer::Identities(ids.iter().map(identity::user).collect())),
            Request::Write(write) => {
                self.transact(now, |transaction| transaction.apply(actor, write)).map(|answer| match answer {
                    Answer::Checked | Answer::Deleted => Answer::Nothing,
                    answer => answer,
                })
            }
        };
        if request.writes() {
            self.members.catch_up(member);
        }
        let zxid = self.members.behind(member).map_or(self.zxid, |behind| behind.zxid);
        Reply { zxid, result, closes }
    }

    fn expired(&self) -> Reply {
        Reply { zxid: self.zxid, result: Err(Code::SessionExpired), closes: true }
    }

    /// Executes a transaction past all sessions: no node is closed to it. `ids` are those of its `auth` entries.
    pub(crate) fn administer(
        &mut self,
        session: i64,
        ids: &[Id],
        write: &Write,
        now: Instant,
    ) -> Result<Answer, Code> {
        let ids: Vec<_> = ids.iter().cloned().chain([identity::superuser()]).collect();
        self.transact(now, |transaction| transaction.apply(Actor { session, ids: &ids }, write))
    }

    fn read(
        &mut self,
        connection: ConnectionId,
        member: usize,
        ids: &[Id],
        read: &Read,
    ) -> Result<Answer, Code> {
        match read {
            Read::Children { path, watch } => {
                let (names, _) = self.view(member).children(path, ids)?;
                self.members.watch_once(connection, path, *watch, EventKind::ChildrenChanged);
                Ok(Answer::Children(names))
            }
            Read::Data { path, watch } => {
                let answer = self.view(member).data(path, ids)?;
                self.members.watch_once(connection, path, *watch, EventKind::DataChanged);
                Ok(answer)
            }
        }
    }

    fn multi(&mut self, actor: Actor<'_>, writes: &[Write], now: Instant) -> Result<Answer, Code> {
        let all = |transaction: &mut Transaction<'_>| {
            let each = writes.iter().enumerate();
            each.map(|(index, write)| transaction.apply(actor, write).map_err(|code| (index, code))).collect()
        };
        match self.transact::<Vec<Answer>, _>(now, all) {
            Ok(answers) => Ok(Answer::Multi(answers.into_iter().map(Ok).collect())),
            // What a server trips on is the fault of all.
            Err((_, Code::Marshalling)) => Err(Code::Marshalling),
            Err((index, code)) => Ok(Answer::Refused { index, code, of: writes.len() }),
        }
    }
}
