//! The drawing of a model. Only rows that can be seen cost anything; every foreign text is made printable.

mod columns;
mod layout;
mod pen;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Sparkline, Widget as _};
use zk_registry::Status;

use self::columns::Columns;
use self::layout::{HEAD, Layout, Panes};
use self::pen::Pen;
use super::model::{Mode, Model, Pane, Writes};
use super::theme::{Role, Theme};
use crate::live::{Event, Now, Shape, What};
use crate::shown::{clock, count};

/// Draws a model onto all of `buffer`.
pub(crate) fn draw(model: &Model, theme: Theme, now: Now, buffer: &mut Buffer) {
    let mut pen = Pen { buffer, theme };
    let layout = Layout::of(pen.buffer.area);
    header(model, &mut pen, layout.header);
    if let Mode::Help = model.mode {
        help(&mut pen, layout.body());
    } else {
        match layout.panes {
            Panes::One(area) => pane(model, now, &mut pen, model.pane, area),
            Panes::Three { services, instances, history } => {
                pane(model, now, &mut pen, Pane::Services, services);
                pane(model, now, &mut pen, Pane::Instances, instances);
                pane(model, now, &mut pen, Pane::History, history);
            }
        }
    }
    footer(model, now, &mut pen, layout.footer);
}

/// How many rows the pane of the marks shows on a screen of this size: a page.
pub(crate) fn page(model: &Model, area: Rect) -> usize {
    let area = match (Layout::of(area).panes, model.pane) {
        (Panes::One(area), _) => area,
        (Panes::Three { services, .. }, Pane::Services) => services,
        (Panes::Three { instances, .. }, Pane::Instances) => instances,
        (Panes::Three { history, .. }, Pane::History) => history,
    };
    usize::from(area.height.saturating_sub(HEAD))
}

fn header(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    let instances: usize = model.board.services().map(|(_, shape)| shape.snapshot.len()).sum();
    let (freshness, cause) = model.board.freshness();
    let role = if freshness == "live" { Role::Good } else { Role::Bad };
    let x = pen.write(area, 0, 0, area.width, "zkr top  ", Role::Head);
    let mut x = pen.write(area, x, 0, area.width, freshness, role);
    if let Some(cause) = cause {
        x = pen.write(area, x, 0, area.width, &format!(" ({cause})"), role);
    }
    let services = count(model.board.services().len(), "service");
    let rest = format!("  {services}  {}  ", count(instances, "instance"));
    let x = pen.write(area, x, 0, area.width, &rest, Role::Plain);
    let x = match model.writes {
        Writes::Armed => pen.write(area, x, 0, area.width, "WRITES  ", Role::Warn),
        Writes::Refused => pen.write(area, x, 0, area.width, "read-only  ", Role::Faint),
    };
    pen.write(area, x, 0, area.width, &model.to, Role::Faint);
}

fn footer(model: &Model, now: Now, pen: &mut Pen<'_>, area: Rect) {
    let mut line = |text: &str, role| pen.write(area, 0, 0, area.width, text, role);
    match &model.mode {
        Mode::Confirm(request) => line(&format!("{} {}? y/n", request.wish, request.id), Role::Warn),
        Mode::Filter { .. } => line(&format!("filter: {}_", model.filter), Role::Head),
        Mode::Weigh { of, text } => line(&format!("weight of {}: {text}_", of.id), Role::Head),
        Mode::Browse | Mode::Help => match &model.notice {
            Some(notice) if notice.stands(now) => line(&notice.text, Role::Head),
            _ if model.writes == Writes::Armed => {
                line("? help  / filter  s sort  Tab pane  d drain  u undrain  w weight  q quit", Role::Faint)
            }
            _ => line("? help  / filter  s sort  Tab pane  q quit", Role::Faint),
        },
    };
}

fn help(pen: &mut Pen<'_>, area: Rect) {
    for (y, line) in (0..).zip(HELP.lines()) {
        pen.write(area, 0, y, area.width, line, Role::Plain);
    }
}

const HELP: &str = "\
Up Down j k   move      Home End g G
PageUp PageDown         Tab  next pane
/  filter by words of id, host, zone,
   status, metadata     Esc  no filter
s  sort by the next column
d u w  drain, undrain, weight (--write)
q  quit       any key   back";

fn pane(model: &Model, now: Now, pen: &mut Pen<'_>, which: Pane, area: Rect) {
    match which {
        Pane::History => history(model, pen, area),
        Pane::Instances => instances(model, now, pen, area),
        Pane::Services => services(model, pen, area),
    }
}

/// The title of a pane, and whether keys go there.
fn title(model: &Model, pen: &mut Pen<'_>, which: Pane, area: Rect, text: &str) -> u16 {
    let focus = if model.pane == which { "> " } else { "  " };
    pen.write(area, 0, 0, area.width, &format!("{focus}{text}"), Role::Head)
}

