//! The requests of one round, sent together and awaited together. It decides nothing.
//!
//! Creates go through `multi` in bounded chunks; a chunk that fails for one item falls back to single creates.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use tracing::debug;

use super::holders::Key;
use super::markers::{Ask, Found, settle};
use super::neighbours::{Seen, look};
use super::take_over::take_over;
use crate::counters::WriteCounters;
use crate::options::Acl;
use crate::store::limits::{self, MOST_PER_REQUEST};
use crate::store::{Fault, Kind, Node, Op, Reply, Stat, Store};

/// From how many creates on a `multi` is worth it.
const WORTH_A_MULTI: usize = 4;

/// What to ask. Everything is sent at once, in this order.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) parents: Vec<(String, Vec<String>, Kind)>,
    pub(super) creates: Vec<Create>,
    pub(super) writes: Vec<(Key, Write)>,
    pub(super) reads: Vec<(Key, String)>,
    /// Parents whose ACL is of interest.
    pub(super) acls: Vec<String>,
    /// Directories whose first children are of interest.
    pub(super) looks: Vec<String>,
    /// Markers that are looked at, and written if need be, by the nodes of their services.
    pub(super) markers: Vec<(String, Ask)>,
    /// Whether to list the nodes that the session owns.
    pub(super) owned: bool,
}

/// A fenced change of one node.
#[derive(Debug)]
pub(super) enum Write {
    Delete {
        path: String,
        version: i32,
    },
    /// Creates a node and deletes the one that it replaces, in one transaction.
    Move {
        from: String,
        version: i32,
        to: String,
        data: Bytes,
    },
    Set {
        path: String,
        data: Bytes,
        version: i32,
    },
    TakeOver {
        path: String,
        data: Bytes,
        version: i32,
    },
}

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    Created(Result<Stat, Fault>),
    Deleted(Result<(), Fault>),
    /// A refusal says which operation failed.
    Moved(Result<Stat, Fault>),
    Read(Result<Node, Fault>),
    Written(Result<Stat, Fault>),
}

impl Answer {
    /// Counts a write that was acknowledged.
    pub(super) fn count(&self, writes: &WriteCounters) {
        let counter = match self {
            Self::Created(Ok(_)) => &writes.created,
            Self::Deleted(Ok(())) => &writes.deleted,
            Self::Moved(Ok(_)) => &writes.moved,
            Self::Written(Ok(_)) => &writes.written,
            _ => return,
        };
        counter.add(1);
    }
}

/// What came back of a whole round.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) items: Vec<(Key, Answer)>,
    /// Services whose parents could not be made.
    pub(super) orphans: Vec<(String, Fault)>,
    /// The parents whose ACL was asked for.
    pub(super) acls: Vec<(String, Result<Acl, Fault>)>,
    /// The directories that were looked at.
    pub(super) looks: Vec<(String, Seen)>,
    /// What the markers said in the end.
    pub(super) markers: Vec<(String, Result<Found, Fault>)>,
    pub(super) owned: Option<Result<HashSet<String>, Fault>>,
}

impl Round {
    pub(super) fn is_empty(&self) -> bool {
        self.parents.is_empty()
            && self.creates.is_empty()
            && self.writes.is_empty()
            && self.reads.is_empty()
            && self.acls.is_empty()
            && self.looks.is_empty()
            && self.markers.is_empty()
            && !self.owned
    }

    /// Whether no registration is asked for twice: its answers would come in no order.
    fn asks_once(&self) -> bool {
        let creates = self.creates.iter().map(|(key, ..)| key);
        let others = self.writes.iter().map(|(key, _)| key).chain(self.reads.iter().map(|(key, _)| key));
        let mut seen = HashSet::new();
        creates.chain(others).all(|key| seen.insert(*key))
    }

