//! `zkr list`: who is there.

use clap::Args;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::{ServiceName, Snapshot};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::Fleet;
use crate::services;
use crate::shown::{Refused, Shown, count, pairs};
use crate::table::Table;

/// Whose instances to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct ListArgs {
    /// Names of services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<ServiceName>,

    #[command(flatten)]
    common: CommonArgs,
}

/// Shows the instances of each service, and the nodes that are none.
pub(crate) async fn run(args: ListArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    let fleet = Fleet::of(args.common)?;
    let base = &fleet.options.base;
    fleet
        .with(stop, async |registry| {
            let read = services::read(registry, args.services).await?;
            for (service, snapshot) in &read {
                match format {
                    Format::Json => json(service, snapshot, output),
                    Format::Text => text(service, snapshot, output),
                }
            }
            let empty = read.iter().filter(|(_, snapshot)| snapshot.is_empty());
            let empty: Vec<_> = empty.map(|(service, _)| service.as_str()).collect();
            if empty.is_empty() {
                Ok(Exit::Yes)
            } else {
                Err(Failure::Nothing(format!("no instance of {} below {base}", empty.join(", "))))
            }
        })
        .await
}

fn json(service: &ServiceName, snapshot: &Snapshot, output: &Output) {
    for member in snapshot.instances() {
        output.json(&Shown::of(service, member));
    }
    for rejected in snapshot.rejected() {
        output.json(&Refused::of(service, rejected));
    }
}

fn text(service: &ServiceName, snapshot: &Snapshot, output: &Output) {
    output.line(&format!("{service}  {}", count(snapshot.len(), "instance")));
    if !snapshot.is_empty() {
        let mut table = Table::new(["ID", "STATUS", "WEIGHT", "ZONE", "ADDRESS", "OWNER", "METADATA"]);
        for member in snapshot.instances() {
            let shown = Shown::of(service, member);
            let address = if shown.dialable {
                shown.address.clone()
            } else {
                format!("{} (not dialable)", shown.address)
            };
            table.row([
                &shown.id,
                &shown.status,
                &shown.weight,
                &shown.zone.unwrap_or("-"),
                &address,
                &shown.session.as_deref().unwrap_or("persistent"),
                &pairs(shown.metadata),
            ]);
        }
        table.lines().for_each(|line| output.line(&line));
    }
    if !snapshot.rejected().is_empty() {
        let mut table = Table::new(["REJECTED", "WHY"]);
        for rejected in snapshot.rejected() {
            table.row([&rejected.id, &rejected.reason]);
        }
        table.lines().for_each(|line| output.line(&line));
    }
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Examples:
  zkr list time
  zkr list com/example/billing com/example/mail
  zkr list time --output json | jq -r 'select(.status == \"draining\").id'

Exit codes:
  0  each service has an instance
  1  one has none, or the output could not be written
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