fn services(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    title(model, pen, Pane::Services, area, "services");
    let (numbers, state) = (area.width.saturating_sub(16), area.width.saturating_sub(8));
    pen.write(area, 0, 1, numbers, "SERVICE", Role::Faint);
    pen.write(area, numbers, 1, 8, "     UP", Role::Faint);
    pen.write(area, state, 1, 8, "STATE", Role::Faint);
    let all: Vec<_> = model.board.services().collect();
    let marked = model.service().and_then(|(name, _)| all.iter().position(|(other, _)| *other == name));
    let shown = window(all.len(), marked.unwrap_or(0), area);
    for (y, n) in (HEAD..).zip(shown) {
        let (name, shape) = all[n];
        let up = shape.snapshot.len() - shape.draining();
        let word = shape.snapshot.freshness().word();
        pen.write(area, 0, y, numbers.saturating_sub(1), name.as_str(), Role::Plain);
        pen.write(area, numbers, y, 8, &format!("{up:7}"), if up == 0 { Role::Bad } else { Role::Plain });
        pen.write(area, state, y, 8, word, if word == "live" { Role::Good } else { Role::Bad });
        if marked == Some(n) {
            pen.mark(area, y);
        }
    }
}

fn instances(model: &Model, now: Now, pen: &mut Pen<'_>, area: Rect) {
    let Some((name, shape)) = model.service() else {
        title(model, pen, Pane::Instances, area, "there is no service");
        return;
    };
    let rows = model.rows();
    let filtered = if model.filter.is_empty() {
        String::new()
    } else {
        format!(" of {}, {}", shape.snapshot.len(), model.filter)
    };
    let rejected = match shape.snapshot.rejected().len() {
        0 => String::new(),
        n => format!("  {n} rejected"),
    };
    let text = format!(
        "{name}  {}  {}{filtered}{rejected}  by {}  ",
        shape.snapshot.freshness().word(),
        rows.len(),
        model.sort.word()
    );
    let x = title(model, pen, Pane::Instances, area, &text);
    sparkline(
        shape,
        pen,
        Rect { x: area.x + x, width: area.width - x, height: 1, ..area }.intersection(area),
    );
    let columns = Columns::of(area.width);
    columns.write(pen, area, 1, Role::Faint, |column| column.head().to_owned());
    let marked = model.marked(&rows);
    for (y, n) in (HEAD..).zip(window(rows.len(), marked.unwrap_or(0), area)) {
        let member = rows[n];
        let flash = shape.flash(member.id(), now);
        let role = match (flash, member.status()) {
            (Some(What::Up), _) => Role::Good,
            (Some(_), _) | (None, Status::Draining) => Role::Warn,
            _ => Role::Plain,
        };
        columns.write(pen, area, y, role, |column| column.cell(member, flash, now.wall));
        if marked == Some(n) {
            pen.mark(area, y);
        }
    }
}

/// How many instances there were: between its least and its most, which are written before it.
fn sparkline(shape: &Shape, pen: &mut Pen<'_>, area: Rect) {
    let (least, most) = (shape.series().min().unwrap_or(0), shape.series().max().unwrap_or(0));
    let x = pen.write(area, 0, 0, area.width, &format!("{least}..{most} "), Role::Faint);
    let room = usize::from(area.width.saturating_sub(x));
    let latest = shape.series().skip(shape.series().len().saturating_sub(room));
    let data: Vec<u64> = latest.map(|count| (count - least) as u64 + 1).collect();
    let line = Rect { x: area.x + x, width: area.width.saturating_sub(x), ..area };
    let sparkline = Sparkline::default().data(&data).max((most - least) as u64 + 1);
    sparkline.bar_set(pen.theme.bars()).render(line, pen.buffer);
}

fn history(model: &Model, pen: &mut Pen<'_>, area: Rect) {
    title(model, pen, Pane::History, area, &format!("history  {}", model.board.events()));
    pen.write(area, 0, 1, area.width, "UTC       WHAT       WHO", Role::Faint);
    let len = model.board.history().len();
    let marked = model.marked_event();
    let shown = window(len, marked, area);
    for (y, (n, event)) in (HEAD..).zip(model.board.history().enumerate().skip(shown.start).take(shown.len()))
    {
        let x = pen.write(area, 0, y, area.width, &format!("{}  ", clock(event.wall)), Role::Faint);
        pen.write(area, x, y, area.width, event.what.word(), role_of(event.what));
        pen.write(area, x + 11, y, area.width, &words(event), Role::Plain);
        if model.pane == Pane::History && n == marked {
            pen.mark(area, y);
        }
    }
}

fn words(event: &Event) -> String {
    let id = event.id.as_ref().map(|id| format!("{id}  ")).unwrap_or_default();
    format!("{}  {id}{}", event.service, event.detail)
}

fn role_of(what: What) -> Role {
    match what {
        What::Changed => Role::Warn,
        What::Down | What::Freshness => Role::Bad,
        What::Up => Role::Good,
    }
}

/// The rows that are shown of `len`: the marked one in the middle, where there is more than fits.
fn window(len: usize, marked: usize, area: Rect) -> std::ops::Range<usize> {
    let room = usize::from(area.height.saturating_sub(HEAD));
    let start = marked.saturating_sub(room / 2).min(len.saturating_sub(room));
    start..len.min(start + room)
}

#[cfg(test)]
mod tests;
