//! The view against listings made up for it, and against a model of the server.

mod model;
mod names;

use std::time::SystemTime;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::format::Curator;
use crate::format::sealed::Owner;
use crate::instance::Instance;
use crate::snapshot::Change;

const SESSION: Duration = Duration::from_secs(10);
/// The most bytes of a record by default.
const MAX_RECORD: usize = 256 << 10;

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn view() -> View {
    View::new(service(), Arc::new(Curator), Suspicion::Keep, RecordLimits::default(), SESSION)
}

/// A record that names the port, by a writer without an incarnation of its own.
fn record(port: u16) -> Bytes {
    use crate::format::sealed::Codec;
    let instance = Instance::new("h", port);
    let owner = Owner { host: None, incarnation: Uuid::nil() };
    let id = instance.id().unwrap();
    Curator.encode(&service(), &id, &instance, &owner, SystemTime::UNIX_EPOCH).unwrap().into()
}

fn node(czxid: i64, data: Bytes) -> Node {
    let stat = Stat { czxid, mzxid: czxid, owner: czxid, ..Stat::default() };
    Node { data, stat }
}

type Items = Vec<(&'static str, Result<Node, Fault>)>;

/// Answers that nobody has decoded.
fn answers(items: Vec<(String, Result<Node, Fault>)>) -> Vec<Read> {
    items.into_iter().map(|(name, answer)| Read::answer(name, answer)).collect()
}

/// A full listing of these children, by a server that was never cut off.
fn list(view: &mut View, items: impl Into<Items>) -> Snapshot {
    list_again(view, items);
    view.publish().unwrap()
}

/// The same; gives the names of those that went or changed.
fn list_again(view: &mut View, items: impl Into<Items>) -> Vec<String> {
    view.begin_resync(Instant::now());
    let items = items.into().into_iter();
    // As the driver does it.
    let ahead = |(name, answer): (&str, _)| view.decode_ahead(name.to_owned(), answer);
    let items = items.map(ahead).collect();
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
    view.loaded(Batch { items: answers(items), parent: None, gapless: true }, Instant::now());
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
    below.iter().for_each(|name| view.child_changed(name, Instant::now()));
    assert_eq!(view.take_marks(9), ["garbage", "h:1", "h:2"]);
    // While they are read, what is heard may be newer than what the reads will say.
    below.iter().for_each(|name| view.child_changed(name, Instant::now()));
    assert!(!view.is_dirty());
    let items =
        vec![("h:1".to_owned(), nobodys(2, record(1), 1)), ("garbage".to_owned(), Err(Fault::NoNode))];
    view.loaded(Batch { items: answers(items), parent: None, gapless: true }, Instant::now());
    assert_eq!(view.take_marks(9), ["h:1", "h:2"]);
}

#[test]
fn what_a_file_remembered_ends_with_the_first_listing_even_at_the_same_zxids() {
    let mut other_zookeeper = view();
    let old = list(&mut other_zookeeper, [("h:1", Ok(node(1, record(1)))), ("h:2", Ok(node(2, record(2))))]);
    let mut view = view();
    let members = Members::from_sorted(old.instances().cloned().collect());
    view.restore(Stored { members, rules: Vec::new(), written: SystemTime::UNIX_EPOCH });
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
    view.failed(None);
    assert_eq!(view.publish().unwrap().freshness(), Freshness::Stale { since: marked });
    let listed = list(&mut view, [("h:1", Ok(node(2, record(1))))]);
    assert_eq!(listed.freshness(), Freshness::Live);
    assert!(!view.is_dirty());
    view.lost(marked + SESSION);
    assert_eq!(view.publish().unwrap().freshness(), Freshness::Stale { since: marked + SESSION });
}

#[test]
fn another_record_that_is_rejected_for_the_same_reason_is_no_news() {
    let mut view = view();
    let first = list(&mut view, [("a", Ok(node(1, "{".into()))), ("b", Ok(node(2, "{".into())))]);
    let load = |view: &mut View, name: &str, node: Node| {
        let items = vec![(name.to_owned(), Ok(node))];
        view.loaded(Batch { items: answers(items), parent: None, gapless: false }, Instant::now());
        view.publish()
    };
    for zxid in 3..9 {
        assert!(load(&mut view, "a", node(zxid, "{".into())).is_none());
    }
    let second = load(&mut view, "b", node(9, Bytes::new())).unwrap();
    assert_ne!(first.rejected()[1], second.rejected()[1]);
    assert!(Arc::ptr_eq(&first.rejected()[0], &second.rejected()[0]), "what did not change is shared");
}

#[test]
fn a_member_whose_record_becomes_too_large_keeps_its_last_good_one_and_is_marked() {
    let huge = || Bytes::from(vec![b' '; MAX_RECORD + 1]);
    let written = |mzxid, data| {
        let mut node = node(1, data);
        node.stat.mzxid = mzxid;
        Ok(node)
    };
    let mut view = view();
    list(&mut view, [("h:1", Ok(node(1, record(1))))]);
    let relisted = |view: &mut View, answer| {
        view.begin_resync(Instant::now());
        let items = vec![("h:1".to_owned(), answer)];
        view.listed(Batch { items: answers(items), parent: None, gapless: false }, Instant::now());
        view.live();
        view.publish()
    };
    let marked = relisted(&mut view, written(2, huge())).unwrap();
    assert_eq!((marked.len(), marked.rejected().len(), view.children()), (1, 1, 1));
    assert_eq!(marked.rejected()[0].id, "h:1");
    assert!(relisted(&mut view, written(3, huge())).is_none(), "it is no news");
    let cured = list(&mut view, [("h:1", written(9, record(1)))]);
    assert_eq!((cured.len(), cured.rejected().len()), (1, 0));
    let loaded = |view: &mut View, answer| {
        let items = vec![("h:1".to_owned(), answer)];
        view.loaded(Batch { items: answers(items), parent: None, gapless: false }, Instant::now());
        view.publish().unwrap()
    };
    let marked = loaded(&mut view, written(10, huge()));
    assert_eq!((marked.len(), marked.rejected().len()), (1, 1));
    // Another node of this name never was any good.
    let replaced = loaded(&mut view, Ok(node(11, huge())));
    assert_eq!((replaced.len(), replaced.rejected().len()), (0, 1));
    let gone = loaded(&mut view, Err(Fault::NoNode));
    assert_eq!((gone.len(), gone.rejected().len(), view.children()), (0, 0, 0));
}

#[test]
fn of_a_record_no_more_is_kept_than_tells_that_it_is_too_large() {
    let cut = bounded(Ok(node(1, Bytes::from(vec![b' '; MAX_RECORD * 4]))), MAX_RECORD).unwrap();
    assert_eq!(cut.data.len(), MAX_RECORD + 1);
    let whole = bounded(Ok(node(1, Bytes::from(vec![b' '; MAX_RECORD]))), MAX_RECORD).unwrap();
    assert_eq!(whole.data.len(), MAX_RECORD);
}

/// A view with room for five instances of the host `h` with ports of four digits.
fn small_view() -> View {
    let limits = RecordLimits::default().with_record(256).with_service(5 * (256 + "h:1000".len() + 1));
    View::new(service(), Arc::new(Curator), Suspicion::Forget, limits, SESSION)
}

fn numbered(czxid: u16) -> (String, Result<Node, Fault>) {
    let port = 1_000 + czxid;
    (format!("h:{port}"), Ok(node(czxid.into(), record(port))))
}

fn load(view: &mut View, items: Vec<(String, Result<Node, Fault>)>) {
    view.loaded(Batch { items: answers(items), parent: None, gapless: false }, Instant::now());
}

/// Reads what is marked, from nodes whose `czxid` is the port less 1,000.
fn read_marks(view: &mut View) {
    while view.is_dirty() {
        let names = view.take_marks(3);
        let number = |name: &String| name.strip_prefix("h:1").unwrap().parse().unwrap();
        load(view, names.iter().map(|name| numbered(number(name))).collect());
    }
}

fn listed(view: &mut View) -> Vec<String> {
    let snapshot = view.publish().expect("there is news");
    snapshot.instances().map(|member| member.id().to_string()).collect()
}

#[test]
fn of_more_instances_than_there_is_room_for_the_oldest_stay_and_the_others_are_rejected() {
    let mut view = small_view();
    view.begin_resync(Instant::now());
    let items = answers((1..=9).rev().map(numbered).collect());
    view.listed(Batch { items, parent: Some(Stat::default()), gapless: true }, Instant::now());
    let snapshot = view.publish().unwrap();
    assert_eq!((snapshot.len(), snapshot.rejected().len(), view.children()), (5, 4, 9));
    assert!(
        snapshot.get(&"h:1005".parse().unwrap()).is_some()
            && snapshot.get(&"h:1006".parse().unwrap()).is_none()
    );
    assert!(snapshot.rejected()[0].reason.contains("older instances"), "{:?}", snapshot.rejected());

    load(&mut view, vec![numbered(30)]);
    assert_eq!(listed(&mut view).len(), 5, "one that is younger still finds no room");
    // Two go: the oldest that waited are read again, and come.
    load(
        &mut view,
        vec![("h:1001".to_owned(), Err(Fault::NoNode)), ("h:1004".to_owned(), Err(Fault::NoNode))],
    );
    read_marks(&mut view);
    assert_eq!(listed(&mut view), ["h:1002", "h:1003", "h:1005", "h:1006", "h:1007"]);
    // An older node than any takes the place of the youngest.
    load(&mut view, vec![numbered(0)]);
    assert_eq!(listed(&mut view), ["h:1000", "h:1002", "h:1003", "h:1005", "h:1006"]);
    assert_eq!(view.children(), 9);
}

#[test]
fn listing_again_takes_in_those_that_wait_once_there_is_room() {
    let mut view = small_view();
    let relist = |view: &mut View, numbers: &mut dyn Iterator<Item = u16>| {
        view.begin_resync(Instant::now());
        let items = answers(numbers.map(numbered).collect());
        view.listed(Batch { items, parent: Some(Stat::default()), gapless: true }, Instant::now());
        read_marks(view);
        view.publish()
    };
    assert_eq!(relist(&mut view, &mut (1..=9)).unwrap().len(), 5);
    assert!(relist(&mut view, &mut (1..=9)).is_none(), "nothing changed");
    let snapshot = relist(&mut view, &mut (4..=9)).unwrap();
    assert_eq!((snapshot.len(), snapshot.rejected().len()), (5, 1));
    let snapshot = relist(&mut view, &mut (6..=9)).unwrap();
    assert_eq!((snapshot.len(), snapshot.rejected().len()), (4, 0));
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
