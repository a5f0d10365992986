//! Which registration of this registry holds which path: one at a time, across all its sessions.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::registrar::Key;

#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    held: HashMap<String, Key>,
    /// Paths that an exclusive registration of this registry once held: only the first one may inherit a node.
    inherited: HashSet<String>,
}

impl Book {
    /// Takes the path for `key`; `false` when another registration holds it.
    pub(super) fn hold(&self, path: &str, key: Key) -> bool {
        let mut pages = self.lock();
        match pages.held.get(path) {
            Some(holder) => *holder == key,
            None => {
                pages.held.insert(path.to_owned(), key);
                true
            }
        }
    }

    pub(super) fn release(&self, path: &str, key: Key) {
        let mut pages = self.lock();
        if pages.held.get(path) == Some(&key) {
            pages.held.remove(path);
        }
    }

    pub(crate) fn holder(&self, path: &str) -> Option<Key> {
        self.lock().held.get(path).copied()
    }

    /// Whether nobody of this registry was exclusively registered there before.
    pub(super) fn may_inherit(&self, path: &str) -> bool {
        !self.lock().inherited.contains(path)
    }

    pub(super) fn inherited(&self, path: &str) {
        self.lock().inherited.insert(path.to_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
