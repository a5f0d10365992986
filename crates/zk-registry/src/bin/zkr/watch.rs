//! `zkr watch`: who comes and goes, and what changes of whom.

use std::time::SystemTime;

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::program::{Format, Output};
use zk_registry::printable::Printable;
use zk_registry::{Change, Resolve, ServiceName, Snapshot};

use crate::common_args::CommonArgs;
use crate::compare::differences;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, reachable};
use crate::shown::count;

/// Whose changes to show.
#[derive(Args, Clone, Debug)]
pub(crate) struct WatchArgs {
    /// The name of a service
    service: ServiceName,

    #[command(flatten)]
    common: CommonArgs,
}

/// One line.
#[derive(Debug, Serialize)]
struct Event<'a> {
    at: String,
    service: &'a str,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    detail: String,
}

/// Shows each change until a signal.
pub(crate) async fn run(args: WatchArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    let service = args.service;
    let show = |event: &'static str, id: Option<String>, detail: String| {
        let at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let line = Event { at, service: service.as_str(), event, id, detail };
        match format {
            Format::Json => output.json(&line),
            Format::Text => output.line(&line.text()),
        }
    };
    let watched = Fleet::of(args.common)?
        .with(stop, async |registry| {
            reachable(registry, &service).await?;
            let mut watch = registry.watch(&service);
            let mut shown = watch.ready().await?.clone();
            show("ready", None, ready(&shown));
            loop {
                let Ok(newer) = watch.changed().await else { return Ok(Exit::Yes) };
                for change in shown.diff(newer) {
                    match change {
                        Change::Added(member) => show("up", Some(member.id().to_string()), member.address()),
                        Change::Removed(member) => show("down", Some(member.id().to_string()), String::new()),
                        Change::Updated { old, new } => {
                            show("update", Some(new.id().to_string()), differences(&old, &new).join(", "));
                        }
                    }
                }
                if shown.freshness().word() != newer.freshness().word() || shown.cause() != newer.cause() {
                    show("freshness", None, ready(newer));
                }
                shown = newer.clone();
            }
        })
        .await;
    match watched {
        Err(Failure::Interrupted) => Ok(Exit::Yes),
        watched => watched,
    }
}

fn ready(snapshot: &Snapshot) -> String {
    let cause = snapshot.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{}, {}{cause}", count(snapshot.len(), "instance"), snapshot.freshness().word())
}

impl Event<'_> {
    fn text(&self) -> String {
        let id = self.id.as_ref().map(|id| format!("{}  ", Printable(id))).unwrap_or_default();
        format!("{}  {:9}  {id}{}", self.at, self.event, Printable(&self.detail)).trim_end().to_owned()
    }
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Examples:
  zkr watch time
  zkr watch time --output json | jq -r 'select(.event == \"down\").id'

Exit codes:
  0  ended by a signal, or the reader of the output went away
  1  the output could not be written
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or does not let us read";
