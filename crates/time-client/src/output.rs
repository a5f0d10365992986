//! Where lines go, and how they may look.
//!
//! A reader that went away (`time-client | head`) is not an error: the run ends, and ends well. A full disk is one.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One object a line, for programs: docs/CLIENT-JSON.md holds the schema
    Json,
    /// For people
    #[default]
    Text,
}

/// When a line reaches the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Flush {
    /// At once.
    EachLine,
    /// With one that follows soon: a system call for each of very many lines would be the greater part of the work.
    Lazily,
}

/// Standard output, shared by the workers. Whole lines only.
#[derive(Debug)]
pub(crate) struct Output {
    writer: Mutex<Writer>,
    flush: Flush,
    /// How it may look.
    pub(crate) paint: Paint,
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
    pub(crate) fn new(flush: Flush, gone: CancellationToken) -> Self {
        let stdout = BufWriter::with_capacity(64 * 1024, io::stdout());
        let writer = Mutex::new(Writer { stdout, flushed: Instant::now() });
        Self { writer, flush, paint: Paint::of(&io::stdout()), gone, failure: OnceLock::new() }
    }

    /// Writes `text` and the end of the line.
    pub(crate) fn line(&self, text: &str) {
        let mut writer = self.writer();
        let written = writeln!(writer.stdout, "{text}").and_then(|()| match self.flush {
            Flush::Lazily if writer.flushed.elapsed() < SOON => Ok(()),
            Flush::EachLine | Flush::Lazily => writer.flush(),
        });
        self.check(written);
    }

    /// Writes `object` as one line of JSON.
    pub(crate) fn json(&self, object: &impl serde::Serialize) {
        // Our objects have string keys and no maps that could fail, which is all that serialising could fail for.
        if let Ok(line) = serde_json::to_string(object) {
            self.line(&line);
        }
    }

    /// Makes sure that the reader has everything.
    pub(crate) fn flush(&self) {
        let flushed = self.writer().flush();
        self.check(flushed);
    }

    /// Why the reader did not get everything, unless it went away.
    pub(crate) fn failure(&self) -> Option<&io::Error> {
        self.failure.get()
    }

    /// Whatever goes wrong with standard output, the run has nobody left to talk to.
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

/// How long a line may wait for the next one.
const SOON: Duration = Duration::from_millis(20);

/// Colours, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Paint {
    /// ANSI colours.
    Colours,
    /// Text as it is.
    Plain,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set to something (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        Self::wanted(stream.is_terminal(), env::var_os("NO_COLOR").as_deref())
    }

    fn wanted(terminal: bool, no_color: Option<&OsStr>) -> Self {
        let refused = no_color.is_some_and(|value| !value.is_empty());
        if terminal && !refused { Self::Colours } else { Self::Plain }
    }

    /// For what went well.
    pub(crate) fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// For what went wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.code("31", text)
    }

    /// For what matters less.
    pub(crate) fn faint(self, text: &str) -> String {
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
    fn colours_are_for_terminals_and_for_who_wants_them() {
        assert_eq!(Paint::wanted(true, None), Paint::Colours);
        assert_eq!(Paint::wanted(true, Some(OsStr::new(""))), Paint::Colours);
        assert_eq!(Paint::wanted(true, Some(OsStr::new("1"))), Paint::Plain);
        assert_eq!(Paint::wanted(false, None), Paint::Plain);
        assert_eq!(Paint::Plain.good("fine"), "fine");
        assert_eq!(Paint::Colours.good("fine"), "\u{1b}[32mfine\u{1b}[0m");
    }
}
