//! The watches of one server: who is told of which path, by which rule, how often.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::path;
use super::record::WatchKind;

/// A connection, by the number that its front gave it.
pub(crate) type ConnectionId = u64;

/// The two tables of a server.
#[derive(Debug, Default)]
pub(super) struct Watches {
    pub(super) data: Table,
    pub(super) child: Table,
}

/// How a watch hears, and for how long. One connection may watch one path in several modes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    Persistent,
    /// Persistent, and hears of the nodes below as well.
    Recursive,
    /// Hears once.
    Standard,
}

/// Who watches which path, in which modes.
#[derive(Debug, Default)]
pub(super) struct Table {
    paths: HashMap<String, BTreeMap<ConnectionId, u8>>,
    of: HashMap<ConnectionId, BTreeSet<String>>,
    /// How many of the watches are recursive: without any, no ancestor is looked at.
    recursive: usize,
}

impl Mode {
    fn bit(self) -> u8 {
        match self {
            Self::Persistent => 1,
            Self::Recursive => 2,
            Self::Standard => 4,
        }
    }
}

impl Watches {
    pub(super) fn add_persistent(&mut self, path: &str, connection: ConnectionId) {
        self.data.add(path, connection, Mode::Persistent);
        self.child.add(path, connection, Mode::Persistent);
    }

    /// Whether such a watch is set.
    pub(super) fn has(&self, path: &str, kind: WatchKind, connection: ConnectionId) -> bool {
        match kind {
            WatchKind::Any => self.data.has(path, None, connection) || self.child.has(path, None, connection),
            WatchKind::Children => self.child.has(path, Some(Mode::Standard), connection),
            WatchKind::Data => self.data.has(path, Some(Mode::Standard), connection),
            WatchKind::Persistent => self.data.has(path, Some(Mode::Persistent), connection),
            WatchKind::Recursive => self.data.has(path, Some(Mode::Recursive), connection),
        }
    }

    /// Removes such watches; `false`: none was set.
    pub(super) fn remove(&mut self, path: &str, kind: WatchKind, connection: ConnectionId) -> bool {
        let Self { data, child } = self;
        match kind {
            WatchKind::Any => data.remove(path, None, connection) | child.remove(path, None, connection),
            WatchKind::Children => child.remove(path, Some(Mode::Standard), connection),
            WatchKind::Data => data.remove(path, Some(Mode::Standard), connection),
            WatchKind::Persistent => {
                data.remove(path, Some(Mode::Persistent), connection)
                    | child.remove(path, Some(Mode::Persistent), connection)
            }
            WatchKind::Recursive => data.remove(path, Some(Mode::Recursive), connection),
        }
    }

    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.data.forget(connection);
        self.child.forget(connection);
    }

    /// How many watches are set.
    pub(super) fn len(&self) -> usize {
        self.data.len() + self.child.len()
    }
}

impl Table {
    pub(super) fn add(&mut self, path: &str, connection: ConnectionId, mode: Mode) {
        let modes = self.paths.entry(path.to_owned()).or_default().entry(connection).or_default();
        if *modes & mode.bit() == 0 {
            *modes |= mode.bit();
            self.recursive += usize::from(mode == Mode::Recursive);
            self.of.entry(connection).or_default().insert(path.to_owned());
        }
    }

    /// Who hears of a change of this path. Standard watches of the path itself are gone then.
    pub(super) fn trigger(&mut self, path: &str) -> BTreeSet<ConnectionId> {
        let mut heard = BTreeSet::new();
        if self.paths.is_empty() {
            return heard;
        }
        let mut fired = Vec::new();
        if let Some(watchers) = self.paths.get(path) {
            heard.extend(watchers.keys());
            fired.extend(
                watchers.iter().filter(|(_, modes)| *modes & Mode::Standard.bit() != 0).map(|(id, _)| *id),
            );
        }
        for connection in fired {
            self.clear(path, Mode::Standard.bit(), connection);
        }
        if self.recursive > 0 {
            for watchers in path::upwards(path).skip(1).filter_map(|above| self.paths.get(above)) {
                let recursive = |(_, modes): &(&ConnectionId, &u8)| *modes & Mode::Recursive.bit() != 0;
                heard.extend(watchers.iter().filter(recursive).map(|(id, _)| *id));
            }
        }
        heard
    }

    fn has(&self, path: &str, mode: Option<Mode>, connection: ConnectionId) -> bool {
        let modes = self.paths.get(path).and_then(|watchers| watchers.get(&connection));
        modes.is_some_and(|modes| modes & mode.map_or(u8::MAX, Mode::bit) != 0)
    }

    fn remove(&mut self, path: &str, mode: Option<Mode>, connection: ConnectionId) -> bool {
        self.has(path, mode, connection) && {
            self.clear(path, mode.map_or(u8::MAX, Mode::bit), connection);
            true
        }
    }

    fn clear(&mut self, path: &str, bits: u8, connection: ConnectionId) {
        let Some(watchers) = self.paths.get_mut(path) else { return };
        let Some(modes) = watchers.get_mut(&connection) else { return };
        self.recursive -= usize::from(*modes & bits & Mode::Recursive.bit() != 0);
        *modes &= !bits;
        if *modes == 0 {
            watchers.remove(&connection);
            if watchers.is_empty() {
                self.paths.remove(path);
            }
            if let Some(paths) = self.of.get_mut(&connection) {
                paths.remove(path);
            }
        }
    }

    fn forget(&mut self, connection: ConnectionId) {
        for path in self.of.remove(&connection).unwrap_or_default() {
            self.clear(&path, u8::MAX, connection);
        }
    }

    /// Every path that is watched, by every connection that does.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, ConnectionId)> {
        self.of.iter().flat_map(|(id, paths)| paths.iter().map(|path| (path.as_str(), *id)))
    }

    fn len(&self) -> usize {
        self.of.values().map(BTreeSet::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_watch_hears_once_and_a_persistent_one_beside_it_stays() {
        let mut table = Table::default();
        table.add("/a", 1, Mode::Standard);
        table.add("/a", 1, Mode::Persistent);
        table.add("/a", 2, Mode::Standard);
        assert_eq!(table.trigger("/a"), BTreeSet::from([1, 2]));
        assert_eq!(table.trigger("/a"), BTreeSet::from([1]));
        assert_eq!(table.trigger("/a/b"), BTreeSet::new());
    }

    #[test]
    fn a_recursive_watch_hears_of_what_is_below() {
        let mut watches = Watches::default();
        watches.data.add("/", 1, Mode::Recursive);
        watches.data.add("/a", 2, Mode::Recursive);
        assert_eq!(watches.data.trigger("/a/b"), BTreeSet::from([1, 2]));
        assert_eq!(watches.data.trigger("/ab"), BTreeSet::from([1]));
        assert!(watches.remove("/a", WatchKind::Recursive, 2));
        assert!(!watches.remove("/a", WatchKind::Any, 2));
        watches.forget(1);
        assert_eq!((watches.len(), watches.data.recursive), (0, 0));
    }
}
