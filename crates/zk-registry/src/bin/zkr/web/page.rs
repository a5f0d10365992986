//! The page: written here as a whole, and its inner part again for each change. Its script only puts the newer part in place of the
//! older one, so that it shows everything without script, too.

use std::fmt::Write as _;

use zk_registry::{Member, ServiceName, Status};

use super::html::Text;
use super::query::Query;
use crate::live::{Board, Event, Now, Shape, Sort, What};
use crate::shown::{age, clock, count, pairs, session};

/// Whether the page has buttons that change instances.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Buttons {
    No,
    Yes,
}

/// The whole page.
pub(super) fn whole(board: &Board, to: &str, query: &Query, buttons: Buttons, now: Now) -> String {
    let (service, filter) = (query.service.as_ref().map_or("", ServiceName::as_str), &query.filter);
    let options = Sort::ALL.map(|sort| {
        let chosen = if sort == query.sort { " selected" } else { "" };
        format!("<option{chosen}>{}</option>", sort.word())
    });
    let mode = if buttons == Buttons::Yes { "writes" } else { "read-only" };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>zkr {to}</title>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\"><link rel=stylesheet href=/style.css>\
         <link rel=icon href=\"data:,\"><script src=/script.js defer></script>\
         <header><h1>zkr <small>{to}</small></h1><span class=mode>{mode}</span>\
         <form action=/ role=search><input type=hidden name=service value=\"{service}\">\
         <input name=filter value=\"{filter}\" placeholder=filter aria-label=filter>\
         <select name=sort aria-label=order>{options}</select><button>Show</button></form></header>\
         <p id=notice role=status></p><main>{inner}</main></html>",
        to = Text(to),
        service = Text(service),
        filter = Text(filter),
        options = options.concat(),
        inner = inner(board, query, buttons, now),
    )
}

/// What changes of it.
pub(super) fn inner(board: &Board, query: &Query, buttons: Buttons, now: Now) -> String {
    let mut html = String::with_capacity(64 * 1024);
    let (freshness, cause) = board.freshness();
    let all: usize = board.services().map(|(_, shape)| shape.snapshot.len()).sum();
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    push(&mut html, format_args!("<p class=state><b class={freshness}>{freshness}</b>{} ", Text(cause)));
    push(
        &mut html,
        format_args!("{}, {}</p>", count(board.services().len(), "service"), count(all, "instance")),
    );
    let shown = match &query.service {
        Some(name) => board.get(name).map(|shape| (name, shape)),
        None => board.services().next(),
    };
    services(&mut html, board, query, shown.map(|(name, _)| name));
    match shown {
        Some((name, shape)) => instances(&mut html, name, shape, query, buttons, now),
        None => html += "<section><h2>no instance</h2></section>",
    }
    html += "<section class=history><h2>history</h2><ol>";
    board.history().take(EVENTS).for_each(|one| event(&mut html, one));
    html += "</ol></section>";
    html
}

fn services(html: &mut String, board: &Board, query: &Query, shown: Option<&ServiceName>) {
    *html += "<nav><table><thead><tr><th>service<th class=n>up<th class=n>draining<th>state</thead><tbody>";
    for (name, shape) in board.services().take(SERVICES) {
        let address = Query { service: Some(name.clone()), page: 0, ..query.clone() }.address();
        let current = if Some(name) == shown { " aria-current=page" } else { "" };
        let (draining, state) = (shape.draining(), shape.snapshot.freshness().word());
        let up = shape.snapshot.len() - draining;
        push(html, format_args!("<tr{current}><td><a href=\"{}\">{}</a>", Text(address), Text(name)));
        push(html, format_args!("<td class=n>{up}<td class=n>{draining}<td class={state}>{state}"));
    }
    *html += "</tbody></table>";
    if board.services().len() > SERVICES {
        push(
            html,
            format_args!("<p>and {} more: name one in the address</p>", board.services().len() - SERVICES),
        );
    }
    *html += "</nav>";
}

fn instances(
    html: &mut String,
    name: &ServiceName,
    shape: &Shape,
    query: &Query,
    buttons: Buttons,
    now: Now,
) {
    let rows = shape.rows(&query.filter, query.sort);
    let state = shape.snapshot.freshness().word();
    push(
        html,
        format_args!("<section><h2>{} <small>{} of {}, ", Text(name), rows.len(), shape.snapshot.len()),
    );
    push(html, format_args!("<span class={state}>{state}</span></small></h2>"));
    series(html, shape);
    *html += "<div class=scroll><table class=instances><thead><tr><th>id<th>status<th class=n>age<th class=n>weight\
              <th>zone<th class=wide>owner<th class=wide>metadata";
    *html += if buttons == Buttons::Yes { "<th>change</thead><tbody>" } else { "</thead><tbody>" };
    let last = rows.len().saturating_sub(1) / ROWS;
    let page = query.page.min(last);
    for member in rows.iter().skip(page * ROWS).take(ROWS) {
        instance(html, name, member, shape.flash(member.id(), now), buttons, now);
    }
    *html += "</tbody></table></div>";
    if last > 0 {
        let link = |page: usize, word: &str| {
            let address = Query { service: Some(name.clone()), page, ..query.clone() }.address();
            format!("<a href=\"{}\">{word}</a> ", Text(address))
        };
        *html += "<p class=pages>";
        if page > 0 {
            *html += &link(page - 1, "previous");
        }
        push(html, format_args!("{} of {} ", page + 1, last + 1));
        if page < last {
            *html += &link(page + 1, "next");
        }
        *html += "</p>";
    }
    if !shape.snapshot.rejected().is_empty() {
        push(html, format_args!("<h3>{} rejected</h3><dl>", shape.snapshot.rejected().len()));
        for rejected in shape.snapshot.rejected().iter().take(EVENTS) {
            push(html, format_args!("<dt>{}<dd>{}", Text(&rejected.id), Text(&rejected.reason)));
        }
        *html += "</dl>";
    }
    *html += "</section>";
}

