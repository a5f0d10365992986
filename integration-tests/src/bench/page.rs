//! Pure: the page of the last run, made from the reports, so that no figure is typed by hand.

use super::machine::noise;
use super::plot;
use super::report::Report;
use super::row::Row;
use super::table::{COLUMNS, cells};

/// The whole page in Markdown: what a reader wants to know first, then one section per report. `notes` is what a person
/// has to say about the figures, in Markdown.
pub fn markdown(reports: &[Report], notes: &str) -> String {
    let mut page = String::from(INTRODUCTION);
    page += &summary(reports);
    page += &machines(reports);
    if !notes.trim().is_empty() {
        page += &format!("\n## What is behind the figures\n\n{}\n", notes.trim());
    }
    for report in reports {
        page += &section(report);
    }
    page
}

/// Where the promises stand, and who is faster.
fn summary(reports: &[Report]) -> String {
    let mut text = String::from("\n## In short\n\n");
    text += &line(["subject", "about", "promises met", "missed"].map(str::to_owned));
    text += &line(["---"; 4].map(str::to_owned));
    for report in reports {
        let judged: Vec<_> = report.rows.iter().filter_map(|row| Some((row, row.verdict()?.met))).collect();
        let missed: Vec<_> = judged.iter().filter(|(_, met)| !met).map(|(row, _)| shortfall(row)).collect();
        text += &line([
            format!("[{0}](#{0})", report.subject),
            report.title.clone(),
            format!("{} of {}", judged.len() - missed.len(), judged.len()),
            if missed.is_empty() { "-".to_owned() } else { missed.join("; ") },
        ]);
    }
    text
}

/// A missed promise in words.
fn shortfall(row: &Row) -> String {
    let bound = row.bound.map_or_else(String::new, |bound| bound.words(row.unit));
    let ratio = row.ratio().map_or_else(String::new, |ratio| format!(" ({ratio:.2} x)"));
    format!("{}: {}{ratio}, promised {bound}", row.what, row.unit.show(row.ours.median()))
}

/// Where it was measured, how steadily, and when.
fn machines(reports: &[Report]) -> String {
    let mut text = String::from("\n## The machine\n\n");
    let mut described: Vec<String> = reports.iter().map(|report| report.machine.words()).collect();
    described.dedup();
    text.extend(described.iter().map(|words| format!("{words}.\n")));
    let mut versions: Vec<_> = reports.iter().filter_map(|report| report.zookeeper.clone()).collect();
    versions.dedup();
    if !versions.is_empty() {
        text += &format!("ZooKeeper {}, one server on the same machine.\n", versions.join(", "));
    }
    text += "A fixed computation, repeated before and after each subject, shows how steadily the machine computed:\n";
    text += "no difference below that means anything.\n\n";
    text += &line(["subject", "measured", "commit", "noise"].map(str::to_owned));
    text += &line(["---"; 4].map(str::to_owned));
    for Report { subject, at, commit, calibration, .. } in reports {
        text += &line([subject.clone(), at.clone(), format!("`{commit}`"), noise(calibration)]);
    }
    text
}

fn section(report: &Report) -> String {
    let Report { subject, title, .. } = report;
    let mut text = format!("\n## {subject}\n\n{title}\n\n");
    if plot::svg(report).is_some() {
        text += &format!("![{title}](plots/{subject}.svg)\n\n");
    }
    text += &line(COLUMNS.map(str::to_owned));
    text += &line(COLUMNS.map(|_| "---".to_owned()));
    text.extend(report.rows.iter().map(|row| line(cells(row))));
    text
}

fn line<const N: usize>(cells: [String; N]) -> String {
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

const INTRODUCTION: &str = "\
# Benchmarks

Written by `make bench-page` from the last run of `make bench`; do not edit. To measure again: `make bench`, or one subject
alone: `make bench ONLY=name`; it needs what the tests need (`docker/README.md`) and starts its own ZooKeeper.

Each figure is the median of several runs, interleaved with those of the reference; half of the runs lie within the spread.
The ratio is ours divided by the reference. A promise is judged by the median. In the pictures every row has a scale of its
own; the line is the promise. The samples behind a table are in `target/bench/name.json`.
";

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn every_row_stands_on_the_page_and_pipes_do_not_break_it() {
        let page = markdown(&[sample()], "");
        assert!(page.contains("## example\n\nAn example"));
        assert!(
            page.contains("| a \\| b | 1.00 µs | ± 10.0 % | 2.00 µs (theirs) | 0.50 | at most 0.6 x | met |")
        );
        assert!(page.contains("| alone | 12.0 B | ± 0.0 % | - | - | - | - |"));
        assert!(page.contains("ZooKeeper 3.9.3,"));
        assert!(page.contains("![An example](plots/example.svg)"));
    }

    #[test]
    fn a_missed_promise_is_named_first() {
        let mut report = sample();
        report.rows[0].bound = Some(super::super::row::Bound::AtMost(500.0));
        let page = markdown(&[report], "");
        assert!(page.contains("| 0 of 1 | a \\| b: 1.00 µs (0.50 x), promised at most 500 ns |"), "{page}");
    }

    #[test]
    fn what_a_person_says_stands_on_the_page() {
        assert!(
            markdown(&[sample()], "It is *fast*.\n")
                .contains("## What is behind the figures\n\nIt is *fast*.\n")
        );
    }
}
