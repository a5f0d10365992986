//! The view against a model of the server: any interleaving of writes, reads, lost requests and lost events ends equal to
//! what the server holds, and on the way no snapshot claims to know more than it does.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::format::{Curator, Owner};
use crate::instance::Instance;
use crate::snapshot::Change;

const SESSION: Duration = Duration::from_secs(10);

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn view() -> View {
    View::new(service(), Arc::new(Curator), Suspicion::Keep, SESSION)
}

/// A record that names the port, by a writer without an incarnation of its own.
fn record(port: u16) -> Bytes {
    use crate::format::sealed::Codec;
    let instance = Instance::new("h", port);
    let owner = Owner { host: None, incarnation: Uuid::nil() };
    let id = instance.id().unwrap();
    Curator.encode(&service(), &id, &instance, &owner, SystemTime::UNIX_EPOCH).unwrap().into()
}

/// What a child of the service is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Sort {
    Garbage,
    Instance,
    Namespace,
    /// An instance that no session owns: it may have children, and is a namespace as long as it has.
    Static,
    Unreadable,
}

impl Sort {
    fn may_have_children(self) -> bool {
        matches!(self, Self::Garbage | Self::Namespace | Self::Static)
    }
}

#[derive(Clone, Debug)]
enum Write {
    /// It gets one child more, if it may.
    Bear(u8),
    /// It loses one child, if it has one.
    Bereave(u8),
    Create(u8, Sort),
    Delete(u8),
    Replace(u8, Sort),
    Set(u8, Sort),
}

/// What happens to the connection while a request is under way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// The connection breaks and comes back; the request is served on the new one.
    Interrupted,
    Lost,
    /// The server does not answer this one; the connection stays.
    Refused,
}

#[derive(Clone, Debug)]
enum Step {
    /// Time for the clients of the zxid: everything up to now must be in the view.
    Barrier(Vec<Write>),
    Cut,
    /// The driver takes its next step; the writes happen before, between and after its reads.
    Drive(Vec<Write>, Fate),
    Write(Write),
}

/// What the view shows of a name: the identity of its instance.
type Shown = Option<(i64, i64)>;

#[derive(Default)]
struct Server {
    zxid: i64,
    pzxid: i64,
    children: BTreeMap<String, (Sort, Stat)>,
    /// What was to be seen of a name from which zxid on.
    history: BTreeMap<String, Vec<(i64, Shown)>>,
    /// Whether there is a watch.
    armed: bool,
    events: VecDeque<(String, Instant)>,
    now: Option<Instant>,
}

impl Server {
    fn write(&mut self, write: &Write) {
        let (Write::Bear(n)
        | Write::Bereave(n)
        | Write::Create(n, _)
        | Write::Delete(n)
        | Write::Replace(n, _)
        | Write::Set(n, _)) = *write;
        let name = format!("h:{n}");
        let there = self.children.get(&name).copied();
        let grandchildren = there.map_or(0, |(_, stat)| stat.children);
        match (write, there) {
            (Write::Bear(_), Some((sort, _))) if sort.may_have_children() => {
                self.stir(&name, grandchildren + 1);
            }
            (Write::Bereave(_), Some(_)) if grandchildren > 0 => self.stir(&name, grandchildren - 1),
            (Write::Create(_, sort), None) => self.create(&name, *sort),
            (Write::Delete(_), Some(_)) if grandchildren == 0 => self.delete(&name),
            (Write::Replace(_, sort), Some(_)) if grandchildren == 0 => {
                self.delete(&name);
                self.create(&name, *sort);
            }
            (Write::Set(_, sort), Some(_)) if grandchildren == 0 || sort.may_have_children() => {
                self.zxid += 1;
                if let Some((old, stat)) = self.children.get_mut(&name) {
                    (*old, stat.mzxid) = (*sort, self.zxid);
                }
                self.happened(&name, &name);
            }
            _ => {}
        }
    }

    /// From now on the child has so many children of its own.
    fn stir(&mut self, name: &str, grandchildren: u32) {
        self.zxid += 1;
        if let Some((_, stat)) = self.children.get_mut(name) {
            (stat.children, stat.pzxid) = (grandchildren, self.zxid);
        }
        self.happened(name, &format!("{name}/below"));
    }

