//! How the program ends: the exit codes are part of its interface, see `docs/CLIENT-JSON.md`.

use std::process::ExitCode;

/// How a run ended, as its caller sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Exit {
    /// Everything that was asked was answered. Also when the reader of our output went away.
    Answered = 0,
    /// Some queries got no answer, or the output did not reach its reader whole: it could not be written, or a second signal came.
    SomeFailed = 1,
    /// The command line was wrong; nothing was touched.
    Usage = 2,
    /// There was nothing to ask: no instance, or ZooKeeper was never reached in time.
    NothingToAsk = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
