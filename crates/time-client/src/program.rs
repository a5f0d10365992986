//! The program: words to subcommand, signals to a stop, the end to an exit code.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use zk_registry::ErrorKind;
use zk_registry::cli::UsageError;
use zk_registry::cli::program::{self, Output};

use crate::command::Cli;
use crate::exit::Exit;
use crate::job::Job;
use crate::target::Unavailable;

const NAME: &str = "time-client";

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let command = match Cli::command(std::env::args_os()) {
        Ok(command) => command,
        Err(error) if !error.use_stderr() => error.exit(), // --help and --version
        Err(error) => return usage(&UsageError::of_this_process(&error, &Cli::command_line())),
    };
    if let Err(error) = program::log(LOGGED) {
        return usage(&error);
    }
    let job = match command.prepare() {
        Ok(job) => job,
        Err(error) => return usage(&error),
    };
    let started = program::stop_at_the_first_signal(NAME, Exit::SomeFailed as i32)
        .and_then(|stop| Ok((stop, Runtime::new()?)));
    let (stop, runtime) = match started {
        Ok(started) => started,
        Err(error) => {
            complain(&format_args!("cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(run_job(job, stop));
    // Looking up a host name cannot be broken off, and its answer is not needed any more.
    runtime.shutdown_background();
    exit.into()
}

/// The targets of what an operator must act on, and why a snapshot file is not used, which nothing else would tell.
const LOGGED: &str =
    "error,zk_registry::cli=warn,zk_registry::discovery::snapshot_file=warn,zookeeper_client=off";

/// Runs a job and turns its end into an exit code, with a line on standard error where there is something to say.
async fn run_job(job: Job, stop: CancellationToken) -> Exit {
    let gone = stop.child_token();
    let output = Arc::new(Output::new(job.flush, gone.clone()));
    let ended = job.run(output.clone(), gone.clone()).await;
    output.flush();
    if let Some(error) = output.failure() {
        complain(&format_args!("standard output cannot be written: {error}"));
        return Exit::SomeFailed;
    }
    match ended {
        // The reader of our output went away: it has what it wanted.
        _ if gone.is_cancelled() && !stop.is_cancelled() => Exit::Answered,
        Ok(exit) => exit,
        Err(Unavailable::Hopeless { cause, .. }) if cause.kind() == ErrorKind::Invalid => {
            complain(&UsageError::from_registry(&cause));
            Exit::Usage
        }
        Err(unavailable) => {
            complain(&unavailable);
            Exit::NothingToAsk
        }
    }
}

/// One line on standard error.
fn complain(what: &dyn Display) {
    program::complain(NAME, what);
}

fn usage(error: &UsageError) -> ExitCode {
    complain(&error);
    Exit::Usage.into()
}
