//! Mass disappearance is doubted beside the truth, not instead of it.
//!
//! When most owners vanish at once and none of them had drained, ZooKeeper may have lost them rather than they their lives:
//! their instances are kept apart for a while, as suspects. Losses are counted in owner sessions, so that one crashed
//! process with a thousand instances is one loss. Pure; time is an argument.
//!
//! Every tally is kept, none is taken anew: a change costs the same beside 100,000 others that went.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::instance::{InstanceId, Status};
use crate::snapshot::Member;
use crate::snapshot::members::Members;

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
    gone: HashMap<InstanceId, (Arc<Member>, Instant)>,
    /// The same, the oldest first; those that came back may still be in here.
    left: VecDeque<(Instant, InstanceId)>,
    /// The same, by owner.
    losses: HashMap<i64, Losses>,
    /// Sessions that ended within the window, having drained or not.
    drained: HashSet<i64>,
    lost: HashSet<i64>,
    /// Those of the lost ones whose members are no suspects.
    believed: HashSet<i64>,
    suspects: Members,
    /// Until when each is kept, the first one first; those that came back may still be in here.
    kept: VecDeque<(Instant, Arc<Member>)>,
}

/// What a session owned that went within the window and is not back.
#[derive(Debug, Default)]
struct Losses {
    ids: HashSet<InstanceId>,
    /// How many of them were draining.
    drained: usize,
}

