//! A program's log, on standard error.

use std::env;
use std::io;

use tracing_subscriber::EnvFilter;

use super::Paint;
use crate::cli::UsageError;

/// Logs on standard error what `RUST_LOG` asks for; without it, what `otherwise` names.
///
/// # Errors
///
/// A `RUST_LOG` that means nothing.
pub fn log(otherwise: &str) -> Result<(), UsageError> {
    let filter = match env::var(EnvFilter::DEFAULT_ENV) {
        Ok(wanted) if !wanted.trim().is_empty() => {
            EnvFilter::try_new(&wanted).map_err(|error| UsageError::new(EnvFilter::DEFAULT_ENV, error))?
        }
        _ => EnvFilter::new(otherwise),
    };
    let colours = Paint::of(&io::stderr()) == Paint::Colours;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr)
        // It would be said with `eprintln!`, which panics where standard error is gone or its disk is full.
        .log_internal_errors(false)
        .init();
    Ok(())
}
