use zk_registry::{Attributes, Freshness, Instance, Snapshot};

use super::*;

fn name() -> ServiceName {
    "time".parse().unwrap()
}

fn instance(n: u16) -> Instance {
    let mut attributes = Attributes::default();
    attributes.status = if n.is_multiple_of(2) { Status::Draining } else { Status::Up };
    attributes.weight = (10 - n).try_into().unwrap();
    attributes.zone = Some(format!("zone-{}", n % 3));
    Instance::new("10.0.0.1", 8000 + n).with_attributes(attributes)
}

/// A model that shows five instances.
fn world(writes: Writes) -> (Model, Now) {
    let now = Now::read();
    let mut model = Model::new(Board::new(&[name()]), "zk1:2181".to_owned(), writes);
    model.hear(News::Snapshot(Snapshot::fixed(&name(), (1..=5).map(instance))), now);
    (model, now)
}

fn ids(model: &Model) -> Vec<u16> {
    model.rows().iter().map(|member| member.port() - 8000).collect()
}

fn press(model: &mut Model, now: Now, keys: &str) -> Effect {
    keys.chars()
        .map(|c| model.press(if c == '\n' { Key::Enter } else { Key::Char(c) }, 3, now))
        .last()
        .unwrap()
}

#[test]
fn a_filter_is_written_kept_and_taken_back() {
    let (mut model, now) = world(Writes::Refused);
    press(&mut model, now, "/zone-1 up");
    assert_eq!(ids(&model), [1]);
    model.press(Key::Backspace, 3, now);
    press(&mut model, now, "\nq");
    assert_eq!((ids(&model), model.filter.as_str()), (vec![1], "zone-1 u"));
    press(&mut model, now, "/x");
    assert_eq!(ids(&model), [0; 0]);
    model.press(Key::Escape, 3, now);
    assert_eq!(model.filter, "zone-1 u");
    model.press(Key::Escape, 3, now);
    assert_eq!(ids(&model), [1, 2, 3, 4, 5]);
}

#[test]
fn instances_stand_in_the_order_that_is_chosen() {
    let (mut model, now) = world(Writes::Refused);
    let mut orders = Vec::new();
    for _ in 0..6 {
        orders.push((model.sort.word(), ids(&model)));
        press(&mut model, now, "s");
    }
    assert_eq!(orders[0], ("id", vec![1, 2, 3, 4, 5]));
    assert!(orders.contains(&("status", vec![2, 4, 1, 3, 5])), "{orders:?}");
    assert!(orders.contains(&("weight", vec![1, 2, 3, 4, 5])), "{orders:?}");
    assert!(orders.contains(&("zone", vec![3, 1, 4, 2, 5])), "{orders:?}");
    assert_eq!(model.sort, Sort::Id);
}

#[test]
fn the_mark_moves_by_rows_and_pages_and_stays_on_its_instance() {
    let (mut model, now) = world(Writes::Refused);
    let marked = |model: &Model| model.instance().map(|member| member.port() - 8000);
    assert_eq!(marked(&model), None);
    press(&mut model, now, "jj");
    assert_eq!(marked(&model), Some(2));
    model.press(Key::PageDown, 3, now);
    assert_eq!(marked(&model), Some(5));
    model.press(Key::Down, 3, now);
    assert_eq!(marked(&model), Some(5));
    model.press(Key::Home, 3, now);
    assert_eq!(marked(&model), Some(1));
    press(&mut model, now, "Gk");
    model.hear(News::Snapshot(Snapshot::fixed(&name(), [3, 4, 5].map(instance))), now);
    assert_eq!(marked(&model), Some(4));
    model.hear(News::Snapshot(Snapshot::fixed(&name(), [instance(5)])), now);
    assert_eq!(marked(&model), None);
}

#[test]
fn nothing_is_changed_without_the_flag_a_marked_instance_and_a_yes() {
    let (mut model, now) = world(Writes::Refused);
    press(&mut model, now, "jd");
    assert!(model.mode == Mode::Browse && model.notice.as_ref().unwrap().text.contains("--write"));
    let (mut model, now) = world(Writes::Armed);
    press(&mut model, now, "d");
    assert!(model.mode == Mode::Browse && model.notice.as_ref().unwrap().text.contains("no instance"));
    assert_eq!(press(&mut model, now, "jdn"), Effect::Nothing);
    assert_eq!(model.mode, Mode::Browse);
    let Effect::Change(request) = press(&mut model, now, "dy") else { panic!("{model:?}") };
    assert_eq!(
        (request.id.as_str(), &request.wish),
        ("10.0.0.1:8001", &Wish::Status(Status::Draining, None))
    );
    assert!(matches!(
        press(&mut model, now, "uy"),
        Effect::Change(Request { wish: Wish::Status(Status::Up, _), .. })
    ));
}

#[test]
fn a_weight_is_written_checked_and_asked_for() {
    let (mut model, now) = world(Writes::Armed);
    press(&mut model, now, "jw0\n");
    assert!(model.notice.as_ref().unwrap().text.contains("1 to 65535"));
    model.press(Key::Backspace, 3, now);
    assert_eq!(press(&mut model, now, "1x2\n"), Effect::Nothing);
    let Effect::Change(request) = press(&mut model, now, "y") else { panic!("{model:?}") };
    assert_eq!(request.wish, Wish::Weight(12.try_into().unwrap()));
    press(&mut model, now, "w");
    model.press(Key::Escape, 3, now);
    assert_eq!(model.mode, Mode::Browse);
}

#[test]
fn an_interrupt_ends_it_in_every_mode() {
    for keys in ["j", "/x", "?", "jd", "jw1"] {
        let (mut model, now) = world(Writes::Armed);
        press(&mut model, now, keys);
        assert_eq!(model.press(Key::Interrupt, 3, now), Effect::Quit, "{keys}");
    }
    let (mut model, now) = world(Writes::Armed);
    assert_eq!(press(&mut model, now, "q"), Effect::Quit);
}

#[test]
fn the_history_is_read_while_it_grows() {
    let (mut model, now) = world(Writes::Refused);
    let only = |n| News::Snapshot(Snapshot::fixed(&name(), [instance(n)]));
    model.hear(only(1), now); // four went
    model.press(Key::Tab, 3, now);
    assert_eq!(model.pane, Pane::History);
    model.press(Key::Down, 3, now);
    assert_eq!(model.marked_event(), 1);
    model.hear(only(2), now); // one came, one went
    assert_eq!(model.marked_event(), 3);
    model.press(Key::Home, 3, now);
    model.hear(only(1), now);
    assert_eq!(model.marked_event(), 0);
}

#[test]
fn what_is_stale_still_shows_its_instances() {
    let (mut model, now) = world(Writes::Refused);
    let stale = Freshness::Stale { since: tokio::time::Instant::now() };
    let snapshot = Snapshot::fixed(&name(), (1..=5).map(instance)).with_freshness(stale);
    model.hear(News::Snapshot(snapshot), now);
    assert_eq!((ids(&model).len(), model.board.freshness().0), (5, "stale"));
}
