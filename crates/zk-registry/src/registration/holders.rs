//! Which registration of this registry holds which path: one at a time, across all its sessions.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

/// One registration of one registry.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key(pub(super) u64);

impl Key {
    /// A key that was never used in this process.
    pub(crate) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<Paths>);

#[derive(Debug, Default)]
struct Paths {
    held: HashMap<String, Holder>,
    /// The paths of nodes whose registrations hold something else, and what that is.
    standing: HashMap<String, String>,
    /// The same the other way round.
    places: HashMap<String, Vec<String>>,
    /// Who is told once a path is free.
    waiting: HashMap<String, BTreeMap<Key, mpsc::UnboundedSender<Key>>>,
    /// Paths that an exclusive registration of this registry once held: only the first one may inherit a node.
    inherited: HashSet<String>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    key: Key,
    /// Whether it only holds the path until its node is gone.
    leaving: bool,
}

/// What became of the attempt to hold a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    Held,
    /// Its holder is about to be gone.
    Leaving,
    Taken,
}

impl Holders {
    /// Takes the path for `key`. If another registration holds it, `key` is sent to `freed` as soon as it does not.
    pub(super) fn hold(&self, path: &str, key: Key, freed: &mpsc::UnboundedSender<Key>) -> Hold {
        let mut paths = self.lock();
        let holder = *paths.held.entry(path.to_owned()).or_insert(Holder { key, leaving: false });
        if holder.key == key {
            return Hold::Held;
        }
        paths.waiting.entry(path.to_owned()).or_default().entry(key).or_insert_with(|| freed.clone());
        if holder.leaving { Hold::Leaving } else { Hold::Taken }
    }

    /// Holds the path until the node of `key` is gone; `false` when it is another registration's by now.
    pub(super) fn leave(&self, path: &str, key: Key) -> bool {
        let mut paths = self.lock();
        let holder = paths.held.entry(path.to_owned()).or_insert(Holder { key, leaving: true });
        holder.leaving |= holder.key == key;
        holder.key == key
    }

    /// Says that the path of `key`, if it holds it, is about to be free.
    pub(super) fn announce_leave(&self, path: &str, key: Key) {
        if let Some(holder) = self.lock().held.get_mut(path) {
            holder.leaving |= holder.key == key;
        }
    }

    /// Gives up the path, whether `key` holds it or waits for it.
    pub(super) fn release(&self, path: &str, key: Key) {
        let mut paths = self.lock();
        if let Some(waiting) = paths.waiting.get_mut(path) {
            waiting.remove(&key);
            if waiting.is_empty() {
                paths.waiting.remove(path);
            }
        }
        if paths.held.get(path).is_some_and(|holder| holder.key == key) {
            paths.held.remove(path);
            for standing in paths.places.remove(path).into_iter().flatten() {
                paths.standing.remove(&standing);
            }
            for (waiter, freed) in paths.waiting.remove(path).into_iter().flatten() {
                // Its session may be closed.
                let _ = freed.send(waiter);
            }
        }
    }

    /// The node of the registration that holds this stands, or may stand, at these paths.
    pub(super) fn stand<'a>(&self, held: &str, at: impl Iterator<Item = &'a str>) {
        let mut paths = self.lock();
        for path in at.filter(|path| *path != held) {
            if paths.standing.get(path).is_none_or(|other| other != held) {
                paths.standing.insert(path.to_owned(), held.to_owned());
                paths.places.entry(held.to_owned()).or_default().push(path.to_owned());
            }
        }
    }

    /// The registration that holds this, or whose node stands at this path.
    pub(crate) fn holder(&self, path: &str) -> Option<Key> {
        let paths = self.lock();
        let held = paths.standing.get(path).map_or(path, String::as_str);
        paths.held.get(held).map(|holder| holder.key)
    }

    /// Whether no exclusive registration of this registry held the path before.
    pub(super) fn may_inherit(&self, path: &str) -> bool {
        !self.lock().inherited.contains(path)
    }

    pub(super) fn inherited(&self, path: &str) {
        self.lock().inherited.insert(path.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Paths> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_that_is_gone_does_not_wait_any_more() {
        let (holders, (freed, mut told)) = (Holders::default(), mpsc::unbounded_channel());
        let holder = Key::fresh();
        assert_eq!(holders.hold("/s/i", holder, &freed), Hold::Held);
        for _ in 0..1_000 {
            let waiter = Key::fresh();
            assert_eq!(holders.hold("/s/i", waiter, &freed), Hold::Taken);
            holders.release("/s/i", waiter);
        }
        let last = Key::fresh();
        assert_eq!(holders.hold("/s/i", last, &freed), Hold::Taken);
        assert_eq!(holders.lock().waiting["/s/i"].len(), 1);
        holders.release("/s/i", holder);
        assert_eq!((told.try_recv(), told.try_recv().is_err()), (Ok(last), true));
        assert!(holders.lock().waiting.is_empty());
    }
}
