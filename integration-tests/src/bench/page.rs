//! Pure: the page of the last run, made from the reports, so that no figure is typed by hand.

use super::machine::noise;
use super::plot;
use super::report::Report;
use super::row::{Row, Standing, ratio_words};
use super::samples::Samples;
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

/// The rows won and lost, and the promises kept.
fn summary(reports: &[Report]) -> String {
    let mut text = String::from("\n## In short\n");
    let rivals = rivals(reports);
    if !rivals.is_empty() {
        text += "\nOurs beside what others offer, by the median; the factor says how many times better or worse ours is. Level is what\ndiffers by less than the runs did, or by less than 5 %.\n\n";
        text += &line(["beside", "what", "ours", "theirs", "ours is"].map(str::to_owned));
        text += &line(["---"; 5].map(str::to_owned));
        text.extend(rivals.iter().flat_map(Rival::lines));
    }
    text += "\nWhat we promise, and where we do not keep it on this machine.\n\n";
    text += &line(["subject", "about", "promises met"].map(str::to_owned));
    text += &line(["---"; 3].map(str::to_owned));
    let mut shortfalls = Vec::new();
    for report in reports {
        let judged: Vec<_> = report.rows.iter().filter_map(|row| Some((row, row.verdict()?.met))).collect();
        let missed = judged.iter().filter(|(_, met)| !met).map(|(row, _)| (report, *row));
        let met = format!("{} of {}", judged.len() - missed.clone().count(), judged.len());
        shortfalls.extend(missed.map(|(report, row)| format!("- {}, {}\n", report.subject, shortfall(row))));
        text += &line([
            format!("[{0}](#{0})", report.subject),
            report.title.clone(),
            if judged.is_empty() { "-".to_owned() } else { met },
        ]);
    }
    if !shortfalls.is_empty() {
        text += "\nMissed:\n\n";
        text.extend(shortfalls);
    }
    text
}

/// A reference, and the rows of a subject that stand beside it.
struct Rival<'a> {
    name: &'a str,
    subject: &'a str,
    rows: Vec<(&'a Row, Standing)>,
}

fn rivals(reports: &[Report]) -> Vec<Rival<'_>> {
    let mut rivals: Vec<Rival<'_>> = Vec::new();
    for report in reports {
        for row in &report.rows {
            let (Some(standing), Some(reference)) = (row.standing(), &row.reference) else { continue };
            let (name, subject) = (reference.name.as_str(), report.subject.as_str());
            match rivals.iter_mut().find(|rival| (rival.name, rival.subject) == (name, subject)) {
                Some(rival) => rival.rows.push((row, standing)),
                None => rivals.push(Rival { name, subject, rows: vec![(row, standing)] }),
            }
        }
    }
    rivals
}

impl Rival<'_> {
    /// A line for each comparison: those that are won first, those that are lost last.
    fn lines(&self) -> Vec<String> {
        let place = |standing: &Standing| match standing {
            Standing::Ahead(_) => 0,
            Standing::Level => 1,
            Standing::Behind(_) => 2,
        };
        let mut rows: Vec<_> = self.rows.iter().collect();
        rows.sort_by_key(|(_, standing)| place(standing));
        rows.into_iter().map(|(row, standing)| line(self.cells(row, *standing))).collect()
    }

    fn cells(&self, row: &Row, standing: Standing) -> [String; 5] {
        let show = |samples: &Samples| row.unit.show(samples.median());
        let theirs = row.reference.as_ref().map_or_else(String::new, |reference| show(&reference.samples));
        [
            format!("{} ([{1}](#{1}))", self.name, self.subject),
            row.what.clone(),
            show(&row.ours),
            theirs,
            match standing {
                Standing::Level => "level".to_owned(),
                Standing::Ahead(factor) => format!("{}better", times(factor)),
                Standing::Behind(factor) => format!("{}worse", times(factor)),
            },
        ]
    }
}

/// A factor, and a blank; nothing for one without end.
fn times(factor: f64) -> String {
    match factor {
        f64::INFINITY => String::new(),
        10.0.. => format!("{factor:.0} x "),
        _ => format!("{factor:.2} x "),
    }
}

/// A missed promise in words.
fn shortfall(row: &Row) -> String {
    let bound = row.bound.map_or_else(String::new, |bound| bound.words(row.unit));
    let ratio = row.ratio().map_or_else(String::new, |ratio| format!(" ({} x)", ratio_words(ratio)));
    format!("{}: {}{ratio}, promised {bound}", row.what, row.unit.show(row.ours.median()))
}

/// The machine of the measurement, its noise, and the time.
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

Written by `make bench-page` from the last run of `make bench`; do not edit. To measure again:

    make bench                 # everything
    make bench ONLY=curator    # the subjects whose names contain this
    make bench-page            # this page and its pictures from the figures found last

It needs what the tests need (`docker/README.md`) and starts its own ZooKeeper. Curator stands beside ours where its jars
are (Debian: `libcurator-discovery-java`, `libcurator-recipes-java`, `default-jdk-headless`), else its rows are left out.

Each figure is the median of several runs, interleaved with those of the reference; half of the runs lie within the spread.
The ratio is ours divided by the reference. A promise is judged by the median. In the pictures every row has a scale of its
own; the line is the promise. The samples behind a table are in `target/bench/name.json`.
";

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::super::row::Unit;
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
        assert!(page.contains("| 0 of 1 |"), "{page}");
        assert!(page.contains("\n- example, a | b: 1.00 µs (0.50 x), promised at most 500 ns\n"), "{page}");
    }

    #[test]
    fn who_is_ahead_of_whom_stands_first() {
        let mut report = sample();
        let row = |what: &str, ours: f64, theirs: f64| {
            let samples = |value: f64| std::iter::once(value).collect();
            Row::new(what, Unit::Time, samples(ours)).against("them", samples(theirs))
        };
        report.rows = vec![row("won", 2.0, 84.0), row("lost", 3.0, 2.0), row("even", 1.0, 1.04)];
        report.rows.push(row("never", 0.0, 6.0));
        let page = markdown(&[report], "");
        let rows = "| them ([example](#example)) | won | 2.00 ns | 84.0 ns | 42 x better |\n\
                    | them ([example](#example)) | never | 0 ns | 6.00 ns | better |\n\
                    | them ([example](#example)) | even | 1.00 ns | 1.04 ns | level |\n\
                    | them ([example](#example)) | lost | 3.00 ns | 2.00 ns | 1.50 x worse |\n";
        assert!(page.contains(rows), "{page}");
        assert!(page.find(rows) < page.find("What we promise"), "{page}");
    }

    #[test]
    fn what_a_person_says_stands_on_the_page() {
        assert!(
            markdown(&[sample()], "It is *fast*.\n")
                .contains("## What is behind the figures\n\nIt is *fast*.\n")
        );
    }
}