    fn create(&mut self, name: &str, sort: Sort) {
        self.zxid += 1;
        self.pzxid = self.zxid;
        let stat = Stat { czxid: self.zxid, mzxid: self.zxid, ..Stat::default() };
        self.children.insert(name.to_owned(), (sort, stat));
        self.happened(name, name);
    }

    fn delete(&mut self, name: &str) {
        self.zxid += 1;
        self.pzxid = self.zxid;
        self.children.remove(name);
        self.happened(name, name);
    }

    fn happened(&mut self, name: &str, at: &str) {
        if let (true, Some(now)) = (self.armed, self.now) {
            self.events.push_back((at.to_owned(), now));
        }
        let shown = match self.children.get(name) {
            Some((Sort::Instance | Sort::Static, stat)) if stat.children == 0 => {
                Some((stat.czxid, stat.mzxid))
            }
            _ => None,
        };
        self.history.entry(name.to_owned()).or_default().push((self.zxid, shown));
    }

    fn read(&self, name: &str) -> Result<Node, Fault> {
        let (sort, mut stat) = *self.children.get(name).ok_or(Fault::NoNode)?;
        stat.owner = if sort.may_have_children() { 0 } else { 7 };
        let data = match sort {
            Sort::Garbage => Bytes::from_static(b"garbage"),
            Sort::Instance | Sort::Static => record(1),
            Sort::Namespace => Bytes::new(),
            Sort::Unreadable => return Err(Fault::NoAuth),
        };
        Ok(Node { data, stat })
    }

    fn parent(&self) -> Stat {
        Stat { pzxid: self.pzxid, children: u32::try_from(self.children.len()).unwrap(), ..Stat::default() }
    }

    /// Returns the time of the first event that this took along.
    fn cut(&mut self) -> Option<Instant> {
        self.armed = false;
        self.events.drain(..).next().map(|(_, at)| at)
    }
}

/// The server, the view, and what a driver keeps.
struct World {
    server: Server,
    view: View,
    resync: bool,
    now: Instant,
    last: Option<Snapshot>,
    /// What the server was at before each step.
    clock: Vec<(Instant, i64)>,
    /// And what the server was at when they were asked for.
    barriers: Vec<(Barrier, i64)>,
}

