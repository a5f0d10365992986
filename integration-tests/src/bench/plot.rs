//! Pure: a report as a picture that a browser shows without anything else.
//!
//! Every row has a scale of its own that begins at 0: what is compared is within a row.

use std::fmt::Write as _;

use super::report::Report;
use super::row::{Bound, Row};

/// The rows with a reference or a promise as bars: ours, the reference beside it, a line at the promise. `None` when there
/// is no such row.
pub fn svg(report: &Report) -> Option<String> {
    let rows: Vec<_> =
        report.rows.iter().filter(|row| row.reference.is_some() || row.bound.is_some()).collect();
    if rows.is_empty() {
        return None;
    }
    let height = HEAD + ROW * rows.len() + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 10, 20, INK, &format!("{}: {}", report.subject, report.title));
    legend(&mut svg, &rows);
    for (n, row) in rows.into_iter().enumerate() {
        draw(&mut svg, HEAD + n * ROW, row);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Below the title, what the colors mean that are there.
fn legend(svg: &mut String, rows: &[&Row]) {
    let any = |has: fn(&Row) -> bool| rows.iter().any(|row| has(row));
    let meanings = [
        (OURS, "ours", any(|row| !misses(row))),
        (MISSED, "ours, promise missed", any(misses)),
        (REFERENCE, "reference", any(|row| row.reference.is_some())),
        (BOUND, "promise", any(|row| promised(row).is_some())),
    ];
    let mut x = BARS;
    for (color, word, _) in meanings.into_iter().filter(|(_, _, there)| *there) {
        bar(svg, x, 31, 10, color);
        text(svg, x + 14, 40, INK, word);
        x += 30 + 7 * word.len();
    }
}

fn draw(svg: &mut String, y: usize, row: &Row) {
    let ours = row.ours.median();
    let reference = row.reference.as_ref().map(|reference| reference.samples.median());
    let bound = promised(row);
    let longest = [Some(ours), reference, bound].into_iter().flatten().fold(0.0, f64::max);
    // A row of zeros has bars of no length.
    let length =
        |value: f64| if longest > 0.0 { (value / longest * SPAN as f64).round() as usize } else { 0 };
    text(svg, 10, y + 14, INK, &row.what);
    let color = if misses(row) { MISSED } else { OURS };
    bar(svg, BARS, y + 20, length(ours).max(1), color);
    text(svg, BARS + length(ours) + 6, y + 29, INK, &row.unit.show(ours));
    if let (Some(value), Some(reference)) = (reference, &row.reference) {
        bar(svg, BARS, y + 32, length(value).max(1), REFERENCE);
        let words = format!("{} ({})", row.unit.show(value), reference.name);
        text(svg, BARS + length(value) + 6, y + 41, INK, &words);
    }
    if let Some(value) = bound {
        let x = BARS + length(value);
        let _infallible = writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{}\" stroke=\"{BOUND}\" stroke-width=\"2\"/>",
            y + 18,
            y + 44
        );
        if let Some(bound) = row.bound {
            text(svg, 10, y + 30, BOUND, &bound.words(row.unit));
        }
    }
}

fn misses(row: &Row) -> bool {
    row.verdict().is_some_and(|verdict| !verdict.met)
}

/// The promise in the row's unit.
fn promised(row: &Row) -> Option<f64> {
    let reference = || Some(row.reference.as_ref()?.samples.median());
    match row.bound? {
        Bound::AtLeast(value) | Bound::AtMost(value) => Some(value),
        Bound::RatioAtLeast(ratio) | Bound::RatioAtMost(ratio) => Some(ratio * reference()?),
    }
}

fn bar(svg: &mut String, x: usize, y: usize, width: usize, color: &str) {
    let _infallible =
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"10\" fill=\"{color}\"/>");
}

fn text(svg: &mut String, x: usize, y: usize, color: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _infallible = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{color}\">{words}</text>");
}

const WIDTH: usize = 960;
/// Above the first row.
const HEAD: usize = 54;
const ROW: usize = 52;
/// Where bars begin, and how long the longest is; the rest is for its figure.
const BARS: usize = 180;
const SPAN: usize = 460;
const INK: &str = "#222222";
const OURS: &str = "#2f6db3";
const MISSED: &str = "#d9822b";
const REFERENCE: &str = "#b5b5b5";
const BOUND: &str = "#b3262f";

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn a_row_has_two_bars_and_a_line_to_scale() {
        let svg = svg(&sample()).unwrap();
        assert!(
            svg.contains("width=\"230\" height=\"10\" fill=\"#2f6db3\""),
            "ours is half of theirs: {svg}"
        );
        assert!(svg.contains("width=\"460\" height=\"10\" fill=\"#b5b5b5\""), "theirs is the longest: {svg}");
        assert!(svg.contains("x1=\"456\""), "the promise is 0.6 of theirs: {svg}");
        assert!(!svg.contains("alone"), "nothing to compare with");
    }

    #[test]
    fn the_legend_names_what_is_there() {
        let mut report = sample();
        let picture = svg(&report).unwrap();
        assert!(picture.contains(">promise<") && picture.contains(">reference<"), "{picture}");
        assert!(!picture.contains("missed"), "{picture}");
        report.rows[0].bound = None;
        assert!(!svg(&report).unwrap().contains("promise"));
    }

    #[test]
    fn words_do_not_break_the_picture() {
        let mut report = sample();
        report.title = "a < b & c".to_owned();
        assert!(svg(&report).unwrap().contains("a &lt; b &amp; c"));
    }
}
