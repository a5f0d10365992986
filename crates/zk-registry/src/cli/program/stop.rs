//! The first signal ends a run early and well, the second one ends it now.
//!
//! Signals are awaited on a thread of their own: where the output has no reader, every other thread may be waiting for
//! that.

use std::io;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::complain;
use crate::cli::Signals;

/// A token that the first signal cancels. The second one ends the process with `code`, and a line behind the program's name.
///
/// # Errors
///
/// The system's, for want of a thread or of descriptors.
pub fn stop_at_the_first_signal(program: &'static str, code: i32) -> io::Result<CancellationToken> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let mut signals = Signals::new()?;
    drop(inside);
    let stop = CancellationToken::new();
    let first = stop.clone();
    let two_signals = async move {
        signals.next().await;
        first.cancel();
        signals.next().await;
        within(SAYING, move || complain(program, &"a second signal: not waiting any longer"));
        process::exit(code);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(two_signals))?;
    Ok(stop)
}

/// How long the last word may take: the terminal that it is for may be stopped (Ctrl-S), or have nobody who reads.
const SAYING: Duration = Duration::from_millis(250);

/// Does it on a thread of its own, and waits for its end no longer than this.
fn within(limit: Duration, work: impl FnOnce() + Send + 'static) {
    let (done, is_done) = mpsc::channel();
    let work = move || {
        work();
        // Whoever waited may have given up.
        let _ = done.send(());
    };
    if thread::Builder::new().name("last word".to_owned()).spawn(work).is_ok() {
        let _ = is_done.recv_timeout(limit);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_last_word_that_nobody_reads_holds_nothing_up() {
        let began = Instant::now();
        within(Duration::from_millis(50), || {
            loop {
                thread::park();
            }
        });
        assert!(began.elapsed() < Duration::from_secs(10));
        let (said, heard) = mpsc::channel();
        within(Duration::from_secs(10), move || said.send("last").unwrap());
        assert_eq!(heard.try_recv(), Ok("last"), "it was waited for");
    }
}
