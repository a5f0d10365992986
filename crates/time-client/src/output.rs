//! Where lines go, and how they may look.
//!
//! A reader that went away (`time-client | head`) is not an error: the run ends, and ends well.

use std::env;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// When there are many, and at the end: a line per query would otherwise be a system call per query.
    Lazily,
}

/// Standard output, shared by the workers. Whole lines only.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: Mutex<BufWriter<Stdout>>,
    flush: Flush,
    /// How it may look.
    pub(crate) paint: Paint,
    gone: CancellationToken,
}

impl Output {
    /// Writes to standard output; cancels `gone` when nobody reads it any more.
    pub(crate) fn new(flush: Flush, gone: CancellationToken) -> Self {
        let stdout = Mutex::new(BufWriter::with_capacity(64 * 1024, io::stdout()));
        Self { stdout, flush, paint: Paint::of(&io::stdout()), gone }
    }

    /// Writes `text` and the end of the line.
    pub(crate) fn line(&self, text: &str) {
        let mut stdout = self.stdout();
        let written = writeln!(stdout, "{text}").and_then(|()| match self.flush {
            Flush::EachLine => stdout.flush(),
            Flush::Lazily => Ok(()),
        });
        self.check(&written);
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
        let flushed = self.stdout().flush();
        self.check(&flushed);
    }

    /// Whatever goes wrong with standard output, the run has nobody left to talk to.
    fn check(&self, written: &io::Result<()>) {
        if written.is_err() {
            self.gone.cancel();
        }
    }

    fn stdout(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !unwanted { Self::Colours } else { Self::Plain }
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
