//! `zkr shards`: over how many nodes a service is spread.

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::ServiceName;
use zk_registry::cli::program::{Format, Output};
use zk_registry::operate::{Operator, Unused};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;

/// Which service, and how many.
#[derive(Args, Clone, Debug)]
pub(crate) struct ShardsArgs {
    /// The name of a service
    service: ServiceName,

    /// Over how many shards its registrations are spread; 1 puts them below the service's own node
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    count: u16,

    /// Readers that start from now on do not read the shards beyond that any more; refused as long as one of these has a child
    #[arg(long)]
    drop: bool,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    shards: u16,
    read: u16,
}

/// Changes the number of shards.
pub(crate) async fn run(
    args: ShardsArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let format = args.common.format();
    Fleet::of(args.common)?
        .with(stop, async |registry| {
            let unused = if args.drop { Unused::Drop } else { Unused::Read };
            let read = Operator::new(registry).set_shards(&args.service, args.count, unused).await?;
            let shards = args.count;
            if format == Format::Json {
                output.json(&Line { service: args.service.as_str(), shards, read });
            } else {
                output.line(&format!("{}: shards {shards}, read {read}", args.service));
            }
            Ok(Exit::Yes)
        })
        .await
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
The service has to have a marker already: a writer with --shards makes it. Registrations move within an audit interval, 30 s by
default, and are listed all the while. Shards that were read are read on, until --drop says that they are empty for good. A writer
that starts later with a larger --shards raises the number again.

Examples:
  zkr shards time 4
  zkr shards time 4 --drop

Exit codes:
  0  it is changed
  1  refused: no marker, the data are somebody else's or changed meanwhile, or a shard to be dropped has children
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
