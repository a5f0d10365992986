//! `zkr diff`: the services of one ZooKeeper beside those of another.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::printable::Printable;
use zk_registry::{Change, ConnectString, Registry, ServiceName, Snapshot};

use crate::common_args::CommonArgs;
use crate::compare::differences;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::services;

/// What to compare.
#[derive(Args, Clone, Debug)]
pub(crate) struct DiffArgs {
    /// Names of services; without any, all of both
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,

    /// The other ZooKeeper
    #[arg(long, value_name = "HOST:PORT,..[/CHROOT]")]
    against: ConnectString,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    service: &'a str,
    id: &'a str,
    difference: &'static str,
    detail: String,
}

/// Shows each instance that is here or there alone, or differs.
pub(crate) async fn run(args: DiffArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    let here = Fleet::of(args.common)?;
    let there = here.at(args.against);
    let mut found = 0_usize;
    here.with(stop, async |here| {
        there
            .with(stop, async |there| {
                let names = names(args.services, here, there).await?;
                let (ours, theirs) =
                    (services::read(here, names.clone()).await?, services::read(there, names).await?);
                for ((service, ours), (_, theirs)) in ours.iter().zip(&theirs) {
                    found += compare(service, ours, theirs, format, output);
                }
                Ok(())
            })
            .await
    })
    .await?;
    Ok(if found == 0 { Exit::Yes } else { Exit::No })
}

async fn names(
    named: Vec<ServiceName>,
    here: &Registry,
    there: &Registry,
) -> Result<Vec<ServiceName>, Failure> {
    if !named.is_empty() {
        return Ok(named);
    }
    let mut all = BTreeSet::from_iter(here.services().await?);
    all.extend(there.services().await?);
    Ok(all.into_iter().collect())
}

/// Shows the differences of a service; how many there are.
fn compare(
    service: &ServiceName,
    ours: &Snapshot,
    theirs: &Snapshot,
    format: Format,
    output: &Output,
) -> usize {
    let mut found = 0;
    for change in ours.diff(theirs) {
        let (member, difference, detail) = match &change {
            Change::Added(member) => (member, "only there", member.address()),
            Change::Removed(member) => (member, "only here", member.address()),
            Change::Updated { old, new } => (new, "differs", differences(old, new).join(", ")),
        };
        // Nodes of two ZooKeepers are never the same ones; only what they say counts.
        if difference == "differs" && detail.is_empty() {
            continue;
        }
        found += 1;
        let id = member.id().as_str();
        if format == Format::Json {
            output.json(&Line { service: service.as_str(), id, difference, detail });
        } else {
            output.line(&format!("{service}  {}  {difference}  {}", Printable(id), Printable(&detail)));
        }
    }
    found
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Both are read with the same flags: base path, format, credentials.

Examples:
  zkr diff --against zk9:2181
  zkr diff time com/example/billing --zookeeper zk1:2181/old --against zk1:2181/new

Exit codes:
  0  no difference
  1  there is one, or the output could not be written
  2  wrong usage; nothing was touched
  3  one of the two was not reached, or does not let us read";
