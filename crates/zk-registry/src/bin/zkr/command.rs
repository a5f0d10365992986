//! The words of the command line: what they are, and which file each subcommand lives in.

use clap::{CommandFactory as _, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Flush, Output};

use crate::change::{MarkArgs, WeightArgs};
use crate::difference::DiffArgs;
use crate::doctor::DoctorArgs;
use crate::evict::EvictArgs;
use crate::exit::{Exit, Failure};
use crate::explain::ExplainArgs;
use crate::list::ListArgs;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::services::ServicesArgs;
use crate::shards::ShardsArgs;
use crate::top::TopArgs;
use crate::verify::VerifyArgs;
use crate::wait::WaitArgs;
use crate::watch::WatchArgs;
use crate::web::WebArgs;
use crate::{
    change, difference, doctor, evict, explain, list, manual, services, shards, top, verify, wait, watch, web,
};

/// See the services that live in a ZooKeeper, change their instances safely, and know why they are as they are.
#[derive(Debug, Parser)]
#[command(name = "zkr", version, after_help = HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A subcommand and its flags. A new one needs an arm here and in [`Cli::run`], its own file, and its `mod`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show which services there are, with how many instances
    #[command(after_help = services::HELP)]
    Services(Box<ServicesArgs>),
    /// Show the instances of services, and the nodes that are none
    #[command(after_help = list::HELP)]
    List(Box<ListArgs>),
    /// Show each change of a service, until a signal
    #[command(after_help = watch::HELP)]
    Watch(Box<WatchArgs>),
    /// Show the fleet live on the whole screen, and change it there
    #[command(after_help = top::HELP)]
    Top(Box<TopArgs>),
    /// Serve a page of the fleet on loopback, live
    #[command(after_help = web::HELP)]
    Web(Box<WebArgs>),
    /// Wait until something is so, for deploy scripts
    #[command(after_help = wait::HELP)]
    Wait(Box<WaitArgs>),
    /// Take an instance out of service: no new calls go to it
    #[command(after_help = change::HELP)]
    Drain(Box<MarkArgs>),
    /// Bring a drained instance back into service
    #[command(after_help = change::HELP)]
    Undrain(Box<MarkArgs>),
    /// Give an instance another share of the calls
    #[command(after_help = change::HELP)]
    Weight(Box<WeightArgs>),
    /// Delete the node of an instance that is dead
    #[command(after_help = evict::HELP)]
    Evict(Box<EvictArgs>),
    /// Spread a service over another number of nodes
    #[command(after_help = shards::HELP)]
    Shards(Box<ShardsArgs>),
    /// Show a node's bytes, who owns it, and what each dialect makes of it
    #[command(after_help = explain::HELP)]
    Explain(Box<ExplainArgs>),
    /// Look for what is wrong, and say what to do about it
    #[command(after_help = doctor::HELP)]
    Doctor(Box<DoctorArgs>),
    /// Measure what is promised, below a path of its own
    #[command(after_help = verify::HELP)]
    Verify(Box<VerifyArgs>),
    /// Compare services with those of another ZooKeeper
    #[command(after_help = difference::HELP)]
    Diff(Box<DiffArgs>),
    /// Write what a shell needs to complete the words of this program
    #[command(after_help = manual::COMPLETIONS_HELP)]
    Completions(CompletionsArgs),
    /// Write the pages of the manual
    #[command(after_help = manual::MAN_HELP)]
    Man(ManArgs),
}

impl Cli {
    /// When a line of this subcommand reaches the reader: those that write very many lines at their end do it in few system calls.
    pub(crate) fn flush(&self) -> Flush {
        match self.command {
            Command::Diff(_) | Command::List(_) | Command::Services(_) => Flush::Lazily,
            _ => Flush::EachLine,
        }
    }

    /// Runs the subcommand.
    pub(crate) async fn run(self, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
        match self.command {
            Command::Services(args) => services::run(*args, output, stop).await,
            Command::List(args) => list::run(*args, output, stop).await,
            Command::Watch(args) => watch::run(*args, output, stop).await,
            Command::Top(args) => top::run(*args, stop).await,
            Command::Web(args) => web::run(*args, output, stop).await,
            Command::Wait(args) => wait::run(*args, output, stop).await,
            Command::Drain(args) => change::drain(*args, output, stop).await,
            Command::Undrain(args) => change::undrain(*args, output, stop).await,
            Command::Weight(args) => change::weigh(*args, output, stop).await,
            Command::Evict(args) => evict::run(*args, output, stop).await,
            Command::Shards(args) => shards::run(*args, output, stop).await,
            Command::Explain(args) => explain::run(*args, output, stop).await,
            Command::Doctor(args) => doctor::run(*args, output, stop).await,
            Command::Verify(args) => verify::run(*args, output, stop).await,
            Command::Diff(args) => difference::run(*args, output, stop).await,
            Command::Completions(args) => Ok(manual::complete(&args, Self::command(), output)),
            Command::Man(args) => manual::man(&args, Self::command(), output),
        }
    }
}

const HELP: &str = "\
Examples:
  zkr services                                 what is there
  zkr list time                                who is there
  zkr top                                      all of it, live
  zkr drain time 10.0.0.1:8897 --reason deploy take one out of service
  zkr wait time --for drained=10.0.0.1:8897    until everybody can know
  zkr doctor                                   what is wrong

Exit codes:
  0  it is so, or it is done
  1  it is not so: nothing there, something differs, a change was refused; or the output could not be written
  2  wrong usage, nothing was touched; for `doctor` also: something is broken
  3  ZooKeeper was not reached, or does not let us read
  4  what was waited for did not come in time";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_teaches() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{}", command.get_name());
        }
    }
}