    /// Sends everything now; the future only awaits, makes the single creates of a chunk that failed, and looks at
    /// directories and markers.
    pub(super) fn send(self, store: Arc<dyn Store>, acl: Acl) -> BoxFuture<'static, Answers> {
        debug_assert!(self.asks_once(), "a registration is asked for twice in one round");
        let parents: Vec<_> = self
            .parents
            .into_iter()
            .map(|(parent, paths, kind)| {
                let replies: Vec<_> = paths.iter().map(|path| store.create(path, b"", kind, acl)).collect();
                (parent, replies)
            })
            .collect();
        let creates = Creates::send(self.creates, &*store, acl);
        let writes: Vec<_> =
            self.writes.into_iter().map(|(key, write)| (key, write.send(&*store, acl))).collect();
        let reads: Vec<_> = self
            .reads
            .chunks(MOST_PER_REQUEST)
            .map(|chunk| {
                let (keys, paths): (Vec<_>, Vec<_>) = chunk.iter().cloned().unzip();
                (keys, store.read(&paths))
            })
            .collect();
        let acls: Vec<_> = (self.acls.into_iter())
            .map(|path| {
                let reply = store.acl(&path);
                (path, reply)
            })
            .collect();
        let owned = self.owned.then(|| store.ephemerals());
        Box::pin(async move {
            let mut answers = Answers::default();
            for (parent, replies) in parents {
                if let Some(fault) = orphan(join_all(replies).await) {
                    answers.orphans.push((parent, fault));
                }
            }
            answers.items = creates.finish(&*store, acl).await;
            for (key, reply) in writes {
                answers.items.push((key, reply.finish().await));
            }
            for (keys, reply) in reads {
                match reply.await {
                    Ok(nodes) => {
                        answers.items.extend(keys.into_iter().zip(nodes.into_iter().map(Answer::Read)));
                    }
                    Err(fault) => {
                        answers
                            .items
                            .extend(keys.into_iter().map(|key| (key, Answer::Read(Err(fault.clone())))));
                    }
                }
            }
            for (path, reply) in acls {
                answers.acls.push((path, reply.await));
            }
            for directory in self.looks {
                let seen = look(&*store, &directory).await;
                answers.looks.push((directory, seen));
            }
            for (root, ask) in self.markers {
                let found = settle(&*store, &root, &ask, acl).await;
                answers.markers.push((root, found));
            }
            if let Some(owned) = owned {
                answers.owned = Some(owned.await.map(HashSet::from_iter));
            }
            answers
        })
    }
}

/// Why the deepest parent is not there. The ones above matter only if it misses them: permission to create is checked before
/// existence, so that a parent which is there may be refused.
fn orphan(parents: Vec<Result<Stat, Fault>>) -> Option<Fault> {
    let mut missing = None;
    for parent in parents.into_iter().rev() {
        match parent {
            Ok(_) | Err(Fault::NodeExists) => break,
            Err(Fault::NoNode) => missing = Some(Fault::NoNode),
            Err(fault) => return Some(fault),
        }
    }
    missing
}

/// Creates that were sent: alone, or in chunks that succeed or fail as one.
struct Creates {
    alone: Vec<(Key, Reply<Stat>)>,
    chunks: Vec<Chunk>,
}

/// Creates that succeed or fail as one.
struct Chunk {
    creates: Vec<Create>,
    reply: Reply<Vec<Option<Stat>>>,
}

/// Whose node, where, and what it says.
type Create = (Key, String, Bytes);

impl Creates {
    fn send(items: Vec<Create>, store: &dyn Store, acl: Acl) -> Self {
        let mut sent = Self { alone: Vec::new(), chunks: Vec::new() };
        for chunk in limits::creates(&items, |(_, path, data)| (path, data)) {
            if chunk.len() < WORTH_A_MULTI {
                sent.alone.extend(
                    chunk
                        .iter()
                        .map(|(key, path, data)| (*key, store.create(path, data, Kind::Ephemeral, acl))),
                );
            } else {
                let create = |(_, path, data): &Create| Op::Create {
                    path: path.clone(),
                    data: data.clone(),
                    kind: Kind::Ephemeral,
                    acl,
                };
                let reply = store.multi(chunk.iter().map(create).collect());
                sent.chunks.push(Chunk { creates: chunk.to_vec(), reply });
            }
        }
        sent
    }

    async fn finish(self, store: &dyn Store, acl: Acl) -> Vec<(Key, Answer)> {
        let mut answers = Vec::new();
        for (key, reply) in self.alone {
            answers.push((key, Answer::Created(reply.await)));
        }
        for Chunk { creates: chunk, reply } in self.chunks {
            let keys = chunk.iter().map(|(key, ..)| *key);
            match reply.await {
                Ok(stats) => {
                    let stats = stats.into_iter().map(Option::unwrap_or_default);
                    answers.extend(keys.zip(stats.map(|stat| Answer::Created(Ok(stat)))));
                }
                Err(Fault::Multi { index, fault }) if !matches!(*fault, Fault::NoNode) => {
                    debug!(index, ?fault, "a chunk failed for one of its creates, making them one by one");
                    let alone: Vec<_> = chunk
                        .iter()
                        .map(|(key, path, data)| (*key, store.create(path, data, Kind::Ephemeral, acl)))
                        .collect();
                    for (key, reply) in alone {
                        answers.push((key, Answer::Created(reply.await)));
                    }
                }
                Err(fault) => {
                    // A missing parent concerns them all: parents are made per round.
                    let fault = if let Fault::Multi { fault, .. } = fault { *fault } else { fault };
                    answers.extend(keys.map(|key| (key, Answer::Created(Err(fault.clone())))));
                }
            }
        }
        answers
    }
}