impl Suspects {
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            owned: HashMap::new(),
            gone: HashMap::new(),
            left: VecDeque::new(),
            losses: HashMap::new(),
            drained: HashSet::new(),
            lost: HashSet::new(),
            believed: HashSet::new(),
            suspects: Members::default(),
            kept: VecDeque::new(),
        }
    }

    /// Suspects of a service of which nothing is known yet.
    pub(crate) fn anew(&self) -> Self {
        Self::new(self.patience)
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
            self.settle(member.session);
            self.forgive(&member.id);
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
                self.count(member, now);
            }
            self.settle(member.session);
        }
        self.forget(now);
        news | self.doubt(now)
    }

    /// Counts a member as lost.
    fn count(&mut self, member: &Arc<Member>, now: Instant) {
        self.forgive(&member.id);
        self.gone.insert(member.id.clone(), (member.clone(), now));
        self.left.push_back((now, member.id.clone()));
        let losses = self.losses.entry(member.session).or_default();
        losses.ids.insert(member.id.clone());
        losses.drained += usize::from(member.status() == Status::Draining);
    }

    /// Does not count it as lost any more.
    fn forgive(&mut self, id: &InstanceId) {
        if self.gone.is_empty() {
            return;
        }
        let Some((member, _)) = self.gone.remove(id) else { return };
        if let Some(losses) = self.losses.get_mut(&member.session) {
            losses.ids.remove(id);
            losses.drained -= usize::from(member.status() == Status::Draining);
            if losses.ids.is_empty() {
                self.losses.remove(&member.session);
            }
        }
        self.settle(member.session);
    }

    /// Puts a session where it belongs: one that owns something has not ended.
    fn settle(&mut self, session: i64) {
        if self.losses.is_empty() && self.lost.is_empty() && self.drained.is_empty() {
            return;
        }
        let losses = self.losses.get(&session).filter(|_| !self.owned.contains_key(&session));
        let (is_lost, has_drained) =
            losses.map_or((false, false), |losses| (losses.drained == 0, losses.drained > 0));
        if !is_lost {
            self.lost.remove(&session);
            self.believed.remove(&session);
        } else if self.lost.insert(session) {
            self.believed.insert(session);
        }
        if has_drained {
            self.drained.insert(session);
        } else {
            self.drained.remove(&session);
        }
    }

    /// Makes suspects of what the lost sessions owned, if those are too many to be believed.
    fn doubt(&mut self, now: Instant) -> bool {
        let all = self.owned.len() + self.lost.len() + self.drained.len();
        if self.believed.is_empty() || self.lost.len() < SESSIONS || self.lost.len() * 2 < all {
            return false;
        }
        let mut news = false;
        for session in self.believed.drain() {
            let ids = self.losses.get(&session).into_iter().flat_map(|losses| &losses.ids);
            for (member, _) in ids.filter_map(|id| self.gone.get(id)) {
                if self.suspects.get(&member.id).is_none() {
                    self.suspects.insert(member.clone());
                    self.kept.push_back((now + self.patience, member.clone()));
                    news = true;
                }
            }
        }
        news
    }

    /// Forgets what went before the window.
    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.left.front()
            && now.saturating_duration_since(*at) >= WINDOW
            && let Some((at, id)) = self.left.pop_front()
        {
            // It may have come back and gone again.
            if self.gone.get(&id).is_some_and(|(_, last)| *last == at) {
                self.forgive(&id);
            }
        }
    }

    /// Lets go of those whose time is over. Returns whether there were any.
    pub(crate) fn release(&mut self, now: Instant) -> bool {
        self.forget(now);
        let mut news = false;
        while let Some((until, _)) = self.kept.front()
            && *until <= now
            && let Some((_, member)) = self.kept.pop_front()
        {
            // It may have come back and gone again.
            if self.suspects.get(&member.id).is_some_and(|suspect| Arc::ptr_eq(suspect, &member)) {
                self.suspects.remove(&member.id);
                news = true;
            }
        }
        news
    }

    /// When the next one is let go, at the earliest.
    pub(crate) fn next_release(&self) -> Option<Instant> {
        self.kept.front().filter(|_| self.suspects.len() > 0).map(|(until, _)| *until)
    }

    /// Sorted by id.
    pub(crate) fn current(&self) -> Members {
        self.suspects.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            node: None,
            id: instance.id().unwrap(),
            instance,
            format: None,
            incarnation: Incarnation::from(0),
            session,
            created: Zxid(0),
            modified: Zxid(0),
            ctime: 0,
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

    /// The rule as it is written down, taken anew from all that ever happened.
    #[derive(Default)]
    struct Rule {
        owned: Vec<Arc<Member>>,
        gone: Vec<(Arc<Member>, Instant)>,
        suspects: Vec<(Arc<Member>, Instant)>,
    }

    impl Rule {
        fn put(&mut self, member: &Arc<Member>) {
            self.owned.retain(|other| other.id != member.id);
            self.gone.retain(|(other, _)| other.id != member.id);
            self.suspects.retain(|(other, _)| other.id != member.id);
            self.owned.push(member.clone());
        }

        fn go(&mut self, member: &Arc<Member>, now: Instant) {
            self.owned.retain(|other| other.id != member.id);
            self.gone.push((member.clone(), now));
        }

        fn judge(&mut self, now: Instant) {
            self.suspects.retain(|(_, until)| *until > now);
            self.gone.retain(|(_, at)| now - *at < WINDOW);
            let owners: HashSet<_> = self.owned.iter().map(|member| member.session).collect();
            let ended = || self.gone.iter().filter(|(member, _)| !owners.contains(&member.session));
            let drained: HashSet<_> = ended()
                .filter(|(member, _)| member.status() == Status::Draining)
                .map(|(member, _)| member.session)
                .collect();
            let lost: HashSet<_> = ended()
                .map(|(member, _)| member.session)
                .filter(|session| !drained.contains(session))
                .collect();
            if lost.len() >= SESSIONS && lost.len() * 2 >= owners.len() + lost.len() + drained.len() {
                for (member, _) in self.gone.iter().filter(|(member, _)| lost.contains(&member.session)) {
                    if self.suspects.iter().all(|(other, _)| other.id != member.id) {
                        self.suspects.push((member.clone(), now + PATIENCE));
                    }
                }
            }
        }

        fn suspects(&self) -> Vec<String> {
            let mut names: Vec<_> = self.suspects.iter().map(|(member, _)| member.id.to_string()).collect();
            names.sort_unstable();
            names
        }
    }

    proptest! {
        #[test]
        fn tallies_agree_with_the_rule(
            steps in prop::collection::vec((0_i64..6, 0_i64..3, 0_i64..4, 0_u64..900), 0..120),
        ) {
            let mut fleet = Fleet::new([]);
            let mut rule = Rule::default();
            for (session, n, what, millis) in steps {
                fleet.pass(Duration::from_millis(millis));
                rule.judge(fleet.now);
                let up = member(session + 1, n, Status::Up);
                match what {
                    0 => {
                        rule.put(&up);
                        fleet.put(up);
                    }
                    1 => {
                        let draining = member(session + 1, n, Status::Draining);
                        rule.put(&draining);
                        fleet.put(draining);
                    }
                    // Somebody else in its place.
                    2 => {
                        let other = Arc::new(Member { session: 100 + session, ..(*up).clone() });
                        rule.put(&other);
                        fleet.put(other);
                    }
                    _ => {
                        if let Some(old) = fleet.members.get(&up.id).cloned() {
                            rule.go(&old, fleet.now);
                        }
                        fleet.go([(session + 1, n)]);
                    }
                }
                rule.judge(fleet.now);
                prop_assert_eq!(fleet.suspects(), rule.suspects());
                prop_assert_eq!(fleet.suspects.next_release().is_some(), !rule.suspects.is_empty());
            }
            fleet.pass(PATIENCE + WINDOW);
            let left = &fleet.suspects;
            prop_assert!(left.gone.is_empty() && left.losses.is_empty() && left.left.is_empty());
            prop_assert!(left.kept.is_empty() && left.lost.is_empty() && left.drained.is_empty());
        }
    }
}
