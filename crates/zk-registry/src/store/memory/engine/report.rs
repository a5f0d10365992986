//! What a server tells of itself, and what is looked at from outside.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::watches::ConnectionId;
use super::{Engine, record};

/// What a server tells of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    pub(crate) zxid: i64,
    pub(crate) nodes: usize,
    pub(crate) ephemerals: usize,
    pub(crate) watches: usize,
    pub(crate) data: usize,
}

impl Engine {
    /// Every node: its path, data and stat.
    pub(crate) fn dump(&self) -> impl Iterator<Item = (&str, Option<&Bytes>, record::Stat)> {
        self.tree.nodes.iter().map(|(path, node)| (&**path, node.data.as_ref(), node.stat()))
    }

    /// A node's data and stat.
    pub(crate) fn node(&self, path: &str) -> Option<(Option<&Bytes>, record::Stat)> {
        self.tree.get(path).ok().map(|node| (node.data.as_ref(), node.stat()))
    }

    pub(crate) fn census(&self) -> Census {
        Census {
            zxid: self.zxid,
            // The root has two names.
            nodes: self.tree.nodes.len() + 1,
            ephemerals: self.tree.ephemerals.values().map(BTreeSet::len).sum(),
            watches: self.members.watched(),
            data: self.dump().map(|(path, data, _)| path.len() + data.map_or(0, Bytes::len)).sum(),
        }
    }

    /// The sessions and their timeouts.
    pub(crate) fn timeouts(&self) -> impl Iterator<Item = (i64, Duration)> {
        self.sessions.all.iter().map(|(id, session)| (*id, session.timeout))
    }

    /// The sessions that have nodes, and those.
    pub(crate) fn ephemerals(&self) -> impl Iterator<Item = (i64, &BTreeSet<Arc<str>>)> {
        self.tree.ephemerals.iter().map(|(session, paths)| (*session, paths))
    }

    /// The paths whose data is watched, and by which connections.
    pub(crate) fn watched(&self) -> impl Iterator<Item = (&str, ConnectionId)> {
        self.members.watched_data()
    }
}
