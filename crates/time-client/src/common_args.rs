//! The flags that every subcommand has.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use zk_registry::cli::{RegistryArgs, duration};

use zk_registry::cli::program::Format;

/// Where the service is, how long to wait for it, how to write results.
#[derive(Args, Clone, Debug)]
pub(crate) struct CommonArgs {
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
