//! `zkr wait`: until something is so.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::duration;
use zk_registry::cli::program::{Format, Output};
use zk_registry::{Freshness, InstanceId, Resolve, ServiceName, Snapshot, Status};

use crate::common_args::CommonArgs;
use crate::exit::{Exit, Failure};
use crate::fleet::{Fleet, reachable};
use crate::shown::count;

/// What to wait for.
#[derive(Args, Clone, Debug)]
pub(crate) struct WaitArgs {
    /// The name of a service
    service: ServiceName,

    /// What must be so, all of them at once: count=N (at least so many instances that are up), up=ID, drained=ID, gone=ID, fresh
    /// (nothing more than that ZooKeeper is heard)
    #[arg(long = "for", required = true, value_name = "CONDITION")]
    conditions: Vec<Condition>,

    /// How long to wait for it
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,

    #[command(flatten)]
    common: CommonArgs,
}

/// Something that is so or not.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Condition {
    Count(usize),
    Drained(InstanceId),
    /// Nothing but a live snapshot, which every other condition needs, too.
    Fresh,
    Gone(InstanceId),
    Up(InstanceId),
}

impl Condition {
    fn holds(&self, snapshot: &Snapshot) -> bool {
        let status = |id| snapshot.get(id).map(|member| member.status());
        match self {
            Self::Count(n) => up(snapshot) >= *n,
            Self::Drained(id) => status(id) == Some(Status::Draining),
            Self::Fresh => snapshot.freshness() == Freshness::Live,
            Self::Gone(id) => status(id).is_none(),
            Self::Up(id) => status(id) == Some(Status::Up),
        }
    }
}

fn up(snapshot: &Snapshot) -> usize {
    snapshot.instances().filter(|member| member.status() == Status::Up).count()
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const ACCEPTED: &str = "use count=N, up=ID, drained=ID, gone=ID or fresh";
        if text == "fresh" {
            return Ok(Self::Fresh);
        }
        let (what, value) = text.split_once('=').ok_or(ACCEPTED)?;
        let id = || crate::fleet::id(value);
        match what {
            "count" => value.parse().map(Self::Count).map_err(|_| ACCEPTED.to_owned()),
            "drained" => id().map(Self::Drained),
            "gone" => id().map(Self::Gone),
            "up" => id().map(Self::Up),
            _ => Err(ACCEPTED.to_owned()),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "count={n}"),
            Self::Drained(id) => write!(f, "drained={id}"),
            Self::Fresh => f.write_str("fresh"),
            Self::Gone(id) => write!(f, "gone={id}"),
            Self::Up(id) => write!(f, "up={id}"),
        }
    }
}

/// Waits until every condition holds in one snapshot that is live.
pub(crate) async fn run(args: WaitArgs, output: &Output, stop: &CancellationToken) -> Result<Exit, Failure> {
    let format = args.common.format();
    let missing = |snapshot: &Snapshot| -> Vec<String> {
        args.conditions
            .iter()
            .filter(|condition| !condition.holds(snapshot))
            .map(ToString::to_string)
            .collect()
    };
    Fleet::of(args.common.clone())?
        .with(stop, async |registry| {
            reachable(registry, &args.service).await?;
            let mut watch = registry.watch(&args.service);
            let holds = async {
                loop {
                    let now = watch.current();
                    if now.freshness() == Freshness::Live && missing(now).is_empty() {
                        return Ok(now.clone());
                    }
                    if watch.changed().await.is_err() {
                        return Err(Failure::Interrupted);
                    }
                }
            };
            let held = timeout(args.timeout, holds).await;
            match held {
                Ok(held) => {
                    let held = held?;
                    if format == Format::Text {
                        let all = args.conditions.iter().map(ToString::to_string).collect::<Vec<_>>();
                        let (service, all) = (&args.service, all.join(" "));
                        output.line(&format!("{service}: {all}, {}", count(held.len(), "instance")));
                    }
                    Ok(Exit::Yes)
                }
                Err(_) => {
                    let now = watch.current();
                    Err(Failure::TimedOut(format!(
                        "{}: not within {}: {} ({}, {} up, {})",
                        args.service,
                        humantime::format_duration(args.timeout),
                        missing(now).join(" "),
                        count(now.len(), "instance"),
                        up(now),
                        now.freshness().word()
                    )))
                }
            }
        })
        .await
}

/// The text that `--help` shows below the flags.
pub(crate) const HELP: &str = "\
Examples:
  zkr wait time --for count=3
  zkr wait time --for fresh --timeout 5s
  zkr wait time --for up=10.0.0.1:8897 --timeout 1m && next-host
  zkr drain time 10.0.0.1:8897 && zkr wait time --for drained=10.0.0.1:8897

Exit codes:
  0  everything that was waited for is so
  1  the output could not be written
  2  wrong usage; nothing was touched
  3  ZooKeeper was not reached, or a signal came first
  4  not in time";

#[cfg(test)]
mod tests {
    use zk_registry::Instance;

    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written_and_judge_a_snapshot() {
        let up = Instance::new("a", 1);
        let mut attributes = up.attributes().clone();
        attributes.status = Status::Draining;
        let draining = Instance::new("b", 2).with_attributes(attributes);
        let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [up, draining]);
        for (text, holds) in [
            ("count=1", true),
            ("count=2", false),
            ("up=a:1", true),
            ("up=b:2", false),
            ("drained=b:2", true),
            ("drained=a:1", false),
            ("fresh", true),
            ("gone=c:3", true),
            ("gone=a:1", false),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.to_string(), text);
            assert_eq!(condition.holds(&snapshot), holds, "{text}");
        }
        for bad in ["", "count", "count=x", "count=-1", "up=a/b", "ready=a", "fresh=1"] {
            assert!(bad.parse::<Condition>().is_err(), "{bad}");
        }
    }
}
