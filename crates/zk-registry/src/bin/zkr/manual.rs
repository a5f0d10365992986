//! `zkr completions` and `zkr man`: what shells and the manual know of this program.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use zk_registry::cli::UsageError;
use zk_registry::cli::program::Output;

use crate::exit::{Exit, Failure};

/// For which shell.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell that is to complete
    shell: Shell,
}

/// Where to.
#[derive(Args, Clone, Debug)]
pub(crate) struct ManArgs {
    /// The directory that gets a page for zkr and one for each subcommand; without it the page of zkr is written to standard output
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Writes the script that makes a shell complete.
pub(crate) fn complete(args: &CompletionsArgs, mut command: Command, output: &Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "zkr", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end());
    Exit::Yes
}

/// Writes pages of the manual.
pub(crate) fn man(args: &ManArgs, command: Command, output: &Output) -> Result<Exit, Failure> {
    let Some(directory) = &args.directory else {
        output.line(String::from_utf8_lossy(&page(command)).trim_end());
        return Ok(Exit::Yes);
    };
    clap_mangen::generate_to(command, directory).map_err(|error| {
        UsageError::new("--directory", format!("{}: {error}; name one that is there", directory.display()))
    })?;
    Ok(Exit::Yes)
}

fn page(command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing into memory does not fail.
    let _ = clap_mangen::Man::new(command).render(&mut page);
    page
}

/// The text that `--help` of `completions` shows below the flags.
pub(crate) const COMPLETIONS_HELP: &str = "\
Examples:
  zkr completions bash > /etc/bash_completion.d/zkr
  zkr completions zsh > ~/.zfunc/_zkr
  zkr completions fish > ~/.config/fish/completions/zkr.fish

Exit codes:
  0  written
  1  the output could not be written
  2  wrong usage";

/// The text that `--help` of `man` shows below the flags.
pub(crate) const MAN_HELP: &str = "\
Examples:
  zkr man | man -l -
  zkr man --directory /usr/local/share/man/man1

Exit codes:
  0  written
  1  the output could not be written
  2  wrong usage, or a page could not be written";