impl World {
    fn new() -> Self {
        Self {
            server: Server::default(),
            view: view(),
            resync: true,
            now: Instant::now(),
            last: None,
            clock: Vec::new(),
            barriers: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        self.now += Duration::from_millis(300);
        self.server.now = Some(self.now);
        self.clock.push((self.now, self.server.zxid));
        match step {
            Step::Write(write) => self.server.write(write),
            Step::Cut => self.cut(),
            Step::Drive(writes, fate) => self.drive(writes, *fate),
            Step::Barrier(writes) => {
                self.hear();
                if !self.resync && !self.view.is_dirty() {
                    writes.iter().for_each(|write| self.server.write(write));
                    let parent = Some(self.server.parent());
                    self.hear();
                    self.view.loaded(Batch { items: Vec::new(), parent, gapless: true }, self.now);
                    self.barriers.push((self.view.barrier(), self.server.zxid));
                }
            }
        }
        self.view.tick(self.now);
        self.publish();
    }

    fn hear(&mut self) {
        for (path, at) in std::mem::take(&mut self.server.events) {
            match path.split_once('/') {
                None => self.view.mark(&path, at),
                Some((name, _)) => self.view.stir(name, at),
            }
        }
    }

    fn cut(&mut self) {
        let since = self.server.cut().unwrap_or(self.now);
        self.resync = true;
        self.view.lost(since);
    }

    fn drive(&mut self, writes: &[Write], fate: Fate) {
        self.hear();
        let resync = self.resync;
        let names = if resync {
            self.view.begin_resync(self.now);
            self.server.armed = true;
            self.server.children.keys().cloned().collect()
        } else {
            // Few, so that batches are many.
            self.view.take_marks(2)
        };
        let parent = self.server.parent();
        let (between, after) = writes.split_at(writes.len() / 2);
        between.iter().for_each(|write| self.server.write(write));
        if matches!(fate, Fate::Interrupted | Fate::Lost) {
            self.cut();
            after.iter().for_each(|write| self.server.write(write));
        }
        let gapless = matches!(fate, Fate::Answered);
        self.resync = !gapless;
        if matches!(fate, Fate::Lost | Fate::Refused) {
            self.view.failed();
            return;
        }
        let read = |name: String| {
            let answer = self.server.read(&name);
            (name, answer)
        };
        let items = names.into_iter().map(read).collect();
        // A listing shows the parent before the children are read, a batch of marks after.
        let parent = Some(if resync { parent } else { self.server.parent() });
        // What is told right behind the reply may be heard with it.
        let after = if gapless { after } else { &[] };
        let (heard, later) = after.split_at(after.len() / 2);
        heard.iter().for_each(|write| self.server.write(write));
        self.hear();
        later.iter().for_each(|write| self.server.write(write));
        let batch = Batch { items, parent, gapless };
        if resync {
            self.view.listed(batch, self.now);
            if gapless {
                self.view.live();
            }
        } else {
            self.view.loaded(batch, self.now);
        }
    }

    fn publish(&mut self) {
        let Some(snapshot) = self.view.publish() else { return };
        if let Some(last) = &self.last {
            assert!(snapshot.revision() == last.revision() + 1);
            assert!(snapshot.watermark() >= last.watermark());
            check_diff(last, &snapshot);
        }
        self.check(&snapshot);
        self.last = Some(snapshot);
    }

    fn check(&self, snapshot: &Snapshot) {
        let watermark = snapshot.watermark().0;
        assert!(watermark <= self.server.zxid);
        self.check_holds(snapshot, watermark);
        for (barrier, zxid) in &self.barriers {
            if self.view.has_passed(*barrier) {
                self.check_holds(snapshot, *zxid);
            }
        }
        if let Freshness::Stale { since } = snapshot.freshness() {
            let then = self.clock.iter().rfind(|(at, _)| *at <= since);
            self.check_holds(snapshot, then.map_or(0, |(_, zxid)| *zxid));
        }
    }

    /// Every name must be shown as it was at this zxid, or at some time since.
    fn check_holds(&self, snapshot: &Snapshot, watermark: i64) {
        for (name, history) in &self.server.history {
            let member = snapshot.get(&name.parse().unwrap());
            let shown = member.map(|member| (member.created.0, member.modified.0));
            let mut since = history.iter().rev().take_while(|(zxid, _)| *zxid > watermark);
            let then = history.iter().rev().find(|(zxid, _)| *zxid <= watermark);
            let then = then.and_then(|(_, shown)| *shown);
            assert!(
                shown == then || since.any(|(_, later)| *later == shown),
                "{name} is shown as {shown:?} at {watermark}: {history:?}"
            );
        }
    }

    fn settle(&mut self) {
        self.now += SESSION * 3;
        while {
            self.hear();
            self.resync || self.view.is_dirty()
        } {
            self.step(&Step::Drive(Vec::new(), Fate::Answered));
        }
        self.step(&Step::Barrier(Vec::new()));
    }

    fn check_equal(&self) {
        let snapshot = self.last.as_ref().unwrap();
        assert_eq!(snapshot.freshness(), Freshness::Live);
        assert!(self.view.has_passed(self.barriers.last().unwrap().0));
        // What may not be read does not show its last change.
        let readable = self.server.children.values().filter(|(sort, _)| *sort != Sort::Unreadable);
        let seen = readable.map(|(_, stat)| stat.mzxid).max().unwrap_or(0).max(self.server.pzxid);
        assert!(snapshot.watermark().0 >= seen, "{} before {seen}", snapshot.watermark());
        let of = |sorts: &'static [Sort]| {
            let children = self.server.children.iter();
            children
                .filter(move |(_, (sort, stat))| sorts.contains(sort) && stat.children == 0)
                .map(|(name, (_, stat))| (name.as_str(), stat))
        };
        let members: Vec<_> = snapshot
            .instances()
            .map(|member| (member.id.as_str(), member.created.0, member.modified.0))
            .collect();
        let expected = of(&[Sort::Instance, Sort::Static]);
        let expected: Vec<_> = expected.map(|(name, stat)| (name, stat.czxid, stat.mzxid)).collect();
        assert_eq!(members, expected);
        let expected: Vec<_> = of(&[Sort::Garbage, Sort::Unreadable]).map(|(name, _)| name).collect();
        let rejected: Vec<_> = snapshot.rejected().iter().map(|rejected| rejected.id.as_str()).collect();
        assert_eq!(rejected, expected);
        assert_eq!(self.view.children(), self.server.children.len());
        assert_eq!(snapshot.suspects().len(), 0, "their time is over");
    }
}

