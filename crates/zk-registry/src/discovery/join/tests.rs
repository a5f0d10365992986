//! What several sources make together.

use proptest::prelude::*;

use super::*;
use crate::snapshot::{Freshness, Zxid};

const UNITS: [u16; 3] = [1, 100, 1000];

fn service() -> ServiceName {
    "time".parse().unwrap()
}

fn of(instances: impl IntoIterator<Item = Instance>) -> Snapshot {
    Snapshot::fixed(&service(), instances)
}

fn at(host: &str) -> Instance {
    Instance::new(host, 80)
}

fn draining(instance: Instance) -> Instance {
    let attributes = Attributes { status: Status::Draining, ..instance.attributes().clone() };
    instance.with_attributes(attributes)
}

fn named(instance: Instance, id: &str) -> Instance {
    instance.with_id(id.parse().unwrap())
}

fn weighing(instance: Instance, weight: u16) -> Instance {
    instance.with_weight(NonZeroU16::new(weight).unwrap())
}

fn joined(sources: impl IntoIterator<Item = Snapshot>) -> Snapshot {
    let mut join = Join::new(&service(), UNITS);
    for (n, source) in sources.into_iter().enumerate() {
        join.take_up(n, source);
    }
    join.snapshot()
}

/// One line per member.
fn lines(snapshot: &Snapshot) -> Vec<String> {
    let line = |member: &Arc<Member>| {
        format!("{} at {} {} {}", member.id(), member.address(), member.status(), member.weight())
    };
    snapshot.instances().map(line).collect()
}

#[test]
fn one_address_is_one_member_as_the_first_source_states_it() {
    let first = of([named(at("a").with_zone("z"), "ours")]);
    let second = of([named(weighing(at("a"), 300), "theirs"), weighing(at("b"), 250)]);
    let seen = joined([first, second, of([])]);
    assert_eq!(lines(&seen), ["b:80 at b:80 up 250", "ours at a:80 up 100"]);
    assert_eq!(seen.get(&"ours".parse().unwrap()).unwrap().zone(), Some("z"));
}

#[test]
fn it_drains_if_any_source_says_so_and_goes_once_it_is_gone_from_all() {
    let mut join = Join::new(&service(), UNITS);
    join.take_up(0, of([at("a")]));
    join.take_up(1, of([draining(at("a"))]));
    assert_eq!(lines(&join.snapshot()), ["a:80 at a:80 draining 100"]);
    join.take_up(1, of([]));
    assert_eq!(lines(&join.snapshot()), ["a:80 at a:80 up 100"]);
    join.take_up(2, of([weighing(at("a"), 2000)]));
    assert!(!join.loses(0, &of([])), "another source has it");
    join.take_up(0, of([]));
    assert_eq!(lines(&join.snapshot()), ["a:80 at a:80 up 200"]);
    assert!(join.loses(2, &of([])));
    join.take_up(2, of([]));
    assert!(join.snapshot().is_empty());
}

#[test]
fn an_id_that_an_earlier_source_gives_to_another_instance_gives_way_to_the_address() {
    let seen = joined([of([named(at("a"), "one")]), of([named(at("b"), "one"), at("c")])]);
    assert_eq!(lines(&seen), ["b:80 at b:80 up 1", "c:80 at c:80 up 1", "one at a:80 up 100"]);
    let taken = joined([of([named(at("a"), "one"), named(at("c"), "b:80")]), of([named(at("b"), "one")])]);
    assert_eq!((taken.len(), taken.shadows()), (2, 1));
}

#[test]
fn it_is_as_fresh_as_the_least_fresh_source_and_holds_what_all_of_them_do() {
    let stale = Freshness::Stale { since: tokio::time::Instant::now() };
    let seen = joined([
        of([]).with_watermark(Zxid(7)),
        of([]).with_watermark(Zxid(5)).with_freshness(stale),
        of([]).with_watermark(Zxid(9)),
    ]);
    assert_eq!((seen.freshness(), seen.watermark()), (stale, Zxid(5)));
    assert_eq!(joined([of([at("a")])]).freshness(), Freshness::Pending, "of two nothing is known");
}

#[test]
fn weights_are_brought_to_one_unit() {
    let weight = |source: usize, weight: u16| {
        let unit = UNITS[source];
        scaled(NonZeroU16::new(weight).unwrap(), unit).get()
    };
    assert_eq!(
        [weight(0, 3), weight(1, 250), weight(2, 1000), weight(2, 14), weight(2, 1)],
        [300, 250, 100, 1, 1]
    );
    assert_eq!(weight(0, 60_000), u16::MAX);
}

/// A few addresses and ids, so that they meet.
fn source() -> impl Strategy<Value = Vec<Instance>> {
    let ids = ["a:80", "b:80", "c:80", "x", "y"];
    let instance =
        (0_usize..3, 0_usize..6, any::<bool>(), 1_u16..300).prop_map(move |(host, id, drains, weight)| {
            let instance = weighing(at(["a", "b", "c"][host]), weight);
            let instance = if drains { draining(instance) } else { instance };
            match ids.get(id) {
                Some(id) => named(instance, id),
                None => instance,
            }
        });
    prop::collection::vec(instance, 0..5)
}

proptest! {
    #[test]
    fn step_by_step_is_as_at_once(steps in prop::collection::vec((0_usize..3, source()), 1..20)) {
        let mut join = Join::new(&service(), UNITS);
        let mut latest = [of([]), of([]), of([])];
        for (n, instances) in steps {
            latest[n] = of(instances);
            join.take_up(n, latest[n].clone());
            let (step, once) = (join.snapshot(), joined(latest.clone()));
            prop_assert_eq!(lines(&step), lines(&once));
            prop_assert_eq!(step.shadows(), once.shadows());
            let addresses: BTreeSet<_> = step.instances().map(|member| member.address()).collect();
            for instance in latest.iter().flat_map(Snapshot::instances) {
                prop_assert!(addresses.contains(&instance.address()) || step.shadows() > 0, "none is lost");
            }
        }
    }
}
