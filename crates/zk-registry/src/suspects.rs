//! Mass disappearance is doubted beside the truth, not instead of it.
//!
//! When most owners vanish at once and none of them had drained, ZooKeeper may have lost them rather than they their lives:
//! their instances are kept apart for a while, as suspects. Losses are counted in owner sessions, so that one crashed
//! process with a thousand instances is one loss. Pure; time is an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
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
    /// Members that went within the window and are not back, and when.
    gone: BTreeMap<InstanceId, (Arc<Member>, Instant)>,
    suspects: BTreeMap<InstanceId, (Arc<Member>, Instant)>,
    published: Arc<[Arc<Member>]>,
}

impl Suspects {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            owned: HashMap::new(),
            gone: BTreeMap::new(),
            suspects: BTreeMap::new(),
            published: Arc::default(),
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
        let mut news = false;
        for member in came {
            if member.session != 0 {
                *self.owned.entry(member.session).or_default() += 1;
            }
            self.gone.remove(&member.id);
            news |= self.suspects.remove(&member.id).is_some();
        }
        for member in gone.iter().filter(|member| member.session != 0) {
            if let Some(left) = self.owned.get_mut(&member.session) {
                *left -= 1;
                if *left == 0 {
                    self.owned.remove(&member.session);
                }
            }
            // An instance that is back under another owner is not lost.
            if members.get(&member.id).is_none() {
                self.gone.insert(member.id.clone(), (member.clone(), now));
            }
        }
        self.gone.retain(|_, (_, at)| now.saturating_duration_since(*at) < WINDOW);
        let lost = self.lost_sessions();
        let until = now + self.patience;
        for (id, (member, _)) in &self.gone {
            if lost.contains(&member.session) && !self.suspects.contains_key(id) {
                self.suspects.insert(id.clone(), (member.clone(), until));
                news = true;
            }
        }
        self.republish(news)
    }

    /// The sessions that ended within the window and had not drained, if they are too many to be believed.
    fn lost_sessions(&self) -> HashSet<i64> {
        let ended = self.gone.values().filter(|(member, _)| !self.owned.contains_key(&member.session));
        let (mut lost, mut drained) = (HashSet::new(), HashSet::new());
        for (member, _) in ended {
            match member.status() {
                Status::Draining => drained.insert(member.session),
                Status::Up => lost.insert(member.session),
            };
        }
        lost.retain(|session| !drained.contains(session));
        let all = self.owned.len() + lost.len() + drained.len();
        if lost.len() >= SESSIONS && lost.len() * 2 >= all { lost } else { HashSet::new() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Instance;
    use crate::snapshot::{Incarnation, Zxid};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A service whose instances are owned by sessions.
    struct Fleet {
        members: Members,
        suspects: Suspects,
        now: Instant,
    }

    impl Fleet {
        fn new(sessions: impl IntoIterator<Item = i64>) -> Self {
            let mut fleet =
                Self { members: Members::default(), suspects: Suspects::new(PATIENCE), now: Instant::now() };
            for session in sessions {
                fleet.come(session, 0);
            }
            fleet
        }

        fn come(&mut self, session: i64, n: i64) {
            self.put(member(session, n, Status::Up));
        }

        fn put(&mut self, member: Arc<Member>) {
            let old = self.members.insert(member.clone());
            self.suspects.changed(old.as_slice(), &[member], &self.members, self.now);
        }

        fn go(&mut self, lost: impl IntoIterator<Item = (i64, i64)>) {
            let id = |(session, n)| member(session, n, Status::Up).id.clone();
            let gone: Vec<_> = lost.into_iter().filter_map(|which| self.members.remove(&id(which))).collect();
            self.suspects.changed(&gone, &[], &self.members, self.now);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.suspects.release(self.now);
        }

        fn suspects(&self) -> Vec<String> {
            self.suspects.current().iter().map(|member| member.id.to_string()).collect()
        }
    }

    fn member(session: i64, n: i64, status: Status) -> Arc<Member> {
        let mut instance = Instance::new(format!("s{session}"), u16::try_from(n).unwrap() + 1);
        let mut attributes = instance.attributes().clone();
        attributes.status = status;
        instance = instance.with_attributes(attributes);
        Arc::new(Member {
            id: instance.id().unwrap(),
            instance,
            incarnation: Incarnation(0),
            session,
            created: Zxid(0),
            modified: Zxid(0),
        })
    }

    #[test]
    fn half_of_at_least_six_sessions_lost_at_once_are_suspects() {
        let mut fleet = Fleet::new(1..=6);
        fleet.go([(1, 0), (2, 0)]);
        assert!(fleet.suspects().is_empty());
        fleet.pass(Duration::from_secs(1));
        fleet.go([(3, 0)]);
        assert_eq!(fleet.suspects(), ["s1:1", "s2:1", "s3:1"]);
    }

    #[test]
    fn less_than_half_or_two_sessions_are_believed() {
        let mut fleet = Fleet::new(1..=7);
        fleet.go([(1, 0), (2, 0), (3, 0)]);
        assert!(fleet.suspects().is_empty());
        let mut fleet = Fleet::new(1..=2);
        fleet.go([(1, 0), (2, 0)]);
        assert!(fleet.suspects().is_empty());
    }

    #[test]
    fn one_process_with_many_instances_is_one_loss() {
        let mut fleet = Fleet::new([2]);
        for n in 0..50 {
            fleet.come(1, n);
        }
        fleet.go((0..50).map(|n| (1, n)));
        assert!(fleet.suspects().is_empty());
    }

    #[test]
    fn every_instance_of_a_lost_session_is_a_suspect_even_if_they_went_one_by_one() {
        let mut fleet = Fleet::new([]);
        for session in 1..=3 {
            for n in 0..3 {
                fleet.come(session, n);
            }
        }
        for n in 0..3 {
            fleet.go((1..=3).map(|session| (session, n)));
            assert_eq!(fleet.suspects().len(), if n == 2 { 9 } else { 0 });
        }
    }

    #[test]
    fn losses_over_a_longer_time_are_believed() {
        let mut fleet = Fleet::new(1..=4);
        for session in 1..=4 {
            fleet.go([(session, 0)]);
            fleet.pass(Duration::from_millis(1100));
        }
        assert!(fleet.suspects().is_empty());
    }

    #[test]
    fn who_drained_has_said_goodbye() {
        let mut fleet = Fleet::new(1..=4);
        for session in 1..=4 {
            fleet.put(member(session, 0, Status::Draining));
        }
        fleet.go((1..=4).map(|session| (session, 0)));
        assert!(fleet.suspects().is_empty());
    }

    #[test]
    fn a_suspect_that_returns_is_none_and_the_others_are_let_go_in_time() {
        let mut fleet = Fleet::new(1..=3);
        fleet.go((1..=3).map(|session| (session, 0)));
        assert_eq!(fleet.suspects().len(), 3);
        let returned = Member { session: 9, ..(*member(2, 0, Status::Up)).clone() };
        fleet.put(Arc::new(returned));
        assert_eq!(fleet.suspects(), ["s1:1", "s3:1"]);
        assert_eq!(fleet.suspects.next_release(), Some(fleet.now + PATIENCE));
        fleet.pass(PATIENCE);
        assert!(fleet.suspects().is_empty());
        assert_eq!(fleet.suspects.next_release(), None);
    }

    #[test]
    fn an_instance_taken_over_by_another_session_is_not_lost() {
        let mut fleet = Fleet::new(1..=3);
        for session in 1..=3 {
            let restarted = Member { session: session + 10, ..(*member(session, 0, Status::Up)).clone() };
            fleet.put(Arc::new(restarted));
        }
        assert!(fleet.suspects().is_empty());
    }

    #[test]
    fn nodes_that_nobody_owns_never_are_suspects() {
        let mut fleet = Fleet::new([]);
        for n in 0..9 {
            fleet.come(0, n);
        }
        fleet.go((0..9).map(|n| (0, n)));
        assert!(fleet.suspects().is_empty());
    }
}
