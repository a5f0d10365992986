//! The result of one subject, and its JSON file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::machine::Machine;
use super::row::Row;
use super::samples::Samples;

/// Everything that one run of a subject found. Medians, ratios and verdicts are computed from the samples whenever
/// they are shown, so that they cannot contradict them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The subject's name.
    pub subject: String,
    /// The heading of its table.
    pub title: String,
    /// When it ended, RFC 3339.
    pub at: String,
    /// The commit, with `+` when the checkout differed from it.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// The version of the ZooKeeper that was measured against, if any.
    pub zookeeper: Option<String>,
    /// The calibration's values before and after, in nanoseconds per step.
    pub calibration: Samples,
    /// The rows that were measured.
    pub rows: Vec<Row>,
}

impl Report {
    /// Writes `<directory>/<subject>.json` and returns its path.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(directory)?;
        let path = directory.join(format!("{}.json", self.subject));
        fs::write(&path, format!("{:#}\n", self.json()?))?;
        Ok(path)
    }

    /// Reads every report of a directory, sorted by subject; none when there is no such directory.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is no report; the error names it.
    pub fn read_all(directory: &Path) -> io::Result<Vec<Self>> {
        let Ok(entries) = fs::read_dir(directory) else { return Ok(Vec::new()) };
        let mut reports = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let report: Self = serde_json::from_str(&fs::read_to_string(&path)?)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                reports.push(report);
            }
        }
        reports.sort_by(|one, other| one.subject.cmp(&other.subject));
        Ok(reports)
    }

    /// The report with a `summary` in every row, for readers that do not want to compute.
    fn json(&self) -> io::Result<Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(rows) = value.get_mut("rows").and_then(Value::as_array_mut) {
            for (written, row) in rows.iter_mut().zip(&self.rows) {
                written["summary"] = json!({
                    "median": row.ours.median(),
                    "spread": row.ours.spread(),
                    "min": row.ours.min(),
                    "max": row.ours.max(),
                    "reference_median": row.reference.as_ref().map(|reference| reference.samples.median()),
                    "ratio": row.ratio(),
                    "verdict": row.verdict(),
                });
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bench::row::{Bound, Unit};

    pub(crate) fn sample() -> Report {
        let ours = [1_000.0, 1_100.0, 900.0].into_iter().collect();
        let row = Row::new("a | b", Unit::Time, ours)
            .beside("theirs", [2_000.0].into_iter().collect())
            .bound(Bound::RatioAtMost(0.6));
        Report {
            subject: "example".to_owned(),
            title: "An example".to_owned(),
            at: "2026-01-02T03:04:05Z".to_owned(),
            commit: "abc1234".to_owned(),
            machine: Machine::here(),
            zookeeper: Some("3.9.3".to_owned()),
            calibration: [1.0, 1.1].into_iter().collect(),
            rows: vec![row, Row::new("alone", Unit::Bytes, [12.0].into_iter().collect())],
        }
    }

    #[test]
    fn a_written_report_reads_back_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let report = sample();
        let path = report.write(directory.path()).unwrap();
        let read = Report::read_all(directory.path()).unwrap();
        assert_eq!(serde_json::to_value(&read[0]).unwrap(), serde_json::to_value(&report).unwrap());
        let text: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(text["rows"][0]["summary"]["ratio"], 0.5);
        assert_eq!(text["rows"][0]["summary"]["verdict"]["met"], true);
        assert_eq!(text["rows"][1]["summary"]["verdict"], Value::Null);
    }

    #[test]
    fn a_file_that_is_no_report_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("broken.json"), "{").unwrap();
        let error = Report::read_all(directory.path()).unwrap_err().to_string();
        assert!(error.contains("broken.json"), "{error}");
    }

    #[test]
    fn no_directory_means_no_reports() {
        assert!(Report::read_all(Path::new("/nonexistent/bench")).unwrap().is_empty());
    }
}