/// A write that was sent.
enum Sent {
    Delete(Reply<()>),
    Move(Reply<Vec<Option<Stat>>>),
    Set(Reply<Stat>),
    TakeOver(Reply<Vec<Option<Stat>>>),
}

impl Write {
    fn send(self, store: &dyn Store, acl: Acl) -> Sent {
        match self {
            Self::Delete { path, version } => Sent::Delete(store.delete(&path, Some(version))),
            Self::Move { from, version, to, data } => {
                let create = Op::Create { path: to, data, kind: Kind::Ephemeral, acl };
                Sent::Move(store.multi(vec![create, Op::Delete { path: from, version: Some(version) }]))
            }
            Self::Set { path, data, version } => Sent::Set(store.set(&path, &data, Some(version))),
            Self::TakeOver { path, data, version } => {
                Sent::TakeOver(store.multi(take_over(&path, &data, version, acl)))
            }
        }
    }
}

impl Sent {
    async fn finish(self) -> Answer {
        match self {
            Self::Delete(reply) => Answer::Deleted(reply.await),
            Self::Move(reply) => {
                Answer::Moved(reply.await.map(|stats| stats.into_iter().flatten().next().unwrap_or_default()))
            }
            Self::Set(reply) => Answer::Written(reply.await),
            Self::TakeOver(reply) => Answer::Written(match reply.await {
                Ok(stats) => Ok(stats.into_iter().flatten().next_back().unwrap_or_default()),
                Err(Fault::Multi { fault, .. }) => Err(*fault),
                Err(fault) => Err(fault),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_parent_decides() {
        let ok = || Ok(Stat::default());
        assert!(orphan(vec![Err(Fault::NoAuth), ok()]).is_none());
        assert!(orphan(vec![Err(Fault::NoAuth), Err(Fault::NodeExists)]).is_none());
        let refused = orphan(vec![Err(Fault::NoAuth), Err(Fault::NoNode)]);
        assert!(matches!(refused, Some(Fault::NoAuth)), "{refused:?}");
        let refused = orphan(vec![ok(), Err(Fault::NoAuth)]);
        assert!(matches!(refused, Some(Fault::NoAuth)), "{refused:?}");
        let no_chroot = orphan(vec![Err(Fault::NoNode), Err(Fault::NoNode)]);
        assert!(matches!(no_chroot, Some(Fault::NoNode)), "{no_chroot:?}");
    }

    #[test]
    fn a_successor_never_stands_at_its_predecessors_version() {
        for version in 0..20 {
            let sets = take_over("/s/i", &Bytes::new(), version, Acl::Open).len() - 2;
            assert_ne!(sets as i32, version);
            assert_eq!(sets as i32, (version + 1) % 8);
        }
    }

    #[test]
    fn a_takeover_carries_the_record_once_and_last() {
        for version in 0..20 {
            let ops = take_over("/s/i", &Bytes::from("record"), version, Acl::Open);
            let data: Vec<_> = ops
                .iter()
                .filter_map(|op| match op {
                    Op::Create { data, .. } | Op::Set { data, .. } => Some(data.as_ref()),
                    Op::Delete { .. } => None,
                })
                .collect();
            let (last, others) = data.split_last().unwrap();
            assert_eq!(*last, b"record");
            assert!(others.iter().all(|data| data.is_empty()));
        }
    }

    #[test]
    fn chunks_are_bounded_by_count_and_by_bytes() {
        let item = |n: u64, size: usize| (Key(n), format!("/s/{n}"), Bytes::from(vec![0; size]));
        let chunked = |items: Vec<Create>| -> Vec<usize> {
            limits::creates(&items, |(_, path, data)| (path, data)).map(<[Create]>::len).collect()
        };
        assert_eq!(chunked((0..1_200).map(|n| item(n, 100)).collect()), [500, 500, 200]);
        assert_eq!(chunked((0..5).map(|n| item(n, 200_000)).collect()), [2, 2, 1]);
        assert_eq!(chunked((0..2).map(|n| item(n, 900_000)).collect()), [1, 1]);
    }
}
