//! The flags that every subcommand has.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::{Args, ValueEnum};
use zk_registry::cli::program::Format;
use zk_registry::cli::{ClusterArgs, duration};

/// Where ZooKeeper is, how long to wait for it, how to write results.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonArgs {
    /// How long to wait for ZooKeeper
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,

    /// How to write results
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Form,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// Text on a terminal, JSON elsewhere
    #[default]
    Auto,
    /// One object a line
    Json,
    /// Tables
    Text,
}

impl CommonArgs {
    /// How results are written, now that it is known where they go.
    pub(crate) fn format(&self) -> Format {
        let is_terminal = io::stdout().is_terminal();
        match self.output {
            Form::Auto if is_terminal => Format::Text,
            Form::Auto | Form::Json => Format::Json,
            Form::Text => Format::Text,
        }
    }
}
