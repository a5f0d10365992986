//! Pure: the page of the last run, made from the reports, so that no figure is typed by hand.

use super::machine::noise;
use super::report::Report;
use super::table::{COLUMNS, cells};

/// The whole page in Markdown, one section per report.
pub fn markdown(reports: &[Report]) -> String {
    let mut page = String::from(INTRODUCTION);
    for report in reports {
        let Report { subject, title, at, commit, machine, zookeeper, calibration, .. } = report;
        page += &format!("\n## {subject}: {title}\n\n");
        page += &table(report);
        let server = zookeeper.as_ref().map_or_else(String::new, |version| format!(" ZooKeeper {version}."));
        page += &format!(
            "\nMeasured {at} at commit `{commit}` on {}.{server} A fixed computation, repeated before and after, \
             varied here by {}.\n",
            machine.words(),
            noise(calibration)
        );
    }
    page
}

fn table(report: &Report) -> String {
    let line =
        |cells: [String; 7]| format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    let mut table = line(COLUMNS.map(str::to_owned)) + &line(COLUMNS.map(|_| "---".to_owned()));
    table.extend(report.rows.iter().map(|row| line(cells(row))));
    table
}

const INTRODUCTION: &str = "\
# Benchmarks

The last run of `make bench`, written by `make bench-page`; do not edit. Each figure is the median of several runs,
interleaved with those of the reference; half of the runs lie within the spread. The ratio is ours divided by the
reference. One subject alone: `make bench ONLY=name`. The samples behind a table are in `target/bench/name.json`.
";

#[cfg(test)]
mod tests {
    use super::super::report::tests::sample;
    use super::*;

    #[test]
    fn every_row_stands_on_the_page_and_pipes_do_not_break_it() {
        let page = markdown(&[sample()]);
        assert!(page.contains("## example: An example"));
        assert!(
            page.contains("| a \\| b | 1.00 µs | ± 10.0 % | 2.00 µs (theirs) | 0.50 | at most 0.6 x | met |")
        );
        assert!(page.contains("| alone | 12.0 B | ± 0.0 % | - | - | - | - |"));
        assert!(page.contains("ZooKeeper 3.9.3."));
    }
}
