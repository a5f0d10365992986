//! SIGTERM and SIGINT, which is Ctrl-C: the first one ends a run early and well, the second one ends it now.
//!
//! They are awaited on a thread of their own: where nobody reads what we write, every other thread may be waiting for that.

use std::io;
use std::process;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::complaint::complain;
use crate::exit::Exit;

/// A token that the first signal cancels.
///
/// # Errors
///
/// The system's, for want of a thread or of descriptors.
pub(crate) fn stop_at_the_first() -> io::Result<CancellationToken> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let (mut interrupts, mut terminations) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(inside);
    let stop = CancellationToken::new();
    let first = stop.clone();
    let two_signals = async move {
        next(&mut interrupts, &mut terminations).await;
        first.cancel();
        next(&mut interrupts, &mut terminations).await;
        complain(&"a second signal: not waiting any longer");
        process::exit(Exit::SomeFailed as i32);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(two_signals))?;
    Ok(stop)
}

async fn next(interrupts: &mut Signal, terminations: &mut Signal) {
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
}
