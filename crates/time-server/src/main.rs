//! Runs the time server until a signal: the first one lets it leave politely, a second one ends it now.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use time_server::args::Args;
use time_server::config::Config;
use time_server::daemon::{Daemon, DaemonError};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use zk_registry::cli::{Signals, UsageError, wants_colours};
use zk_registry::printable::Printable;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) if !error.use_stderr() => error.exit(), // --help and --version
        Err(error) => return usage(&UsageError::of_this_process(&error, &Args::command())),
    };
    let filter = match log_filter(LOGGED) {
        Ok(filter) => filter,
        Err(error) => return usage(&error),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(wants_colours(&io::stderr()))
        .with_writer(io::stderr)
        // It would be said with `eprintln!`, which panics where standard error is gone or its disk is full.
        .log_internal_errors(false)
        .init();
    let config = match Config::fitting(args, time_server::open_files::fit_connections) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    runtime.block_on(run(config))
}

async fn run(config: Config) -> ExitCode {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failure(&error),
    };
    let daemon = match Daemon::bind(config) {
        Ok(daemon) => daemon,
        Err(error) => return usage(&error),
    };
    let (leave, hurry) = (CancellationToken::new(), CancellationToken::new());
    let watch_signals = async {
        signals.next().await;
        leave.cancel();
        signals.next().await;
        hurry.cancel();
        std::future::pending::<std::convert::Infallible>().await
    };
    let ended = tokio::select! {
        ended = daemon.run(leave.cancelled(), hurry.cancelled()) => ended,
        never = watch_signals => match never {},
    };
    match ended {
        Ok(()) if hurry.is_cancelled() => failure(&"a second signal: not waiting any longer"),
        Ok(()) => ExitCode::SUCCESS,
        Err(DaemonError::Usage(error)) => usage(&error),
        Err(error) => failure(&error),
    }
}

/// The log filter for want of `RUST_LOG`.
const LOGGED: &str = "info,zookeeper_client=error";

/// The filter that `RUST_LOG` asks for, or `default` where it is unset or empty.
fn log_filter(default: &str) -> Result<EnvFilter, UsageError> {
    match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(wanted) if !wanted.trim().is_empty() => {
            EnvFilter::try_new(&wanted).map_err(|error| UsageError::new(EnvFilter::DEFAULT_ENV, error))
        }
        _ => Ok(EnvFilter::new(default)),
    }
}

fn usage(error: &UsageError) -> ExitCode {
    complain(error);
    ExitCode::from(2)
}

fn failure(error: &dyn std::fmt::Display) -> ExitCode {
    complain(error);
    ExitCode::FAILURE
}

/// One line on standard error. Where it cannot be written, the exit code still says it.
fn complain(error: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "time-server: {}", Printable(error));
}
