//! Runs the time server until a signal: the first one lets it leave politely, a second one ends it now.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;

use time_server::args::{AdminAddress, Args};
use time_server::check::check;
use time_server::command::Command;
use time_server::config::Config;
use time_server::daemon::{Daemon, DaemonError};
use time_server::load::{Loaded, NotLoaded};
use time_server::logging::LogFilter;
use time_server::privileges::{Confined, confine};
use time_server::probe::{Health, probe};
use time_server::reload::Reload;
use time_server::service_manager::sockets;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use zk_registry::cli::{Asked, OnHangup, Signals, UsageError};
use zk_registry::printable::Printable;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let loaded = match Loaded::from_words(&words) {
        Ok(loaded) => loaded,
        Err(NotLoaded::Answer(error)) => error.exit(), // --help and --version
        Err(NotLoaded::Usage(error)) => return usage(&error),
    };
    match loaded.cli.command.clone() {
        None => serve(words, loaded),
        Some(Command::Check(args)) => checked(&loaded, *args),
        Some(Command::Probe(args)) => match probe(&args) {
            Ok(Health::Well) => ExitCode::SUCCESS,
            Ok(Health::Unwell(why)) => failure(&why),
            Err(error) => usage(&error),
        },
    }
}

fn checked(loaded: &Loaded, args: Args) -> ExitCode {
    // What is warned of, such as a secret that others may read, belongs to the answer.
    let started = LogFilter::start(args.log_format, &args.log_filter);
    match started.and_then(|_| check(args)) {
        Ok(line) => {
            // The exit code says it where the line cannot be written.
            let _ = writeln!(io::stdout(), "{}", Printable(&line));
            ExitCode::SUCCESS
        }
        Err(error) => usage(&loaded.locate(error)),
    }
}

fn serve(words: Vec<OsString>, loaded: Loaded) -> ExitCode {
    let args = loaded.cli.serve.clone();
    let filter = match LogFilter::start(args.log_format, &args.log_filter) {
        Ok(filter) => filter,
        Err(error) => return usage(&loaded.locate(error)),
    };
    let config = match Config::fitting(args, time_server::open_files::fit_connections) {
        Ok(config) => config,
        Err(error) => return usage(&loaded.locate(error)),
    };
    // Both before the first thread is started: one changes the environment, the other holds for the threads to come.
    let passed = match sockets() {
        Ok(passed) => passed,
        Err(error) => return usage(&UsageError::new("LISTEN_FDS", error)),
    };
    let socket_dir = match &config.admin {
        Some(AdminAddress::Unix(path)) => {
            Some(path.parent().filter(|dir| *dir != "").unwrap_or_else(|| Path::new(".")))
        }
        _ => None,
    };
    match confine(socket_dir) {
        Ok(Confined::ReadsOnly) => debug!("Landlock refuses every write to a file"),
        Ok(Confined::No) => debug!("there is no Landlock here"),
        Err(error) => warn!(%error, "Landlock could not be used"),
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure(&error),
    };
    runtime.block_on(run(config, passed, |daemon| daemon.reload(words, loaded, filter)))
}

async fn run(config: Config, passed: Vec<TcpListener>, reload: impl FnOnce(&Daemon) -> Reload) -> ExitCode {
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failure(&error),
    };
    let daemon = match Daemon::bind(config, passed) {
        Ok(daemon) => daemon,
        Err(error) => return usage(&error),
    };
    let mut reload = reload(&daemon);
    let mut signals = signals.with_hangup(match reload.has_file() {
        true => OnHangup::Reloads,
        false => OnHangup::ReloadsWithoutTerminal,
    });
    let (leave, hurry) = (CancellationToken::new(), CancellationToken::new());
    let watch_signals = async {
        while signals.next().await == Asked::Reload {
            reload.reload();
        }
        leave.cancel();
        while signals.next().await == Asked::Reload {} // it is about to end
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
