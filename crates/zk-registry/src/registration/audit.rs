//! When everything is compared with ZooKeeper again, and what is found that no registration wants.

use std::collections::HashMap;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::holders::Key;
use crate::backoff::jittered;

/// How many audits in a row must find no leftover after the last entry went: a create that was under way may be executed later
/// than its withdrawal was answered, and the delete of a leftover may be refused or lost.
const LAST_AUDITS: u8 = 2;

/// The audits of one session's registrations.
#[derive(Debug)]
pub(super) struct Audits {
    interval: Duration,
    due: Due,
    /// Nodes that our session owns and no registration wants: read, and deleted if they are ours.
    leftovers: HashMap<Key, String>,
    /// How many audits are still to come without any entry, if they find nothing.
    last: u8,
}

/// When the next audit is.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// At this time.
    At(Instant),
    /// The next round lists what the session owns; the audit after it is at this time. A round that is not sent leaves it so.
    Owed(Instant),
}

impl Audits {
    pub(super) fn new(interval: Duration) -> Self {
        let due = Due::At(Instant::now() + interval);
        Self { interval, due, leftovers: HashMap::new(), last: 0 }
    }

    /// When the next one is.
    pub(super) fn next(&self) -> Instant {
        let (Due::At(at) | Due::Owed(at)) = self.due;
        at
    }

    /// The next round lists what the session owns.
    pub(super) fn owe(&mut self) {
        self.due = Due::Owed(self.next());
    }

    /// Whether the next round has to list what the session owns.
    pub(super) fn is_owed(&self) -> bool {
        matches!(self.due, Due::Owed(_))
    }

    /// A round is sent. Whether it has to list what the session owns.
    pub(super) fn take_owed(&mut self) -> bool {
        let is_owed = self.is_owed();
        self.due = Due::At(self.next());
        is_owed
    }

    /// An audit begins; without entries, only as long as a late create may come.
    pub(super) fn begin(&mut self, has_entries: bool, rng: &mut impl Rng) {
        let next = Instant::now() + jittered(self.interval, rng);
        self.due = if has_entries || self.last > 0 { Due::Owed(next) } else { Due::At(next) };
    }

    /// An entry went.
    pub(super) fn entry_went(&mut self) {
        self.last = LAST_AUDITS;
    }

    /// The session owns these nodes, which no registration wants. Each has to be read, by the key that is returned.
    pub(super) fn found(&mut self, unwanted: Vec<String>, has_entries: bool) -> Vec<Key> {
        self.last = match has_entries || !unwanted.is_empty() {
            true => LAST_AUDITS,
            false => self.last.saturating_sub(1),
        };
        let keyed = unwanted.into_iter().map(|path| {
            let key = Key::fresh();
            self.leftovers.insert(key, path);
            key
        });
        keyed.collect()
    }

    /// The path of a leftover that has to be read.
    pub(super) fn leftover(&self, key: Key) -> Option<&String> {
        self.leftovers.get(&key)
    }

    /// A leftover was read.
    pub(super) fn take(&mut self, key: Key) -> Option<String> {
        self.leftovers.remove(&key)
    }

    pub(super) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }

    /// A new session begins. Leftovers were the last one's: what it still owns is found, if it matters, by reading what is wanted.
    pub(super) fn start_over(&mut self) {
        self.leftovers.clear();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_the_last_registration_two_audits_in_a_row_must_find_nothing() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut audits = Audits::new(Duration::from_secs(1));
        audits.begin(false, &mut rng);
        assert!(!audits.take_owed(), "nothing was ever registered");
        audits.entry_went();
        // Whether each audit lists what the session owns, and what it finds.
        for (lists, finds) in [(true, 0), (true, 1), (true, 0), (true, 0), (false, 0)] {
            audits.begin(false, &mut rng);
            assert_eq!(audits.take_owed(), lists);
            if lists {
                audits.found(vec!["/services/time/late".to_owned(); finds], false);
            }
        }
    }
}
