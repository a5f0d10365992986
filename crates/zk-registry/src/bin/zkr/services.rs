//! `zkr services`: what is there.

use clap::Args;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::{Registry, ServiceName, Snapshot, Status};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::table::Table;

/// Which services there are.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    instances: usize,
    draining: usize,
    rejected: usize,
}

/// Shows each service with the number of its instances.
pub(crate) async fn run(
    args: ServicesArgs,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let format = args.common.format();
    let fleet = Fleet::of(args.common)?;
    let base = &fleet.options.base;
    fleet
        .with(stop, async |registry| {
            let names = registry.services().await?;
            if names.is_empty() {
                return Err(Failure::Nothing(format!("there is no service below {base}")));
            }
            let read = read(registry, names).await?;
            let lines = read.iter().map(|(name, snapshot)| Line {
                service: name.as_str(),
                instances: snapshot.len(),
                draining: snapshot.instances().filter(|member| member.status() == Status::Draining).count(),
                rejected: snapshot.rejected().len(),
            });
            if format == Format::Json {
                lines.for_each(|line| output.json(&line));
            } else {
                let mut table = Table::new(["SERVICE", "INSTANCES", "DRAINING", "REJECTED"]);
                lines.for_each(|line| {
                    table.row([&line.service, &line.instances, &line.draining, &line.rejected]);
                });
                table.lines().for_each(|line| output.line(&line));
            }
            Ok(Exit::Yes)
        })
        .await
}

/// Reads services, several at once, in their order.
pub(crate) async fn read(
    registry: &Registry,
    names: Vec<ServiceName>,
) -> Result<Vec<(ServiceName, Snapshot)>, Failure> {
    let reads = names.into_iter().map(|name| async move {
        let snapshot = registry.lookup(&name).await?;
        Ok::<_, Failure>((name, snapshot))
    });
    let mut reads = stream::iter(reads).buffered(AT_ONCE);
    let mut done = Vec::new();
    while let Some(read) = reads.next().await {
        done.push(read?);
    }
    Ok(done)
}

/// How many services are read at once.
const AT_ONCE: usize = 32;

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Examples:
  zkr services
  zkr services --zookeeper zk1:2181,zk2:2181/prod --base /apps
  zkr services --output json | jq -r 'select(.rejected > 0).service'

Exit codes:
  0  there are services
  1  there is none, or the output could not be written
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
