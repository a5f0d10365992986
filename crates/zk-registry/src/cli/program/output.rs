//! Where lines go, and how they may look.
//!
//! A reader that went away (`time-client | head`) is not an error: the run ends, and ends well. A full disk is one.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::wants_colours;
use crate::printable;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// One object a line, for programs: docs/CLIENT-JSON.md holds the schema
    Json,
    /// For people
    #[default]
    Text,
}

/// When a line reaches the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flush {
    /// At once.
    EachLine,
    /// With one that follows soon: a system call for each of very many lines would be the greater part of the work.
    Lazily,
}

/// Standard output, shared by the workers. Whole lines only.
#[derive(Debug)]
pub struct Output {
    writer: Mutex<Writer>,
    flush: Flush,
    /// How it may look.
    pub paint: Paint,
    gone: CancellationToken,
    failure: OnceLock<io::Error>,
}

#[derive(Debug)]
struct Writer {
    stdout: BufWriter<Stdout>,
    flushed: Instant,
}

impl Output {
    /// Writes to standard output; cancels `gone` when that is of no use any more.
    pub fn new(flush: Flush, gone: CancellationToken) -> Self {
        let stdout = BufWriter::with_capacity(64 * 1024, io::stdout());
        let writer = Mutex::new(Writer { stdout, flushed: Instant::now() });
        Self { writer, flush, paint: Paint::of(&io::stdout()), gone, failure: OnceLock::new() }
    }

    /// Writes `text` and the end of the line.
    pub fn line(&self, text: &str) {
        let mut writer = self.writer();
        let written = writeln!(writer.stdout, "{text}").and_then(|()| match self.flush {
            Flush::Lazily if writer.flushed.elapsed() < SOON => Ok(()),
            Flush::EachLine | Flush::Lazily => writer.flush(),
        });
        self.check(written);
    }

    /// Writes `object` as one line of JSON.
    pub fn json(&self, object: &impl serde::Serialize) {
        // Our objects have string keys and no maps that could fail, which is all that serialising could fail for.
        if let Some(line) = printable::json(object) {
            self.line(&line);
        }
    }

    /// Makes sure that the reader has everything.
    pub fn flush(&self) {
        let flushed = self.writer().flush();
        self.check(flushed);
    }

    /// Completes when the reader of standard output went away, which writing would only show with the next line, and cancels `gone`. A
    /// `gone` that was cancelled for another reason, such as a signal, does not complete it: the run may have to clean up.
    pub async fn reader_gone(&self) {
        while !is_closed(&io::stdout()) && self.failure.get().is_none() {
            sleep(LOOK_AGAIN).await;
        }
        self.gone.cancel();
    }

    /// Why the reader did not get everything, unless it went away.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.get()
    }

    /// A failure of standard output, whatever it is, leaves no reader for the run.
    fn check(&self, written: io::Result<()>) {
        if let Err(error) = written {
            if error.kind() != io::ErrorKind::BrokenPipe {
                // The first one says it; the others follow from it.
                let _ = self.failure.set(error);
            }
            self.gone.cancel();
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.stdout.flush()
    }
}

/// Whether the other end of a pipe or a socket is closed.
fn is_closed(stream: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let asked = poll(&mut fds, PollTimeout::ZERO);
    let seen = fds[0].revents().unwrap_or(PollFlags::empty());
    asked.is_ok() && seen.intersects(PollFlags::POLLERR | PollFlags::POLLHUP)
}

/// The time between two looks at whether the reader is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long a line may wait for the next one.
const SOON: Duration = Duration::from_millis(20);

/// An id for a column of ids: shown as it is printable, and as wide as the column unless it is wider.
pub fn column(id: &str, width: usize) -> String {
    format!("{:width$}", printable::Printable(id).to_string())
}

/// The width of a column of ids. A few very long ones do not make every line long.
pub fn column_width<'a>(ids: impl Iterator<Item = &'a str>) -> usize {
    let widths = ids.map(|id| printable::Printable(id).to_string().chars().count());
    widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
}

/// The widest id that others are aligned with.
const WIDEST: usize = 64;

/// Colours, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Paint {
    /// ANSI colours.
    Colours,
    /// Text as it is.
    Plain,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>) or `TERM` is `dumb`.
    pub fn of(stream: &impl IsTerminal) -> Self {
        if wants_colours(stream) { Self::Colours } else { Self::Plain }
    }

    /// For what went well.
    pub fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// For what went wrong.
    pub fn bad(self, text: &str) -> String {
        self.code("31", text)
    }

    /// For what matters less.
    pub fn faint(self, text: &str) -> String {
        self.code("2", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        match self {
            Self::Colours => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_has_no_codes() {
        assert_eq!(Paint::Plain.good("fine"), "fine");
        assert_eq!(Paint::Colours.good("fine"), "\u{1b}[32mfine\u{1b}[0m");
    }

    #[test]
    fn one_very_long_id_does_not_make_every_line_long() {
        let long = "x".repeat(3_000);
        assert_eq!(column_width(["a", "abc", &long].into_iter()), 3);
        assert_eq!(column("a", 3), "a  ");
        assert_eq!(column(&long, 3), long);
    }

    #[test]
    fn a_pipe_whose_reader_went_away_is_closed() {
        let (reader, writer) = io::pipe().unwrap();
        assert!(!is_closed(&writer));
        drop(reader);
        assert!(is_closed(&writer));
    }
}
