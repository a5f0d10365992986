//! A model of the server: any interleaving of writes, reads, lost requests and lost events ends equal to what the server
//! holds, and on the way no snapshot claims to know more than it does.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

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
    /// The driver lists the service, and will read its children between the marks.
    List,
    /// The driver reads some of the listed children; the writes happen before, between and after its reads.
    Sweep(Vec<Write>, Fate),
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
                self.child_changed(&name, grandchildren + 1);
            }
            (Write::Bereave(_), Some(_)) if grandchildren > 0 => self.child_changed(&name, grandchildren - 1),
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
    fn child_changed(&mut self, name: &str, grandchildren: u32) {
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
    /// Whether the driver asked for events over this connection.
    armed: bool,
    /// The children that are still to be read since a listing, and the highest zxid that was seen.
    sweep: Option<(Vec<String>, i64)>,
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
            armed: false,
            sweep: None,
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
            Step::List => self.list(),
            Step::Sweep(writes, fate) => self.sweep(writes, *fate),
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
                Some((name, _)) => self.view.child_changed(name, at),
            }
        }
    }

    fn cut(&mut self) {
        let since = self.server.cut().unwrap_or(self.now);
        (self.resync, self.armed, self.sweep) = (true, false, None);
        self.view.lost(since);
    }

    fn list(&mut self) {
        self.hear();
        if !self.resync {
            let names: Vec<_> = self.server.children.keys().cloned().collect();
            self.view.reconcile(&names, self.now);
            self.sweep = Some((names, self.server.pzxid));
        }
    }

    fn sweep(&mut self, writes: &[Write], fate: Fate) {
        self.hear();
        let Some((mut names, mut reach)) = self.sweep.take() else { return };
        let left = names.split_off(names.len().min(2));
        self.view.begin_sweep();
        let (before, after) = writes.split_at(writes.len() / 2);
        before.iter().for_each(|write| self.server.write(write));
        let read = |name: &String| Read::answer(name.clone(), self.server.read(name));
        let items: Vec<_> = names.iter().map(read).collect();
        let (heard, later) = after.split_at(after.len() / 2);
        heard.iter().for_each(|write| self.server.write(write));
        match fate {
            Fate::Answered => {
                self.hear();
                let zxids = items.iter().filter_map(Read::identity).map(|(_, mzxid)| mzxid);
                reach = zxids.fold(reach, i64::max);
                self.view.swept(items, self.now);
                if left.is_empty() {
                    self.view.end_sweep(Zxid(reach));
                } else {
                    self.sweep = Some((left, reach));
                }
            }
            Fate::Interrupted | Fate::Lost => self.cut(),
            Fate::Refused => {
                self.hear();
                self.view.swept(Vec::new(), self.now);
                names.extend(left);
                self.sweep = Some((names, reach));
            }
        }
        later.iter().for_each(|write| self.server.write(write));
    }

    fn drive(&mut self, writes: &[Write], fate: Fate) {
        self.hear();
        let resync = self.resync;
        let names = if resync {
            self.view.begin_resync(self.now);
            self.sweep = None;
            if !self.armed {
                (self.armed, self.server.armed) = (true, true);
            }
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
            self.view.failed(None);
            return;
        }
        let read = |name: String| {
            let answer = self.server.read(&name);
            // As the driver does it.
            if resync { self.view.decode_ahead(name, answer) } else { Read::answer(name, answer) }
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
    let fate = || prop_oneof![6 => Just(Fate::Answered), 1 => Just(Fate::Interrupted), 1 => Just(Fate::Lost), 1 => Just(Fate::Refused)];
    prop_oneof![
        3 => write().prop_map(Step::Write),
        4 => (writes(), fate()).prop_map(|(writes, fate)| Step::Drive(writes, fate)),
        1 => writes().prop_map(Step::Barrier),
        1 => Just(Step::Cut),
        1 => Just(Step::List),
        2 => (writes(), fate()).prop_map(|(writes, fate)| Step::Sweep(writes, fate)),
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
