//! Mass disappearance is doubted beside the truth, not instead of it.
//!
//! When most owners vanish at once and none of them had drained, ZooKeeper may have lost them rather than they their lives:
//! their instances are kept apart for a while, as suspects. Losses are counted in owner sessions, so that one crashed
//! process with a thousand instances is one loss. Pure; time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::instance::{InstanceId, Status};
use crate::members::Members;
use crate::snapshot::Member;

/// Losses within this time count together.
const WINDOW: Duration = Duration::from_secs(2);
/// From how many lost sessions on it may be a mass disappearance; also at least half of all.
const SESSIONS: usize = 3;

/// The suspects of one view.
#[derive(Debug)]
pub(crate) struct Suspects {
    /// How long a suspect is kept.
    patience: Duration,
    /// Members per owning session.
    owned: HashMap<i64, usize>,
    /// Sessions whose last member was lost within the window, and what was lost.
    lost: Vec<Loss>,
    suspects: BTreeMap<InstanceId, (Arc<Member>, Instant)>,
    published: Arc<[Arc<Member>]>,
}

#[derive(Debug)]
struct Loss {
    at: Instant,
    members: Vec<Arc<Member>>,
}

impl Suspects {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            owned: HashMap::new(),
            lost: Vec::new(),
            suspects: BTreeMap::new(),
            published: Arc::default(),
        }
    }

    /// Starts over with these members; nobody was lost.
    pub(crate) fn recount(&mut self, members: &Members) {
        self.owned.clear();
        for member in members.iter().filter(|member| member.session != 0) {
            *self.owned.entry(member.session).or_default() += 1;
        }
    }

    /// The members changed, all at once. Returns whether the suspects did.
    pub(crate) fn changed(
        &mut self,
        gone: &[Arc<Member>],
        came: &[Arc<Member>],
        members: &Members,
        now: Instant,
    ) -> bool {
        for member in came.iter().filter(|member| member.session != 0) {
            *self.owned.entry(member.session).or_default() += 1;
        }
        let mut news = false;
        for member in came {
            news |= self.suspects.remove(&member.id).is_some();
        }
        let mut ended: BTreeMap<i64, Vec<Arc<Member>>> = BTreeMap::new();
        for member in gone.iter().filter(|member| member.session != 0) {
            ended.entry(member.session).or_default().push(member.clone());
        }
        for (session, gone) in ended {
            let left = self.owned.get(&session).copied().unwrap_or_default().saturating_sub(gone.len());
            if left > 0 {
                self.owned.insert(session, left);
                continue;
            }
            self.owned.remove(&session);
            // An instance that is back under another owner, or said goodbye, is not lost.
            let lost: Vec<_> = gone.into_iter().filter(|member| members.get(&member.id).is_none()).collect();
            if !lost.is_empty() && lost.iter().all(|member| member.status() != Status::Draining) {
                self.lost.push(Loss { at: now, members: lost });
            }
        }
        self.lost.retain(|loss| now.saturating_duration_since(loss.at) < WINDOW);
        if self.lost.len() >= SESSIONS && self.lost.len() * 2 >= self.owned.len() + self.lost.len() {
            let until = now + self.patience;
            for member in self.lost.iter().flat_map(|loss| &loss.members) {
                if members.get(&member.id).is_none() && !self.suspects.contains_key(&member.id) {
                    self.suspects.insert(member.id.clone(), (member.clone(), until));
                    news = true;
                }
            }
        }
        self.republish(news)
    }

    /// Lets go of those whose time is over. Returns whether there were any.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        let before = self.suspects.len();
        self.suspects.retain(|_, (_, until)| *until > now);
        self.republish(before != self.suspects.len())
    }

    /// When the next one is let go.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.suspects.values().map(|(_, until)| *until).min()
    }

    /// Sorted by id.
    pub(crate) fn current(&self) -> Arc<[Arc<Member>]> {
        self.published.clone()
    }

    fn republish(&mut self, news: bool) -> bool {
        if news {
            self.published = self.suspects.values().map(|(member, _)| member.clone()).collect();
        }
        news
    }
}