fn instance(
    html: &mut String,
    service: &ServiceName,
    member: &Member,
    flash: Option<What>,
    buttons: Buttons,
    now: Now,
) {
    let class = match (flash, member.status()) {
        (Some(What::Up), _) => " class=came",
        (Some(_), _) => " class=changed",
        (None, Status::Draining) => " class=draining",
        _ => "",
    };
    let since = member.created_at().map(|since| now.wall.duration_since(since).unwrap_or_default().as_secs());
    let since = since.map_or_else(|| "-".to_owned(), age);
    push(html, format_args!("<tr{class}><td>{}<td>{}", Text(member.id()), member.status()));
    push(html, format_args!("<td class=n>{since}<td class=n>{}", member.weight()));
    push(html, format_args!("<td>{}<td class=wide>", Text(member.zone().unwrap_or("-"))));
    match member.session() {
        0 => *html += "persistent",
        id => *html += &session(id),
    }
    push(html, format_args!("<td class=wide>{}", Text(pairs(member.metadata()))));
    if buttons == Buttons::Yes {
        let word = if member.status() == Status::Draining { "undrain" } else { "drain" };
        *html += "<td class=change>";
        let (service, id, shown) = (Text(service), Text(member.id()), member.modified().0);
        for word in [word, "weight"] {
            push(
                html,
                format_args!(
                    "<button data-change={word} data-service=\"{service}\" data-id=\"{id}\" data-shown={shown}>{word}\
                     </button>"
                ),
            );
        }
    }
}

/// How many instances there were, as a line.
fn series(html: &mut String, shape: &Shape) {
    let (least, most) = (shape.series().min().unwrap_or(0), shape.series().max().unwrap_or(0));
    let scale = most.saturating_sub(least).max(1);
    push(
        html,
        format_args!(
            "<figure><svg viewBox=\"0 0 300 32\" role=img aria-label=\"{least} to {most} instances\">"
        ),
    );
    *html += "<polyline points=\"";
    let first = 300 - shape.series().len();
    for (x, count) in (first..).zip(shape.series()) {
        push(html, format_args!("{x},{} ", 30 - 28 * (count - least) / scale));
    }
    push(
        html,
        format_args!("\"/></svg><figcaption>{least} to {most} in the last minutes</figcaption></figure>"),
    );
}

fn event(html: &mut String, event: &Event) {
    push(html, format_args!("<li><time>{}</time> <b>{}</b> ", clock(event.wall), event.what.word()));
    let id = event.id.as_ref().map(|id| format!("{id} ")).unwrap_or_default();
    push(html, format_args!("{} {}{}", Text(&event.service), Text(id), Text(&event.detail)));
}

/// Writing into a string cannot fail.
fn push(html: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = html.write_fmt(what);
}

/// How many instances, services and events a page has.
const ROWS: usize = 200;
const SERVICES: usize = 500;
const EVENTS: usize = 20;

#[cfg(test)]
mod tests {
    use zk_registry::{Attributes, Instance, Snapshot};

    use super::*;
    use crate::live::News;

    fn board(instances: impl IntoIterator<Item = Instance>) -> (Board, Now) {
        let service: ServiceName = "time".parse().unwrap();
        let (mut board, now) = (Board::new(std::slice::from_ref(&service)), Now::read());
        board.hear(News::Snapshot(Snapshot::fixed(&service, instances)), now);
        (board, now)
    }

    #[test]
    fn a_page_is_bounded_whatever_the_fleet_is_and_the_rest_is_a_link_away() {
        let (board, now) = board((1..=1000).map(|port| Instance::new("10.0.0.1", port)));
        let query = Query::of(Some("page=1"));
        let html = inner(&board, &query, Buttons::No, now);
        assert_eq!(html.matches("<td>10.0.0.1:").count(), ROWS);
        assert!(
            html.contains("2 of 5") && html.contains(">previous</a>") && html.contains(">next</a>"),
            "{html}"
        );
        let beyond = Query { page: usize::MAX, ..query };
        assert!(inner(&board, &beyond, Buttons::No, now).contains("5 of 5"));
    }

    #[test]
    fn records_of_others_are_text_and_only_a_page_that_may_change_has_buttons() {
        let mut attributes = Attributes::default();
        attributes.zone = Some("<img src=x onerror=alert(1)>".to_owned());
        attributes.metadata.insert("k".to_owned(), "</table><script>".to_owned());
        let id = "a\"b'c".parse().unwrap();
        let (board, now) = board([Instance::new("h", 1).with_id(id).with_attributes(attributes)]);
        for buttons in [Buttons::No, Buttons::Yes] {
            let html = whole(&board, "zk1:2181", &Query::of(Some("filter=%3Cb%3E")), buttons, now);
            assert!(!html.contains("<b>\""), "{html}");
            let html = inner(&board, &Query::of(None), buttons, now);
            assert!(
                html.contains("&lt;img") && !html.contains("<img") && !html.contains("<script"),
                "{html}"
            );
            assert!(html.contains("a&quot;b&#39;c") && !html.contains("a\"b"), "{html}");
            assert_eq!(html.contains("<td class=change><button"), buttons == Buttons::Yes);
        }
    }
}
