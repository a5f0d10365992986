//! Pure: the rows of a report as cells, and as a table for a terminal.

use super::report::Report;
use super::row::{Row, ratio_words};

/// The columns of every table.
pub(super) const COLUMNS: [&str; 7] = ["what", "ours", "spread", "reference", "ratio", "bound", "verdict"];

/// One row's cells, in the order of [`COLUMNS`].
pub(super) fn cells(row: &Row) -> [String; 7] {
    let none = || "-".to_owned();
    [
        row.what.clone(),
        row.unit.show(row.ours.median()),
        format!("± {:.1} %", 100.0 * row.ours.relative_spread()),
        row.reference.as_ref().map_or_else(none, |reference| {
            format!("{} ({})", row.unit.show(reference.samples.median()), reference.name)
        }),
        row.ratio().map_or_else(none, ratio_words),
        row.bound.map_or_else(none, |bound| bound.words(row.unit)),
        row.verdict().map_or_else(none, |verdict| verdict.to_string()),
    ]
}

/// The report's rows, each column as wide as it needs.
pub fn text(report: &Report) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(report.rows.iter().map(cells));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += padded.join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = text(&sample());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1], "a | b  1.00 µs  ± 10.0 %  2.00 µs (theirs)  0.50   at most 0.6 x  met");
        assert_eq!(lines[2], "alone  12.0 B   ± 0.0 %   -                 -      -              -");
    }
}
