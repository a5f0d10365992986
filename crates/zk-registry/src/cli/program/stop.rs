//! The first signal ends a run early and well, the second one ends it now.
//!
//! Signals are awaited on a thread of their own: where the output has no reader, every other thread may be waiting for
//! that.

use std::io;
use std::process;
use std::thread;

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
        complain(program, &"a second signal: not waiting any longer");
        process::exit(code);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(two_signals))?;
    Ok(stop)
}
