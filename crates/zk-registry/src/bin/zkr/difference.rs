//! `zkr diff`: the services of one ZooKeeper beside those of another, or of another time.

use std::collections::BTreeSet;
use std::path::PathBuf;

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
use crate::listing::{self, Covers};
use crate::services;

/// What to compare.
#[derive(Args, Clone, Debug)]
pub(crate) struct DiffArgs {
    /// Names of services; without any, all of both
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,

    /// The other ZooKeeper
    #[arg(long, value_name = "HOST:PORT,..[/CHROOT]", required_unless_present = "against_file")]
    against: Option<ConnectString>,

    /// What `zkr list --output json` wrote at another time, or the snapshot file of a registry
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    against_file: Option<PathBuf>,

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
    let mut found = 0_usize;
    if let Some(path) = &args.against_file {
        let (then, covers) = listing::read(path, &here.options.base)?;
        here.with(stop, async |here| {
            let mut names = BTreeSet::from_iter(args.services.iter().cloned());
            if names.is_empty() {
                if covers == Covers::Everything {
                    names.extend(here.services().await?);
                }
                names.extend(then.keys().cloned());
            }
            for (service, ours) in services::read(here, names.into_iter().collect()).await? {
                let theirs = then.get(&service).cloned().unwrap_or_else(|| Snapshot::fixed(&service, []));
                found += compare(&service, &ours, &theirs, format, output);
            }
            Ok(())
        })
        .await?;
    } else if let Some(against) = args.against {
        let there = here.at(against);
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
    }
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
Both are read with the same flags: base path, format, credentials. A file is what `zkr list --output json` wrote, of all
services unless some are named, or the snapshot file of a registry, of its one service.

Examples:
  zkr diff --against zk9:2181
  zkr list time --output json > before.json; ./deploy; zkr diff time --against-file before.json
  zkr diff --against-file /var/cache/my-program/services%2Ftime+zk1%3A2181.snapshot
  zkr diff time com/example/billing --zookeeper zk1:2181/old --against zk1:2181/new

Exit codes:
  0  no difference
  1  there is one, or the output could not be written
  2  wrong usage, or the file is neither; nothing was touched
  3  one of the two was not reached, or does not let us read";
