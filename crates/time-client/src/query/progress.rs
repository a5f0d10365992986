//! The line that a person sees on a terminal while a run goes on.

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, interval};

use crate::query::summary::Summary;

/// The counts of a run that goes on, for the line that a person sees meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    ok: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    pub(crate) fn count(&self, ok: bool) {
        let counter = if ok { &self.ok } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Shows the line on a terminal, again and again; elsewhere nothing, ever.
    pub(crate) async fn show(&self, began: Instant, quiet: bool) -> Infallible {
        if !Self::is_wanted(quiet) {
            return std::future::pending().await;
        }
        let mut tick = interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            let (ok, failed) = (self.ok.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
            overwrite(&Summary::progress(ok, failed, began.elapsed()));
        }
    }

    /// Makes room for what comes next.
    pub(crate) fn clear(&self, quiet: bool) {
        if Self::is_wanted(quiet) {
            overwrite("");
        }
    }

    /// Only where a person looks, and sees no line per query already.
    fn is_wanted(quiet: bool) -> bool {
        io::stderr().is_terminal() && (quiet || !io::stdout().is_terminal())
    }
}

/// Replaces the terminal's current line.
fn overwrite(text: &str) {
    let mut stderr = io::stderr().lock();
    // Progress that cannot be shown is no reason to stop.
    let _ = write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush());
}
