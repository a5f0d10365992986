//! What was typed. What it means is each subcommand's business.

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use zk_registry::balance::strategy::Named;
use zk_registry::cli::{RegistryArgs, UsageError, duration};

use crate::output::Format;

/// Finds the instances of a time service in ZooKeeper, and asks them for the time.
///
/// Without a subcommand it queries.
#[derive(Clone, Debug, Parser)]
#[command(name = "time-client", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    query: QueryArgs,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask for the time again and again, a chosen instance each time (the default)
    #[command(after_help = EXAMPLES)]
    Query(Box<QueryArgs>),
    /// Show the instances once
    #[command(after_help = LIST_EXAMPLES)]
    List(Box<LookArgs>),
    /// Show each change of the instances, until a signal
    #[command(after_help = WATCH_EXAMPLES)]
    Watch(Box<LookArgs>),
}

/// How `query` queries.
#[derive(Args, Clone, Debug)]
pub(crate) struct QueryArgs {
    /// How many queries; with --offset, how many samples of each instance [default: 100; no limit with --duration; 10
    /// with --offset]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,

    /// How long to begin queries
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    pub(crate) duration: Option<Duration>,

    /// From the beginning of one query to that of the next; 0 is as fast as it goes [default: 1s; 0 with --concurrency]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) interval: Option<Duration>,

    /// How many queries are under way at most [default: 1; 64 with --rate]
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// Begin so many queries a second whatever the answers do, and count each one's latency from when it was due
    #[arg(long, value_name = "PER SECOND", value_parser = rate, allow_negative_numbers = true, conflicts_with = "interval")]
    pub(crate) rate: Option<f64>,

    #[arg(long, value_name = "NAME", default_value = "random", help = strategies(), help_heading = CHOICE)]
    pub(crate) strategy: String,

    /// What the query is about: strategies that hash send the same key to the same instance
    #[arg(long, value_name = "TEXT", help_heading = CHOICE)]
    pub(crate) key: Option<String>,

    /// Our zone, whose instances are preferred
    #[arg(long, value_name = "ZONE", value_parser = NonEmptyStringValueParser::new(), help_heading = CHOICE)]
    pub(crate) zone: Option<String>,

    /// How long a query may take, all its attempts together
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = positive, help_heading = FAILURE)]
    pub(crate) timeout: Duration,

    /// How often a query is tried, each time on another instance while there is one
    #[arg(long, value_name = "N", default_value = "3", help_heading = FAILURE)]
    pub(crate) attempts: NonZeroU32,

    /// How long connecting may take within an attempt
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive, help_heading = FAILURE)]
    pub(crate) connect_timeout: Duration,

    /// How long an answer may take within an attempt [default: the attempt's share of --timeout]
    #[arg(long, value_name = "DURATION", value_parser = positive, help_heading = FAILURE)]
    pub(crate) read_timeout: Option<Duration>,

    /// What to ask [default: timestamp with --format plain, else now]
    #[arg(long, value_enum, value_name = "REQUEST")]
    pub(crate) request: Option<RequestName>,

    /// Measure how far off each instance's clock is, instead of asking for the time
    #[arg(long, conflicts_with_all = NOT_WITH_OFFSET)]
    pub(crate) offset: bool,

    /// No line per query, only the summary
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// What every subcommand needs.
#[derive(Args, Clone, Debug)]
pub(crate) struct LookArgs {
    /// How long to wait until the instances are known
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) wait: Duration,

    /// How to write results
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,

    /// A directory where the instances are remembered, to start from while ZooKeeper is down
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) snapshot_file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}

/// The requests of the protocol by their words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RequestName {
    /// The time, on a connection that is kept
    Now,
    /// The server's receive and transmit times, on a connection that is kept
    Sync,
    /// The time and the end of the connection: what servers of 2016 know
    Timestamp,
}

impl Cli {
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

/// A duration of more than nothing.
fn positive(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|value| match value {
        Duration::ZERO => Err("use a duration of more than 0, such as 500ms, 10s or 1m".to_owned()),
        value => Ok(value),
    })
}

/// A rate that a schedule can be made of.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e7).contains(rate));
    rate.ok_or_else(|| "use queries per second, such as 500 or 0.5".to_owned())
}

/// A value that clap let pass and that is wrong all the same.
pub(crate) fn usage(flag: &str, what: impl std::fmt::Display) -> UsageError {
    UsageError::new(flag, what)
}

/// The help of `--strategy`.
fn strategies() -> String {
    format!("How to choose the instance of each query: {}", Named::NAMES.join(", "))
}

/// An offset is measured of each instance, one after the other, until there are enough samples: nothing is chosen, tried
/// again, or done at once.
const NOT_WITH_OFFSET: [&str; 9] =
    ["attempts", "concurrency", "duration", "interval", "key", "rate", "request", "strategy", "zone"];

const CHOICE: &str = "Choosing an instance";
const FAILURE: &str = "Surviving failures";

const EXAMPLES: &str = "\
Examples:
  time-client                                        100 queries, one a second, a random instance each time
  time-client --count 1 --output json                one query, for a script
  time-client --interval 0 --concurrency 64 --quiet --duration 10s
                                                     as fast as 64 at once can
  time-client --rate 500 --duration 1m --quiet       500 a second, with latencies that include waiting
  time-client --strategy round-robin                 each instance in turn
  time-client --offset                               whose clock is how far off
  time-client --base / --service go_servers --format plain
                                                     servers of 2016
  time-client list                                   who is there
  time-client watch                                  who comes and goes

Exit codes:
  0  every query was answered
  1  some were not; or standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  no instance, or none known: ZooKeeper was not reached within --wait, or a signal came first";

const LIST_EXAMPLES: &str = "\
Examples:
  time-client list
  time-client list --service com/example/billing --output json
  ZOOKEEPER=zk1:2181,zk2:2181/prod time-client list

Exit codes:
  0  there are instances
  1  standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  no instance, or none known: ZooKeeper was not reached within --wait, or a signal came first";

const WATCH_EXAMPLES: &str = "\
Examples:
  time-client watch
  time-client watch --output json | while read -r event; do ...; done

Exit codes:
  0  ended by a signal, or nobody read on
  1  standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached within --wait";

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(args.look.wait, Duration::from_secs(10));
        assert_eq!(args.strategy, "random");
        assert_eq!(args.look.output, Format::Text);
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
}
