//! The program: words to subcommand, signals to a stop, the end to an exit code.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use zk_registry::ErrorKind;
use zk_registry::cli::UsageError;

use crate::args::{Cli, Command};
use crate::exit::Exit;
use crate::output::{Flush, Format, Output, Paint};
use crate::query::Query;
use crate::start::{Nothing, Place};
use crate::{list, signals, watch};

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    log();
    let command = match Cli::command(std::env::args_os()) {
        Ok(command) => command,
        Err(error) if !error.use_stderr() => error.exit(), // --help and --version
        Err(error) => return usage(&UsageError::from_clap(&error)),
    };
    let job = match Job::of(command) {
        Ok(job) => job,
        Err(error) => return usage(&error),
    };
    let started = signals::stop_at_the_first().and_then(|stop| Ok((stop, Runtime::new()?)));
    let (stop, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            complain(&format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(job.run(stop));
    // Looking up a host name cannot be broken off, and nobody waits for its answer any more.
    runtime.shutdown_background();
    exit.into()
}

/// Logs on standard error what `RUST_LOG` asks for; without it, what somebody must act on.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let colours = Paint::of(&io::stderr()) == Paint::Colours;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(io::stderr)
        // It would be said with `eprintln!`, which panics where standard error is gone or its disk is full.
        .log_internal_errors(false)
        .init();
}

/// What somebody must act on, and why a snapshot file is not used, which nothing else would tell.
const LOGGED: &str = "error,zk_registry::disk=warn,zookeeper_client=off";

/// A checked command line: nothing has been touched yet.
enum Job {
    List(Place, Format),
    Query(Box<Query>, Place),
    Watch(Place, Format),
}

impl Job {
    fn of(command: Command) -> Result<Self, UsageError> {
        Ok(match command {
            Command::List(args) => {
                Self::List(Place::of(args.registry, args.wait, args.snapshot_file)?, args.output)
            }
            Command::Query(args) => {
                let query = Query::of(&args)?;
                let look = args.look;
                Self::Query(Box::new(query), Place::of(look.registry, look.wait, look.snapshot_file)?)
            }
            Command::Watch(args) => {
                Self::Watch(Place::of(args.registry, args.wait, args.snapshot_file)?, args.output)
            }
        })
    }

    async fn run(self, stop: CancellationToken) -> Exit {
        let gone = stop.child_token();
        let flush = match &self {
            Self::Query(query, _) => query.flush(),
            _ => Flush::EachLine,
        };
        let output = Arc::new(Output::new(flush, gone.clone()));
        let ended = match self {
            Self::List(place, format) => list::run(place, format, &output, &gone).await,
            Self::Query(query, place) => query.run(place, output.clone(), gone.clone()).await,
            Self::Watch(place, format) => watch::run(place, format, &output, &gone).await,
        };
        output.flush();
        if let Some(error) = output.failure() {
            complain(&format_args!("standard output cannot be written: {error}"));
            return Exit::SomeFailed;
        }
        match ended {
            // Nobody reads on: whoever did has what it wanted.
            _ if gone.is_cancelled() && !stop.is_cancelled() => Exit::Answered,
            Ok(exit) => exit,
            Err(Nothing::Hopeless { cause, .. }) if cause.kind() == ErrorKind::Invalid => {
                eprintln!("time-client: {}", UsageError::from_registry(&cause));
                Exit::Usage
            }
            Err(nothing) => nothing_to_ask(&nothing),
        }
    }
}

fn usage(error: &UsageError) -> ExitCode {
    complain(error);
    Exit::Usage.into()
}

fn nothing_to_ask(nothing: &Nothing) -> Exit {
    complain(nothing);
    Exit::NothingToAsk
}

/// One line on standard error. If nobody reads it any more, the exit code still says it.
pub(crate) fn complain(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "time-client: {what}");
}
