//! How latencies are spread: as lines for a terminal, and as a picture.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::words::{bar, millis};

/// The answers whose latency was above the bucket below and no longer than `upto`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Bucket {
    /// In microseconds.
    upto: u64,
    count: u64,
}

/// Buckets of 1, 2 and 5 times the powers of ten, from the first that has an answer to the last that does. Their sizes grow as what
/// people call fast and slow does, and there are at most 58.
fn buckets(latency: &Histogram<u64>) -> Vec<Bucket> {
    let mut buckets = Vec::new();
    let mut above = 0;
    for power in 0..=19 {
        for step in [1, 2, 5] {
            let upto = 10_u64.saturating_pow(power).saturating_mul(step);
            let count = if above <= upto { latency.count_between(above, upto) } else { 0 };
            above = upto.saturating_add(1);
            if count > 0 || !buckets.is_empty() {
                buckets.push(Bucket { upto, count });
            }
            if latency.max() <= upto {
                return buckets;
            }
        }
    }
    buckets
}

/// A line for each bucket, with a bar. Nothing without answers.
pub(crate) fn text(latency: &Histogram<u64>) -> String {
    let buckets = if latency.is_empty() { Vec::new() } else { buckets(latency) };
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0);
    let digits = most.to_string().len();
    let mut text = String::new();
    for Bucket { upto, count } in buckets {
        let upto = millis(Duration::from_micros(upto));
        let line = format!("  up to {upto:>12}  {count:>digits$}  {}", bar(count, most));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{}", line.trim_end());
    }
    text
}

/// A picture of the buckets, as SVG that can stand in a page of either scheme of colours.
fn svg(latency: &Histogram<u64>) -> String {
    let buckets = if latency.is_empty() { Vec::new() } else { buckets(latency) };
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1).max(1);
    let height = TOP + ROW * buckets.len() + ROW;
    let at = |percent| millis(Duration::from_micros(latency.value_at_percentile(percent)));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 640 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text {{ fill: #24292f }} rect {{ fill: #2a7ae2 }} \
         @media (prefers-color-scheme: dark) {{ text {{ fill: #d8dee4 }} rect {{ fill: #6aa9ff }} }}</style>\n\
         <text x=\"8\" y=\"18\">{} answers: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}</text>\n",
        latency.len(),
        at(50.0),
        at(90.0),
        at(99.0),
        at(99.9),
        at(100.0)
    );
    for (n, Bucket { upto, count }) in buckets.into_iter().enumerate() {
        let (y, width) = (TOP + ROW * n, WIDEST * count as f64 / most as f64);
        let (base, upto) = (y + 13, millis(Duration::from_micros(upto)));
        let end = 128.0 + width;
        let _ = writeln!(
            svg,
            "<text x=\"114\" y=\"{base}\" text-anchor=\"end\">up to {upto}</text>\
             <rect x=\"120\" y=\"{y}\" width=\"{width:.1}\" height=\"16\"/>\
             <text x=\"{end:.1}\" y=\"{base}\">{count}</text>"
        );
    }
    svg + "</svg>\n"
}

const TOP: usize = 32;
const ROW: usize = 22;
const WIDEST: f64 = 420.0;

/// The file that a picture goes to. It is open before anything is measured: a run whose picture cannot be written should not begin.
#[derive(Debug)]
pub(crate) struct Plot {
    path: PathBuf,
    file: File,
}

impl Plot {
    /// Opens the file. Its old content stays until the picture is written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes the picture.
    pub(crate) fn write(&self, latency: &Histogram<u64>) -> Result<(), String> {
        let mut file = &self.file;
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(svg(latency).as_bytes()));
        written.map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut latency = Histogram::new(3).unwrap();
        values.into_iter().for_each(|value| latency.record(value).unwrap());
        latency
    }

    #[test]
    fn every_answer_is_in_one_bucket() {
        let latency = latency([0, 1, 150, 150, 199, 1_500, 90_000_000]);
        let buckets = buckets(&latency);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 7);
        assert_eq!(buckets[0], Bucket { upto: 1, count: 2 });
        assert!(buckets.contains(&Bucket { upto: 200, count: 3 }), "{buckets:?}");
        assert_eq!(buckets.last(), Some(&Bucket { upto: 100_000_000, count: 1 }));
    }

    #[test]
    fn the_lines_begin_and_end_with_an_answer() {
        let text = text(&latency([150, 150, 900]));
        let lines: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(lines[0], format!("  up to     0.200 ms  2  {}", "#".repeat(40)));
        assert_eq!(lines[1], "  up to     0.500 ms  0");
        assert_eq!(lines[2], format!("  up to     1.000 ms  1  {}", "#".repeat(20)));
        assert_eq!((lines.len(), super::text(&latency([])).as_str()), (3, ""));
    }

    #[test]
    fn a_picture_takes_the_place_of_what_was_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("latency.svg");
        std::fs::write(&path, "x".repeat(100_000)).unwrap();
        Plot::open(&path).unwrap().write(&latency([150, 900])).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written.starts_with("<svg") && written.ends_with("</svg>\n"), "{written}");
        assert!(
            written.contains("2 answers: p50 0.150 ms") && written.matches("<rect").count() == 3,
            "{written}"
        );
        assert!(svg(&latency([])).contains("0 answers"));
        assert!(Plot::open(Path::new("/none/of/these.svg")).is_err());
    }
}
