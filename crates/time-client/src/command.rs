//! The command line: which subcommand was typed, with which flags. What the flags mean is each subcommand's business.

use std::ffi::OsString;

use clap::{Parser, Subcommand};
use zk_registry::cli::UsageError;

use crate::common_args::CommonArgs;
use crate::job::Job;
use crate::query::QueryArgs;
use crate::{list, query, watch};

/// Finds the instances of a time service in ZooKeeper, and asks them for the time.
///
/// Without a subcommand it queries.
#[derive(Clone, Debug, Parser)]
#[command(name = "time-client", version, args_conflicts_with_subcommands = true, after_help = query::HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    query: QueryArgs,
}

/// A subcommand and its flags. A new one needs an arm here and in [`Command::prepare`], its own file, and its `mod`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for the time again and again, a chosen instance each time (the default)
    #[command(after_help = query::HELP)]
    Query(Box<QueryArgs>),
    /// Show the instances once
    #[command(after_help = list::HELP)]
    List(Box<CommonArgs>),
    /// Show each change of the instances, until a signal
    #[command(after_help = watch::HELP)]
    Watch(Box<CommonArgs>),
}

impl Command {
    /// Checks what the flags say together, and returns the run that they ask for.
    ///
    /// # Errors
    ///
    /// The flag that cannot be used so.
    pub(crate) fn prepare(self) -> Result<Job, UsageError> {
        match self {
            Self::List(args) => list::prepare(*args),
            Self::Query(args) => query::prepare(*args),
            Self::Watch(args) => watch::prepare(*args),
        }
    }
}

impl Cli {
    /// The command line as clap knows it, to find out what a flag is.
    pub(crate) fn command_line() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }

    /// Parses the words of a command line, the program's name first.
    ///
    /// # Errors
    ///
    /// Clap's, which are also how it shows help.
    pub(crate) fn command(
        words: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Command, clap::Error> {
        let cli = Self::try_parse_from(words)?;
        Ok(cli.command.unwrap_or_else(|| Command::Query(Box::new(cli.query))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zk_registry::balance::strategy::Named;

    use super::*;
    use crate::documented;
    use crate::query::{offset, summary};
    use zk_registry::cli::program::Format;

    fn parse(words: &str) -> Result<Command, clap::Error> {
        Cli::command(["time-client"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn a_query_is_the_default() {
        for words in ["", "query", "--count 3", "query --count 3 --service list"] {
            assert!(matches!(parse(words), Ok(Command::Query(_))), "{words}");
        }
        assert!(matches!(parse("list --output json"), Ok(Command::List(_))));
        assert!(matches!(parse("watch --wait 1s"), Ok(Command::Watch(_))));
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let Ok(Command::Query(args)) = parse("") else { panic!("a query is the default") };
        assert_eq!(args.timeout, Duration::from_secs(2));
        assert_eq!(args.attempts.get(), 3);
        assert_eq!(args.common.wait, Duration::from_secs(10));
        assert_eq!(args.strategy, "random");
        assert_eq!(args.common.output, Format::Text);
    }

    #[test]
    fn a_wrong_value_names_its_flag_in_one_line() {
        for words in [
            "--count 0",
            "--interval soon",
            "--timeout 0",
            "--attempts none",
            "--rate -1",
            "--rate inf",
            "--rate NaN",
            "--concurrency 0",
            "--concurrency 65537",
            "--concurrency 18446744073709551615",
            "--request time",
            "--output xml",
            "--wait long",
            "--rate 5 --interval 1s",
            "--strategy random --offset",
            "--attempts 3 --offset",
            "--zone a --offset",
            "--zone= --count 1",
            "--concurrency 8 --offset",
        ] {
            let error = UsageError::from_clap(&parse(words).unwrap_err()).to_string();
            let flag = words.split([' ', '=']).next().unwrap();
            assert!(error.contains(flag) && error.lines().count() == 1, "{words}: {error}");
        }
    }

    #[test]
    fn help_names_every_strategy() {
        let help = parse("--help").unwrap_err().to_string();
        for name in Named::NAMES {
            assert!(help.contains(name), "{name}: {help}");
        }
    }

    #[test]
    fn flags_before_a_subcommand_are_refused() {
        assert!(parse("--count 3 list").is_err());
    }

    #[test]
    fn the_page_shows_what_is_written_and_nothing_else() {
        documented::check([
            query::tests::lines(),
            summary::tests::lines(),
            offset::tests::lines(),
            list::tests::lines(),
            watch::tests::lines(),
        ]);
    }
}
