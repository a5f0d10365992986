//! `zkr`: see the fleet, change it safely, know why.

mod amend;
mod change;
mod command;
mod common_args;
mod compare;
mod difference;
mod doctor;
mod evict;
mod exit;
mod explain;
mod fleet;
mod four_letter;
mod list;
mod listing;
mod live;
mod manual;
mod reach;
mod services;
mod shards;
mod shown;
mod snapshot_file;
mod table;
mod top;
mod verify;
mod wait;
mod watch;
mod web;

use std::fmt::Display;
use std::pin::pin;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::cli::program::{self, Output};

use crate::command::Cli;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(), // --help and --version
        Err(error) => return usage(&UsageError::of_this_process(&error, &Cli::command())),
    };
    if let Err(error) = program::log(LOGGED) {
        return usage(&error);
    }
    let started = program::stop_at_the_first_signal(NAME, Exit::No as i32);
    let (stop, runtime) = match started.and_then(|stop| Ok((stop, Runtime::new()?))) {
        Ok(started) => started,
        Err(error) => {
            complain(&format_args!("cannot start: {error}"));
            return Exit::No.into();
        }
    };
    let exit = runtime.block_on(run(cli, stop));
    // Looking up a host name cannot be broken off, and its answer is not needed any more.
    runtime.shutdown_background();
    exit.into()
}

/// Runs a subcommand and turns its end into an exit code, with a line on standard error where there is something to say.
async fn run(cli: Cli, stop: CancellationToken) -> Exit {
    let gone = stop.child_token();
    let output = Output::new(cli.flush(), gone.clone());
    let mut running = pin!(cli.run(&output, &gone));
    let ended = tokio::select! {
        ended = &mut running => ended,
        // The reader has what it wanted; the run ends as after a signal, and may have to clean up.
        () = output.reader_gone() => match running.await {
            Err(Failure::Interrupted) => Ok(Exit::Yes),
            ended => ended,
        },
    };
    output.flush();
    if let Some(error) = output.failure() {
        complain(&format_args!("standard output cannot be written: {error}"));
        return Exit::No;
    }
    match ended {
        Ok(exit) => exit,
        Err(Failure::Usage(error)) => {
            complain(&error);
            Exit::Usage
        }
        Err(failure) => {
            complain(&failure);
            failure.exit()
        }
    }
}

/// One line on standard error.
fn complain(what: &dyn Display) {
    program::complain(NAME, what);
}

fn usage(error: &UsageError) -> ExitCode {
    complain(error);
    Exit::Usage.into()
}

const NAME: &str = "zkr";

/// The targets of what an operator must act on.
const LOGGED: &str = "error,zk_registry::cli=warn,zookeeper_client=off";
