//! The flags of `query` as they are typed. [`Query`](crate::query::Query) is what they mean.

use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use zk_registry::AddressKind;
use zk_registry::balance::strategy::Named;
use zk_registry::cli::duration;

use crate::common_args::CommonArgs;

/// The flags of `query`.
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
    #[arg(long, value_name = "N", value_parser = at_once)]
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

    /// Addresses that are not dialled, beside unspecified, multicast and broadcast ones; several with commas
    #[arg(long, value_enum, value_name = "KIND", value_delimiter = ',', help_heading = FAILURE)]
    pub(crate) refuse: Vec<RefusedKind>,

    /// How long an answer may take within an attempt [default: the attempt's share of --timeout]
    #[arg(long, value_name = "DURATION", value_parser = positive, help_heading = FAILURE)]
    pub(crate) read_timeout: Option<Duration>,

    /// What to ask [default: timestamp with --format plain, else now]
    #[arg(long, value_enum, value_name = "REQUEST")]
    pub(crate) request: Option<RequestName>,

    /// Measure how far off each instance's clock is, instead of asking for the time
    #[arg(long, conflicts_with_all = NOT_WITH_OFFSET)]
    pub(crate) offset: bool,

    /// Draw how the latencies are spread, at the end, as SVG
    #[arg(long, value_name = "FILE.svg", conflicts_with = "offset")]
    pub(crate) plot: Option<PathBuf>,

    /// No line per query, only the summary
    #[arg(long, short)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,
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

/// The kinds of addresses that are dialled unless they are refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum RefusedKind {
    /// 169.254.0.0/16 and fe80::/10
    LinkLocal,
    /// This machine
    Loopback,
    /// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 and fc00::/7
    Private,
}

impl RefusedKind {
    /// The kind as the library names it.
    pub(crate) fn kind(self) -> AddressKind {
        match self {
            Self::LinkLocal => AddressKind::LinkLocal,
            Self::Loopback => AddressKind::Loopback,
            Self::Private => AddressKind::Private,
        }
    }
}

/// A number of workers that fits into this machine.
fn at_once(text: &str) -> Result<NonZeroUsize, &'static str> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= 65_536);
    number.ok_or("use a whole number from 1 to 65536")
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
