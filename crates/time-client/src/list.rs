//! `time-client list`: who is there, once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use zk_registry::cli::UsageError;
use zk_registry::printable::Printable;
use zk_registry::{Freshness, Registry, ServiceWatch, Snapshot};

use crate::common_args::CommonArgs;
use crate::exit::Exit;
use crate::job::Job;
use crate::target::{Target, Unavailable};
use crate::{freshness, wall_clock};
use zk_registry::cli::program::{Format, Output, Paint, column, column_width};

/// The run of `list`, with its flags checked.
///
/// # Errors
///
/// The flag that cannot be used so.
pub(crate) fn prepare(args: CommonArgs) -> Result<Job, UsageError> {
    Job::of_common(args, run)
}

/// Shows the service's instances.
async fn run(
    target: Target,
    format: Format,
    output: &Output,
    stop: &CancellationToken,
) -> Result<Exit, Unavailable> {
    let show = async |registry: &Registry, watch: &mut ServiceWatch| {
        let snapshot = watch.current();
        match format {
            Format::Json => output.json(&list(snapshot)),
            Format::Text => output.line(&text(snapshot, output.paint)),
        }
        if snapshot.is_empty() { Err(target.no_instance(registry).await) } else { Ok(Exit::Answered) }
    };
    target.with_watch(stop, show).await
}

#[derive(Serialize)]
struct List<'a> {
    service: &'a str,
    freshness: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    true_until_ns: Option<u64>,
    instances: Vec<Listed<'a>>,
    rejected: Vec<Refused<'a>>,
}

#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    host: &'a str,
    port: u16,
    dialable: bool,
    weight: u16,
    zone: Option<&'a str>,
    status: String,
    metadata: &'a BTreeMap<String, String>,
    format: Option<&'static str>,
}

#[derive(Serialize)]
struct Refused<'a> {
    id: &'a str,
    reason: &'a str,
}

fn list(snapshot: &Snapshot) -> List<'_> {
    let listed = snapshot.instances().map(|member| Listed {
        id: member.id().as_str(),
        host: member.host(),
        port: member.port(),
        dialable: member.is_dialable(),
        weight: member.weight().get(),
        zone: member.zone(),
        status: member.status().to_string(),
        metadata: member.metadata(),
        format: member.format(),
    });
    let refused =
        snapshot.rejected().iter().map(|rejected| Refused { id: &rejected.id, reason: &rejected.reason });
    List {
        service: snapshot.service().as_str(),
        freshness: snapshot.freshness().word(),
        true_until_ns: freshness::true_until(snapshot.freshness()),
        instances: listed.collect(),
        rejected: refused.collect(),
    }
}

fn text(snapshot: &Snapshot, paint: Paint) -> String {
    let instances = snapshot.len();
    let plural = if instances == 1 { "" } else { "s" };
    let mut freshness = snapshot.freshness().word().to_owned();
    if let Some(until) = freshness::true_until(snapshot.freshness()) {
        freshness = format!("{freshness}, true until {}", wall_clock::text(until));
    }
    let freshness = match snapshot.freshness() {
        Freshness::Live => paint.good(&freshness),
        _ => paint.bad(&freshness),
    };
    let mut lines = vec![format!("{}  {instances} instance{plural}  ({freshness})", snapshot.service())];
    let formats: BTreeSet<_> = snapshot.instances().filter_map(|member| member.format()).collect();
    let width = column_width(snapshot.instances().map(|member| member.id().as_str()));
    for member in snapshot.instances() {
        let id = column(member.id().as_str(), width);
        let mut line = format!("  {id}  {}  weight {}", member.status(), member.weight());
        if member.address() != member.id().as_str() {
            line += &format!("  at {}", Printable(member.address()));
        }
        if let Some(format) = member.format().filter(|_| formats.len() > 1) {
            line += &format!("  {format}");
        }
        if !member.is_dialable() {
            line += "  not dialable";
        }
        if let Some(zone) = member.zone() {
            line += &format!("  zone {}", Printable(zone));
        }
        for (key, value) in member.metadata() {
            line += &format!("  {}={}", Printable(key), Printable(value));
        }
        lines.push(line);
    }
    for rejected in snapshot.rejected() {
        let (id, reason) = (Printable(&rejected.id), Printable(&rejected.reason));
        lines.push(format!("  {id}  {}: {reason}", paint.bad("rejected")));
    }
    lines.join("\n")
}

/// What `--help` says below the flags.
pub(crate) const HELP: &str = "\
Examples:
  time-client list
  time-client list --service com/example/billing --output json
  ZOOKEEPER=zk1:2181,zk2:2181/prod time-client list

Exit codes:
  0  there are instances
  1  standard output could not be written, or a second signal came
  2  wrong usage; nothing was touched
  3  no instance, or none known: ZooKeeper was not reached within --wait, or a signal came first";

#[cfg(test)]
pub(crate) mod tests {
    use std::num::NonZeroU16;

    use tokio::time::Instant;
    use zk_registry::Instance;

    use super::*;
    use crate::documented;

    pub(crate) fn lines() -> Vec<String> {
        let service = "time".parse().unwrap();
        let weight = NonZeroU16::new(3).unwrap();
        let one =
            Instance::new("10.0.0.1", 8897).with_weight(weight).with_zone("a").with_metadata("rack", "7");
        let snapshot = Snapshot::fixed(&service, [one, Instance::new("::1", 8898)]);
        // A snapshot that is not live, and what it rejected, come from a registry only: the tests with ZooKeeper have them.
        let stale = List {
            freshness: Freshness::Stale { since: Instant::now() }.word(),
            true_until_ns: Some(1_795_380_722_000_000_000),
            instances: vec![],
            rejected: vec![Refused { id: "broken", reason: "EOF while parsing a value at line 1 column 8" }],
            ..list(&snapshot)
        };
        // So is the format.
        let mut live = list(&snapshot);
        live.instances.iter_mut().for_each(|listed| listed.format = Some("curator"));
        vec![documented::line(&live), documented::line(&stale)]
    }

    #[test]
    fn foreign_text_cannot_reach_the_terminal_as_it_is() {
        let service = "time".parse().unwrap();
        let hostile = "\u{1b}]52;c;x\u{7}\n\u{9b}2J\u{202e}";
        let one = Instance::new("10.0.0.1", 8897).with_zone(hostile).with_metadata(hostile, hostile);
        let snapshot = Snapshot::fixed(&service, [one]);
        let text = text(&snapshot, Paint::Plain);
        assert!(
            text.lines().count() == 2 && !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
            "{text}"
        );
    }

    #[test]
    fn an_instance_without_an_address_is_said_to_be_none_to_dial() {
        for (host, port) in [("10.0.0.1", 0), ("0.0.0.0", 80), ("0", 80), ("::ffff:0.0.0.0", 80)] {
            let snapshot = Snapshot::fixed(&"time".parse().unwrap(), [Instance::new(host, port)]);
            assert!(text(&snapshot, Paint::Plain).ends_with("not dialable"), "{host}:{port}");
            assert!(!list(&snapshot).instances[0].dialable, "{host}:{port}");
        }
    }

    #[test]
    fn the_text_names_each_instance_in_one_line() {
        let service = "time".parse().unwrap();
        let snapshot = Snapshot::fixed(&service, [Instance::new("10.0.0.1", 8897).with_zone("a")]);
        let expected = "time  1 instance  (live)\n  10.0.0.1:8897  up  weight 1  zone a";
        assert_eq!(text(&snapshot, Paint::Plain), expected);
    }
}
