//! The signals that end a program: the first one lets it leave politely, a second one ends it now.
//!
//! SIGTERM, SIGINT (Ctrl-C) and SIGQUIT always end it. SIGHUP does where there is a controlling terminal, because closing
//! that must not leave a registered orphan behind; elsewhere it is ignored and logged. A program that can read its
//! configuration again says so by [`OnHangup`]. A signal that was ignored when the
//! program began, as under `nohup` or in the background of a script, stays ignored.

use std::fs;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// What a signal asks a program for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// To end.
    End,
    /// To read its configuration again.
    Reload,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnHangup {
    /// The end where there is a controlling terminal; nothing elsewhere.
    #[default]
    Ends,
    /// Reading the configuration again.
    Reloads,
    /// The end where there is a controlling terminal; elsewhere, reading the configuration again.
    ReloadsWithoutTerminal,
}

/// The signals that this process listens to.
#[derive(Debug)]
pub struct Signals {
    ends: Vec<Signal>,
    hangup: Option<Signal>,
    has_terminal: bool,
    on_hangup: OnHangup,
}

impl Signals {
    /// Takes over the signals that were not ignored when the program began. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The system's, for want of descriptors.
    pub fn new() -> io::Result<Self> {
        let ignored = Ignored::of_this_process();
        let take = |kind: SignalKind| (!ignored.contains(kind)).then(|| signal(kind)).transpose();
        let ends = [SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()];
        let ends = ends.into_iter().filter_map(|kind| take(kind).transpose()).collect::<io::Result<_>>()?;
        let hangup = take(SignalKind::hangup())?;
        Ok(Self { ends, hangup, has_terminal: fs::File::open("/dev/tty").is_ok(), on_hangup: OnHangup::Ends })
    }

    /// Takes SIGHUP for this.
    #[must_use]
    pub fn with_hangup(mut self, on_hangup: OnHangup) -> Self {
        self.on_hangup = on_hangup;
        self
    }

    /// Waits for the next signal that asks the program for something.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no signal.
    pub async fn next(&mut self) -> Asked {
        loop {
            let ends = std::future::poll_fn(|cx| {
                let mut ready = std::task::Poll::Pending;
                for end in &mut self.ends {
                    if end.poll_recv(cx).is_ready() {
                        ready = std::task::Poll::Ready(());
                    }
                }
                ready
            });
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ends => return Asked::End,
                _ = hangup => match (self.on_hangup, self.has_terminal) {
                    (OnHangup::Reloads, _) | (OnHangup::ReloadsWithoutTerminal, false) => return Asked::Reload,
                    (OnHangup::Ends | OnHangup::ReloadsWithoutTerminal, true) => {
                        info!("the terminal was closed");
                        return Asked::End;
                    }
                    (OnHangup::Ends, false) => {
                        warn!("SIGHUP is ignored: there is no controlling terminal, and nothing is read again");
                    }
                },
            }
        }
    }
}

/// The signals that this process ignores.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Ignored(u64);

impl Ignored {
    /// What Linux says; elsewhere it is not known, and none is taken for ignored.
    fn of_this_process() -> Self {
        fs::read_to_string("/proc/self/status").map_or(Self(0), |status| Self::parse(&status))
    }

    fn parse(status: &str) -> Self {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
    }

    fn contains(self, kind: SignalKind) -> bool {
        let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or(u32::MAX);
        1_u64.checked_shl(bit).is_some_and(|bit| self.0 & bit != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ignored_signals_are_read_from_the_mask_of_linux() {
        // SIGHUP is 1, SIGINT 2.
        let ignored = Ignored::parse("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000001\nSigCgt:\t3\n");
        assert!(ignored.contains(SignalKind::hangup()) && !ignored.contains(SignalKind::interrupt()));
        assert_eq!(Ignored::parse("no such line"), Ignored(0));
    }
}