fn check_diff(old: &Snapshot, new: &Snapshot) {
    let mut ids: BTreeSet<_> = old.instances().map(|member| member.id.clone()).collect();
    for change in old.diff(new) {
        match change {
            Change::Added(member) => assert!(ids.insert(member.id.clone())),
            Change::Removed(member) => assert!(ids.remove(&member.id)),
            Change::Updated { old, new } => assert!(old.id == new.id && ids.contains(&new.id) && old != new),
        }
    }
    assert!(ids.iter().eq(new.instances().map(|member| &member.id)));
}

fn sort() -> impl Strategy<Value = Sort> {
    prop_oneof![
        4 => Just(Sort::Instance),
        1 => Just(Sort::Garbage),
        1 => Just(Sort::Namespace),
        2 => Just(Sort::Static),
        1 => Just(Sort::Unreadable),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let name = 1_u8..7;
    prop_oneof![
        (name.clone(), sort()).prop_map(|(n, sort)| Write::Create(n, sort)),
        name.clone().prop_map(Write::Bear),
        name.clone().prop_map(Write::Bereave),
        name.clone().prop_map(Write::Delete),
        (name.clone(), sort()).prop_map(|(n, sort)| Write::Replace(n, sort)),
        (name, sort()).prop_map(|(n, sort)| Write::Set(n, sort)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let writes = || prop::collection::vec(write(), 0..8);
    let fate = prop_oneof![6 => Just(Fate::Answered), 1 => Just(Fate::Interrupted), 1 => Just(Fate::Lost), 1 => Just(Fate::Refused)];
    prop_oneof![
        3 => write().prop_map(Step::Write),
        4 => (writes(), fate).prop_map(|(writes, fate)| Step::Drive(writes, fate)),
        1 => writes().prop_map(Step::Barrier),
        1 => Just(Step::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_interleaving_ends_equal_to_the_server(steps in prop::collection::vec(step(), 0..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.check_equal();
    }
}

fn node(czxid: i64, data: Bytes) -> Node {
    let stat = Stat { czxid, mzxid: czxid, owner: czxid, ..Stat::default() };
    Node { data, stat }
}

type Items = Vec<(&'static str, Result<Node, Fault>)>;

/// A full listing of these children, by a server that was never cut off.
fn list(view: &mut View, items: impl Into<Items>) -> Snapshot {
    list_again(view, items);
    view.publish().unwrap()
}

/// The same; gives the names of those that went or changed.
fn list_again(view: &mut View, items: impl Into<Items>) -> Vec<String> {
    view.begin_resync(Instant::now());
    let items = items.into().into_iter().map(|(name, answer)| (name.to_owned(), answer)).collect();
    let changed = view.listed(Batch { items, parent: Some(Stat::default()), gapless: true }, Instant::now());
    view.live();
    changed
}

#[test]
fn what_cannot_be_used_is_rejected_with_a_reason_and_its_neighbours_are_served() {
    let huge = Bytes::from(vec![b' '; MAX_RECORD + 1]);
    let snapshot = list(
        &mut view(),
        [
            ("a", Ok(node(1, Bytes::new()))),
            ("b", Ok(node(2, huge))),
            ("c", Err(Fault::NoAuth)),
            ("d", Err(Fault::TooLarge)),
            ("e", Err(Fault::NoNode)),
            ("f", Ok(node(3, "{".into()))),
            ("h:1", Ok(node(4, record(1)))),
        ],
    );
    assert_eq!(snapshot.instances().map(|member| member.id().as_str()).collect::<Vec<_>>(), ["h:1"]);
    let rejected: Vec<_> = snapshot.rejected().iter().map(|rejected| rejected.id.as_str()).collect();
    assert_eq!(rejected, ["a", "b", "c", "d", "f"]);
    assert!(snapshot.rejected().iter().all(|rejected| !rejected.reason.is_empty()));
}

#[test]
fn a_barrier_passes_with_the_marks_before_it_and_moves_no_watermark() {
    let mut view = view();
    let before = list(&mut view, [("h:1", Ok(node(1, record(1))))]);
    view.mark("h:2", Instant::now());
    let barrier = view.barrier();
    view.mark("h:3", Instant::now());
    assert!(!view.has_passed(barrier));
    let items = vec![(view.take_marks(1).remove(0), Ok(node(2, record(2))))];
    view.loaded(Batch { items, parent: None, gapless: true }, Instant::now());
    assert!(view.has_passed(barrier), "what came later does not hold it up");
    let after = view.publish().unwrap();
    assert_eq!((before.watermark(), after.watermark(), after.len()), (Zxid(1), Zxid(1), 2));
}

#[test]
fn a_node_that_was_deleted_and_created_again_unseen_is_a_change() {
    let mut view = view();
    let first = list(&mut view, [("h:1", Ok(node(1, record(1))))]);
    view.lost(Instant::now());
    let second = list(&mut view, [("h:1", Ok(node(5, record(1))))]);
    assert!(matches!(&*first.diff(&second).collect::<Vec<_>>(), [Change::Updated { .. }]));
}

#[test]
fn a_listing_names_those_that_went_or_changed() {
    let mut view = view();
    let one = |name, czxid| (name, Ok(node(czxid, record(1))));
    assert!(list_again(&mut view, [one("h:1", 1), one("h:2", 2), one("h:3", 3), one("h:4", 4)]).is_empty());
    let garbage = ("h:4", Ok(node(6, "{".into())));
    let changed = list_again(&mut view, [one("h:1", 1), one("h:3", 5), garbage, one("h:5", 7)]);
    assert_eq!(changed, ["h:2", "h:3", "h:4"]);
}

#[test]
fn a_listing_without_news_shares_everything() {
    let mut view = view();
    let all = || {
        let names = (1_i64..).zip(["h:1", "h:2", "h:3"]);
        names.map(|(n, name)| (name, Ok(node(n, record(1))))).collect::<Items>()
    };
    let first = list(&mut view, all());
    view.lost(Instant::now());
    let second = list(&mut view, all());
    assert!(first.instances().zip(second.instances()).all(|(one, two)| Arc::ptr_eq(one, two)));
    assert_eq!(first.diff(&second).count(), 0);
}

#[test]
fn an_instance_that_got_children_is_a_namespace() {
    let mut view = view();
    let mut parent = node(1, record(1));
    parent.stat.owner = 0;
    assert_eq!(list(&mut view, [("h:1", Ok(parent.clone()))]).len(), 1);
    parent.stat.children = 1;
    let snapshot = list(&mut view, [("h:1", Ok(parent.clone()))]);
    assert_eq!((snapshot.len(), snapshot.rejected().len()), (0, 0));
    parent.stat.children = 0;
    assert_eq!(list(&mut view, [("h:1", Ok(parent))]).len(), 1);
}

#[test]
fn only_children_that_make_a_difference_are_read_for_what_happens_below_them() {
    let mut view = view();
    let nobodys = |czxid, data, children| {
        let mut node = node(czxid, data);
        (node.stat.owner, node.stat.children) = (0, children);
        Ok(node)
    };
    list(
        &mut view,
        [
            ("garbage", nobodys(1, "garbage".into(), 0)),
            ("h:1", nobodys(2, record(1), 0)),
            ("h:2", nobodys(3, record(2), 1)),
            ("namespace", nobodys(4, Bytes::new(), 9)),
            ("secret", Err(Fault::NoAuth)),
        ],
    );
    let below = ["garbage", "gone", "h:1", "h:2", "namespace", "secret"];
    below.iter().for_each(|name| view.stir(name, Instant::now()));
    assert_eq!(view.take_marks(9), ["garbage", "h:1", "h:2"]);
    // While they are read, what is heard may be newer than what the reads will say.
    below.iter().for_each(|name| view.stir(name, Instant::now()));
    assert!(!view.is_dirty());
    let items =
        vec![("h:1".to_owned(), nobodys(2, record(1), 1)), ("garbage".to_owned(), Err(Fault::NoNode))];
    view.loaded(Batch { items, parent: None, gapless: true }, Instant::now());
    assert_eq!(view.take_marks(9), ["h:1", "h:2"]);
}

#[test]
fn what_a_file_remembered_ends_with_the_first_listing_even_at_the_same_zxids() {
    let mut other_zookeeper = view();
    let old = list(&mut other_zookeeper, [("h:1", Ok(node(1, record(1)))), ("h:2", Ok(node(2, record(2))))]);
    let mut view = view();
    let members = Members::from_sorted(old.instances().cloned().collect());
    view.restore(members, SystemTime::UNIX_EPOCH);
    let restored = view.publish().unwrap();
    assert_eq!(restored.freshness(), Freshness::Disk { written: SystemTime::UNIX_EPOCH });
    assert_eq!((restored.len(), restored.watermark()), (2, Zxid(0)));
    view.lost(Instant::now());
    assert!(view.publish().is_none(), "it is not live and cannot become stale");
    let live = list(&mut view, [("h:1", Ok(node(1, record(9))))]);
    assert_eq!(live.instances().map(|member| member.port()).collect::<Vec<_>>(), [9]);
    assert_eq!(live.suspects().len(), 0);
    assert_eq!(live.freshness(), Freshness::Live);
}

#[test]
fn an_instance_is_the_same_life_as_long_as_its_record_says_so() {
    let record = |incarnation| {
        use crate::format::sealed::Codec;
        let instance = Instance::new("h", 1);
        let owner = Owner { host: None, incarnation };
        let id = instance.id().unwrap();
        Bytes::from(Curator.encode(&service(), &id, &instance, &owner, SystemTime::UNIX_EPOCH).unwrap())
    };
    let mut view = view();
    let mut life = |czxid, data| {
        let snapshot = list(&mut view, [("h:1", Ok(node(czxid, data)))]);
        snapshot.instances().next().unwrap().incarnation()
    };
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let first = life(1, record(one));
    assert_eq!(life(2, record(one)), first, "registered again");
    assert_ne!(life(3, record(other)), first, "restarted");
}

#[test]
fn a_read_that_failed_leaves_the_view_as_old_as_its_oldest_mark() {
    let mut view = view();
    list(&mut view, [("h:1", Ok(node(1, record(1))))]);
    let marked = Instant::now() + SESSION;
    for (n, name) in (0..).zip(["h:1", "h:2", "h:1", "h:3"]) {
        view.mark(name, marked + Duration::from_secs(n));
    }
    assert_eq!(view.take_marks(2), ["h:1", "h:2"]);
    assert!(view.publish().is_none(), "what is being read is no news");
    view.failed();
    assert_eq!(view.publish().unwrap().freshness(), Freshness::Stale { since: marked });
    let listed = list(&mut view, [("h:1", Ok(node(2, record(1))))]);
    assert_eq!(listed.freshness(), Freshness::Live);
    assert!(!view.is_dirty());
    view.lost(marked + SESSION);
    assert_eq!(view.publish().unwrap().freshness(), Freshness::Stale { since: marked + SESSION });
}

#[test]
fn only_a_live_view_becomes_stale() {
    let mut view = view();
    view.lost(Instant::now());
    assert!(view.publish().is_none(), "nothing is known yet");
    list(&mut view, []);
    let since = Instant::now();
    view.lost(since);
    view.lost(since + SESSION);
    assert_eq!(view.publish().unwrap().freshness(), Freshness::Stale { since });
    assert!(view.publish().is_none());
}
