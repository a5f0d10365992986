use ratatui::style::Modifier;
use zk_registry::{Attributes, Freshness, Instance, ServiceName, Snapshot};

use super::*;
use crate::live::{Board, News};
use crate::top::key::Key;
use crate::top::theme::{Colours, Glyphs};

const PLAIN: Theme = Theme { colours: Colours::None, glyphs: Glyphs::Ascii };
const COLOURS: Theme = Theme { colours: Colours::Ansi, glyphs: Glyphs::Unicode };

fn name() -> ServiceName {
    "time".parse().unwrap()
}

fn model(instances: impl IntoIterator<Item = Instance>) -> (Model, Now) {
    let now = Now::read();
    let mut model = Model::new(Board::new(&[name()]), "zk1:2181".to_owned(), Writes::Armed);
    model.hear(News::Snapshot(Snapshot::fixed(&name(), instances)), now);
    (model, now)
}

fn drawn(model: &Model, theme: Theme, now: Now, width: u16, height: u16) -> (Vec<String>, Buffer) {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    draw(model, theme, now, &mut buffer);
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    ((0..height).map(row).collect(), buffer)
}

fn listed(n: u16) -> impl Iterator<Item = Instance> {
    (1..=n).map(|port| Instance::new("10.0.0.1", 8000 + port).with_zone("zone-a"))
}

#[test]
fn a_small_screen_shows_one_pane_and_a_large_one_all_three() {
    let (mut model, now) = model(listed(50));
    let (small, _) = drawn(&model, PLAIN, now, 40, 10);
    let text = small.join("\n");
    assert!(text.contains("10.0.0.1:8001") && text.contains("STATUS") && !text.contains("SERVICE"), "{text}");
    assert!(small[9].contains("help"), "{text}");
    let (large, _) = drawn(&model, PLAIN, now, 200, 60);
    let text = large.join("\n");
    for shown in [
        "SERVICE",
        "10.0.0.1:8001",
        "history",
        "zone-a",
        "persistent",
        "OWNER",
        "1 service",
        "50 instances",
        "WRITES",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    model.press(Key::Tab, 5, now);
    assert!(drawn(&model, PLAIN, now, 40, 10).0.join("\n").contains("> history"));
}

#[test]
fn every_size_is_drawn_in_every_mode() {
    for keys in ["", "?", "/zone", "jd", "jw3", "\t", "\t\t"] {
        let (mut model, now) = model(listed(30));
        for c in keys.chars() {
            model.press(if c == '\t' { Key::Tab } else { Key::Char(c) }, 3, now);
        }
        for (width, height) in
            [(0, 0), (1, 1), (2, 3), (9, 60), (40, 2), (100, 18), (101, 19), (300, 5), (500, 100)]
        {
            drawn(&model, COLOURS, now, width, height);
        }
    }
}

#[test]
fn the_marked_row_is_in_sight_and_told_without_colours() {
    let (mut model, now) = model(listed(50));
    for _ in 0..40 {
        model.press(Key::Down, 3, now);
    }
    let (lines, buffer) = drawn(&model, PLAIN, now, 60, 10);
    let y = lines.iter().position(|line| line.contains("10.0.0.1:8040")).unwrap();
    assert!(buffer[(3, u16::try_from(y).unwrap())].modifier.contains(Modifier::REVERSED));
}

#[test]
fn what_changed_is_marked_for_a_moment_and_stays_in_the_history() {
    let (mut model, now) = model(listed(2));
    model.hear(News::Snapshot(Snapshot::fixed(&name(), listed(3))), now);
    let (lines, _) = drawn(&model, PLAIN, now, 200, 60);
    let text = lines.join("\n");
    assert!(text.contains("+ 10.0.0.1:8003") && text.contains("up         time  10.0.0.1:8003"), "{text}");
    let later = Now { at: now.at + std::time::Duration::from_secs(2), ..now };
    let (lines, _) = drawn(&model, PLAIN, later, 200, 60);
    let text = lines.join("\n");
    assert!(!text.contains("+ 10.0.0.1:8003") && text.contains("up         time  10.0.0.1:8003"), "{text}");
}

#[test]
fn what_others_wrote_never_reaches_the_terminal_as_it_is() {
    let mut attributes = Attributes::default();
    attributes.zone = Some("\u{1b}]0;owned\u{7}".to_owned());
    attributes.metadata.insert("k\u{202e}".to_owned(), "\u{9b}2J\r\n".to_owned());
    let hostile = Instance::new("h\u{1b}[2J", 1)
        .with_id("\u{200b}id\u{2028}".parse().unwrap_or_else(|_| "id".parse().unwrap()));
    let (mut model, now) = model([hostile.clone().with_attributes(attributes)]);
    model.hear(
        News::Snapshot(Snapshot::fixed(
            &name(),
            [hostile, Instance::new("x\u{1b}", 2).with_id("b".parse().unwrap())],
        )),
        now,
    );
    let (lines, _) = drawn(&model, COLOURS, now, 300, 60);
    let text = lines.concat();
    assert!(text.contains(r"\u{1b}"), "{text}");
    let raw = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
    assert!(!text.contains(raw), "{text:?}");
}

#[test]
fn a_stale_fleet_says_so_and_without_colours_no_cell_has_one() {
    let (mut model, now) = model(listed(2));
    let stale = Freshness::Stale { since: tokio::time::Instant::now() };
    model.hear(News::Snapshot(Snapshot::fixed(&name(), listed(2)).with_freshness(stale)), now);
    let (lines, buffer) = drawn(&model, PLAIN, now, 120, 30);
    assert!(lines[0].contains("stale"), "{lines:?}");
    let reset = ratatui::style::Color::Reset;
    assert!(buffer.content().iter().all(|cell| cell.fg == reset && cell.bg == reset));
    let (_, coloured) = drawn(&model, COLOURS, now, 120, 30);
    assert!(coloured.content().iter().any(|cell| cell.fg == ratatui::style::Color::Red));
}

#[test]
fn a_question_names_the_instance_and_what_becomes_of_it() {
    let (mut model, now) = model(listed(2));
    for key in "jd".chars() {
        model.press(Key::Char(key), 3, now);
    }
    let (lines, _) = drawn(&model, PLAIN, now, 40, 10);
    assert_eq!(lines[9], "drain 10.0.0.1:8001? y/n");
}
